"""The key that signs the lists' cursors: that of the settings, else one that the home folder keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.errors import ConfigurationError, InvalidInput
from datalane.lane import Lane
from datalane.settings import Settings

KEY = SecretStr("a key that several machines share")


async def cursor_of(settings: Settings, url: str, context: Context) -> str:
    async with Lane().open(settings, url) as lane, lane.transaction(context) as tx:
        return tx.make_cursor("things", 7)


async def reads(settings: Settings, url: str, context: Context, cursor: str) -> bool:
    async with Lane().open(settings, url) as lane, lane.transaction(context) as tx:
        try:
            return tx.read_cursor("things", cursor) == (7,)
        except InvalidInput:
            return False


async def test_lanes_of_one_home_read_each_others_cursors_and_those_of_another_do_not(
    urls: Prepared, context: Context, tmp_path: Path
) -> None:
    here, there = Settings(home=tmp_path / "here"), Settings(home=tmp_path / "there")
    cursor = await cursor_of(here, urls.database_url, context)
    assert await reads(here, urls.database_url, context, cursor)
    assert not await reads(there, urls.database_url, context, cursor)


async def test_lanes_of_one_setting_read_each_others_cursors_and_write_to_no_home(
    urls: Prepared, context: Context, tmp_path: Path
) -> None:
    here = Settings(home=tmp_path / "here", cursor_key=KEY)
    there = Settings(home=tmp_path / "there", cursor_key=KEY)
    cursor = await cursor_of(here, urls.database_url, context)
    assert await reads(there, urls.database_url, context, cursor)
    assert not list(tmp_path.iterdir())
    other = Settings(home=tmp_path / "here", cursor_key=SecretStr("another key than the one before"))
    assert not await reads(other, urls.database_url, context, cursor), "a new key ends the cursors of the old one"


async def test_without_a_key_and_a_home_to_keep_one_in_a_lane_does_not_open_and_says_why(
    urls: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(home=tmp_path / "file" / "home")
    with pytest.raises(ConfigurationError, match=r"cannot write to the home folder .* or set DATALANE_CURSOR_KEY"):
        async with Lane().open(settings, urls.database_url):
            pass
    async with Lane().open(settings.model_copy(update={"cursor_key": KEY}), urls.database_url) as lane:
        assert lane.settings.cursor_key == KEY
        assert KEY.get_secret_value() not in f"{lane.settings} {lane.database.cursors}"

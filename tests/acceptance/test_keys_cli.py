"""`datalane keys`: an operator changes the master key, and learns which data keys are left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.audit import list_records
from datalane.engine.vault import open_sealed, seal
from datalane.kit.envelope import MasterKeys
from datalane.kit.ids import uuid7

OLD, NEW, LOST = "the first master key", "the second master key", "a master key that nobody has"
Keys = Callable[..., Awaitable[Any]]


@pytest.fixture
def keys(urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Keys:
    """`await keys("list", …)` on this test's lane, with the master key `NEW` and `OLD` before it."""
    settings = urls.as_environment() | {"DATALANE_HOME": str(home)}
    settings |= {"DATALANE_MASTER_KEY": NEW, "DATALANE_MASTER_KEYS_BEFORE": OLD}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(datalane, "keys", *arguments)

    return run


@asynccontextmanager
async def knowing(urls: Prepared, master: str) -> AsyncIterator[Database]:
    """The lane as a process with this master key has it."""
    database = await Database.connect(urls.database_url, size=1, master_keys=lambda: MasterKeys(master))
    try:
        yield database
    finally:
        await database.close()


async def kept(urls: Prepared, master: str) -> tuple[UUID, bytes]:
    """A new workspace with a secret, whose data key is under `master`, and the sealed secret."""
    context = Context.system(uuid7())
    async with knowing(urls, master) as database, database.transaction(context) as tx:
        return context.workspace_id, await seal(tx, b"secret", "here")


async def test_every_data_key_is_wrapped_anew_but_those_whose_master_key_is_lost(urls: Prepared, keys: Keys) -> None:
    old = [await kept(urls, OLD) for _ in range(3)]
    lost, _ = await kept(urls, LOST)
    new = await kept(urls, NEW)
    before = (await keys("list", "--json")).json
    assert [(one["state"], one["data_keys"]) for one in before["master_keys"]] == [
        *[("current", 1), ("older", 3), ("missing", 1)]
    ]
    done = await keys("rewrap", "--json")
    assert (done.status, done.json["ok"]) == (1, False)
    assert (done.json["rewrapped"], done.json["current"]) == (3, 1)
    [fault] = done.json["failed"]
    assert (fault["workspace_id"], fault["code"]) == (str(lost), "master_key_missing")
    after = (await keys("list", "--json")).json["data_keys"]
    assert {UUID(key["workspace_id"]): key["state"] for key in after} == {
        **{workspace: "current" for workspace, _ in [*old, new]},
        lost: "missing",
    }
    async with knowing(urls, NEW) as known:
        for workspace, sealed in [*old, new]:
            async with known.transaction(Context.system(workspace)) as tx:
                assert await open_sealed(tx, sealed, "here") == b"secret"
        async with known.transaction(Context.system(old[0][0])) as tx:
            assert [one.action for one in await list_records(tx)] == ["data_key.rewrapped", "data_key.made"]


async def test_a_second_run_finds_nothing_to_do(urls: Prepared, keys: Keys) -> None:
    await kept(urls, OLD)
    first, second = await keys("rewrap"), await keys("rewrap")
    assert (first.status, second.status) == (0, 0)
    assert "1 data keys wrapped under" in first.out
    assert "0 data keys wrapped under" in second.out
    assert "1 were already, 0 stay as they are" in second.out
    assert "1 under" in (await keys("list")).out


async def test_one_workspace_is_done_without_the_others(urls: Prepared, keys: Keys) -> None:
    (one, _), (other, _) = [await kept(urls, OLD) for _ in range(2)]
    done = await keys("rewrap", "--workspace", str(one), "--json")
    assert (done.status, done.json["rewrapped"]) == (0, 1)
    for workspace, state in ((one, "current"), (other, "older")):
        [key] = (await keys("list", "-w", str(workspace), "--json")).json["data_keys"]
        assert (key["workspace_id"], key["state"]) == (str(workspace), state)
    assert (await keys("list", "-w", "nothing")).status == 2


async def test_no_key_is_printed(database: Database, urls: Prepared, keys: Keys) -> None:
    workspace, _ = await kept(urls, OLD)
    async with database.transaction(Context.system(workspace)) as tx:
        wrapped = await tx.fetchval("SELECT wrapped FROM datalane.data_keys")
    told = [await keys(*arguments) for arguments in (("list",), ("list", "--json"), ("rewrap",), ("rewrap", "--json"))]
    for said in told:
        assert wrapped.hex() not in said.out
        assert not [key for key in (OLD, NEW) if key in said.out + said.err]


async def test_without_a_master_key_nothing_is_begun(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATALANE_MASTER_KEY")
    monkeypatch.delenv("DATALANE_MASTER_KEYS_BEFORE")
    said = await keys("rewrap", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "master_key_missing")

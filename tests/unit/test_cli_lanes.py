"""`--app module:lane`: the user's own lane, or a clear word about why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from datalane.cli.lanes import load_lane
from datalane.errors import ConfigurationError
from datalane.lane import Lane


def test_the_lane_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_for_lanes_test.py").write_text("from datalane import Lane\nmine = Lane()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    assert isinstance(load_lane("shop_for_lanes_test:mine"), Lane)


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("nothing", "not of the form module:lane"),
        (":lane", "not of the form module:lane"),
        ("no_such_module_here:lane", "cannot import no_such_module_here: ModuleNotFoundError"),
        ("datalane.errors:lane", "datalane.errors has no datalane.Lane named lane"),
        ("datalane.errors:NotFound", "has no datalane.Lane named NotFound"),
    ],
)
def test_a_wrong_name_is_said(app: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_lane(app)


def test_without_a_name_there_is_a_plain_lane() -> None:
    assert isinstance(load_lane(None), Lane)

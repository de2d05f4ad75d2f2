"""`datalane explain` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalane.db.access import Prepared
from datalane.kit.ids import uuid7

Run = Callable[..., Any]


@pytest.fixture
def run(urls: Prepared, home: Path, datalane: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("explain", …)` on this test's lane."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: datalane(*map(str, arguments))


def test_it_takes_the_workspace_with_most_items_and_names_what_nothing_reads(run: Run) -> None:
    seeded = run("seed", "work", "--items", 500, "--workspaces", 3, "--json")
    assert seeded.status == 0, seeded.err
    found = run("explain", "--json")
    assert found.status == 0, found.err
    assert found.json["workspace_id"] == seeded.json["workspace_id"]
    assert found.json["items"] == 500
    assert "projects_by_update" in found.json["never_scanned"]
    text = run("explain", "--workspace", seeded.json["workspace_id"])
    assert text.status == 0, text.err
    assert "sort -updated_at" in text.out
    assert "no shape reads:" in text.out
    kept = text.out.split("but they keep the data right:")[1]
    assert "one_shared_view_per_name of shared_views (unique)" in kept


def test_without_items_it_ends_with_status_1_and_says_what_to_do(run: Run) -> None:
    found = run("explain")
    assert found.status == 1
    assert "fill a lane with `datalane seed work`" in found.err
    named = run("explain", "--workspace", uuid7(), "--json")
    assert named.status == 1
    assert named.json["error"]["code"] == "not_found"


def test_without_the_operator_it_asks_for_a_workspace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATALANE_OPERATOR_URL")
    found = run("explain")
    assert found.status == 2
    assert "--workspace" in found.err
    assert run("explain", "--workspace", "seven").status == 2

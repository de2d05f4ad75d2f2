"""Events as a Parquet file: all of them, as they are stored, in a file that is whole or not there."""

from __future__ import annotations

import builtins
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from arro3.io import read_parquet
from tests.integration.access.analytics.conftest import HOUR, NOON, AnalyticsDesk, an_event

from datalane.access.analytics.exporting import COLUMNS, export_events
from datalane.errors import ConfigurationError, Conflict, InvalidInput
from datalane.kit.strict_json import parse_json

pytestmark = pytest.mark.one_database


async def export(desk: AnalyticsDesk, out: Path, **said: Any) -> int:
    async with desk.database.transaction(desk.context) as tx:
        return await export_events(tx, out, **said)


def rows_of(path: Path) -> list[dict[str, Any]]:
    table = read_parquet(path).read_all()
    columns = {name: table[name].to_pylist() for name in COLUMNS}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


async def test_a_file_has_every_event_as_it_is_stored(desk: AnalyticsDesk, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    batch = [
        an_event(
            f"{number:03}", {"source": "Grüße 🦉", "seats": number}, occurred_at=NOON + timedelta(minutes=number // 7)
        )
        for number in range(53)
    ]
    await desk.tell(*batch, an_event("held", {}), an_event("seen", plan_id="pro", occurred_at=NOON + 9 * HOUR))
    written = await export(desk, tmp_path / "events.parquet", page=10, progress=lambda *done: told.append(done))
    rows = rows_of(tmp_path / "events.parquet")
    events = {event.source_event_id: event for event in await desk.events() if not event.quarantined}
    assert written == len(rows) == len(events) == 54
    assert [row["source_event_id"] for row in rows] == [*(f"{number:03}" for number in range(53)), "seen"]
    for row in rows:
        event = events[row["source_event_id"]]
        assert row["occurred_at"] == event.occurred_at
        assert row["received_at"] == event.received_at
        assert parse_json(row["payload"]) == event.payload
        assert (row["subject"], row["event_version"], row["plan_id"]) == (event.subject, 1, None)
        assert (row["observed_snapshot"] is None) == (event.observed_snapshot is None)
    assert told[-1] == (54, 54)
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]


async def test_a_range_begins_with_its_first_moment_and_ends_before_its_last(
    desk: AnalyticsDesk, tmp_path: Path
) -> None:
    await desk.tell(*(an_event(str(hours), occurred_at=NOON + hours * HOUR) for hours in range(5)))
    assert await export(desk, tmp_path / "some.parquet", since=NOON + HOUR, until=NOON + 3 * HOUR) == 2
    assert [row["source_event_id"] for row in rows_of(tmp_path / "some.parquet")] == ["1", "2"]


async def test_a_file_without_events_is_a_file(desk: AnalyticsDesk, tmp_path: Path) -> None:
    assert await export(desk, tmp_path / "none.parquet") == 0
    assert rows_of(tmp_path / "none.parquet") == []


async def test_a_file_that_is_there_stays_as_it_is(desk: AnalyticsDesk, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    out.write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        await export(desk, out)
    assert out.read_text() == "mine"


async def test_an_export_that_fails_leaves_no_file(desk: AnalyticsDesk, tmp_path: Path) -> None:
    await desk.tell(*(an_event(str(number)) for number in range(30)))

    def fail(done: int, total: int) -> None:
        if done >= 20:
            raise RuntimeError("the terminal is gone")

    with pytest.raises(Exception, match="the terminal is gone"):
        await export(desk, tmp_path / "events.parquet", page=10, progress=fail)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match="cannot be written"):
        await export(desk, tmp_path / "no such folder" / "events.parquet")


async def test_what_to_install_is_said_where_it_is_missing(
    desk: AnalyticsDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("arro3"):
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigurationError, match=r"datalane\[parquet\]"):
        await export(desk, tmp_path / "events.parquet")

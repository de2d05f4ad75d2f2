"""`datalane analytics`: events in a file, tracked events that are retired, and anomalies that an operator resolves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from arro3.io import read_parquet

from datalane.access.analytics.schemas import NewAnalyticsEvent, NewTrackingVersion
from datalane.access.analytics.service import record_events
from datalane.access.analytics.tracked import TrackedEvent, TrackedEvents, register_tracked_events
from datalane.access.analytics.tracking import register_version
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.audit import list_records
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

Said = Any
Analytics = Callable[..., Awaitable[Said]]


@pytest.fixture
def analytics(urls: Prepared, home: Path, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Analytics:
    """`await analytics("export", …)` on this test's lane, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: object) -> Said:
        return await asyncio.to_thread(datalane, "analytics", *map(str, arguments))

    return run


@pytest.fixture
async def told(database: Database) -> Context:
    """The owner of a workspace with three events, one of which saw a plan that was not enforced."""
    context = Context(uuid7(), uuid7(), Role.OWNER)
    async with database.transaction(context) as tx:
        tracked = NewTrackingVersion(event_name="page.seen", json_schema={}, owner="growth")
        await register_version(tx, tracked)
        events = [
            NewAnalyticsEvent(event_name="page.seen", source_event_id=key, occurred_at=utc_now(), plan_id=plan)
            for key, plan in (("1", None), ("2", None), ("3", "pro"))
        ]
        assert (await record_events(tx, events)).anomalies == 1
    return context


async def test_events_are_exported_once_and_nothing_is_overwritten(
    analytics: Analytics, told: Context, tmp_path: Path
) -> None:
    out = tmp_path / "events.parquet"
    said = await analytics("export", "--workspace", told.workspace_id, "--out", out, "--json")
    assert (said.status, said.json) == (0, {"events": 3, "file": str(out)})
    assert read_parquet(out).read_all().num_rows == 3
    again = await analytics("export", "--workspace", told.workspace_id, "--out", out)
    assert again.status == 2
    assert "is there already" in again.err
    later = await analytics("export", "-w", told.workspace_id, "-o", tmp_path / "none.parquet", "--from", "2999-01-01")
    assert (later.status, "0 events" in later.out) == (0, True)
    wrong = await analytics("export", "-w", told.workspace_id, "-o", tmp_path / "x.parquet", "--to", "tomorrow")
    assert (wrong.status, "ISO 8601" in wrong.err) == (2, True)


async def test_an_anomaly_is_read_and_resolved(analytics: Analytics, told: Context, database: Database) -> None:
    listed = await analytics("anomalies", "--workspace", told.workspace_id)
    assert "page.seen: saw pro, enforced None (plan_id)" in listed.out
    [anomaly] = (await analytics("anomalies", "-w", told.workspace_id, "--json")).json["anomalies"]
    asked = ("resolve", anomaly["anomaly_id"], "-w", told.workspace_id, "--by", "ada")
    refused = await analytics(*asked, "--reason", " ")
    assert (refused.status, "--reason takes" in refused.err) == (2, True)
    resolved = await analytics(*asked, "--reason", "a fixture", "--json")
    assert (resolved.status, resolved.json["anomaly"]["resolved_by"]) == (0, "ada")
    again = await analytics(*asked, "--reason", "a fixture")
    assert (again.status, "resolved already" in again.err) == (2, True)
    assert "no open anomalies" in (await analytics("anomalies", "-w", told.workspace_id)).out
    assert "resolved" in (await analytics("anomalies", "-w", told.workspace_id, "--all")).out
    async with database.transaction(told) as tx:
        [record] = [each for each in await list_records(tx) if each.action == "integrity_anomaly.resolved"]
    assert record.after == {"by": "ada", "reason": "a fixture"}


async def test_a_tracked_event_is_retired_for_every_workspace(
    analytics: Analytics, told: Context, database: Database
) -> None:
    tracked = TrackedEvents()
    tracked.add(TrackedEvent("page.closed", 1, {}, "growth"))
    await register_tracked_events(database, tracked)
    asked = ("retire", "page.closed", "--version", 1, "--reason", "nobody sends it")
    assert (await analytics(*asked, "--json")).json == {"retired": True}
    assert "it was retired" in (await analytics(*asked)).out
    missing = await analytics("retire", "page.closed", "--version", 2, "--reason", "nobody sends it")
    assert (missing.status, "no version 2 of page.closed" in missing.err) == (2, True)
    event = NewAnalyticsEvent(event_name="page.closed", source_event_id="4", occurred_at=utc_now())
    async with database.transaction(told) as tx:
        [outcome] = (await record_events(tx, [event])).data
    assert [(reason.code, reason.message) for reason in outcome.reasons] == [
        ("retired_version", "version 1 of page.closed is retired; send a version that is tracked")
    ]

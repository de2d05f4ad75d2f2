"""The tracking plan: what an application and a workspace track, version by version."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.access.analytics.conftest import NOON, AnalyticsDesk, an_event

from datalane.access.analytics import service
from datalane.access.analytics.schemas import AnalyticsFilter
from datalane.access.analytics.tracked import (
    TrackedEvent,
    TrackedEvents,
    register_tracked_events,
    retire_tracked_event,
)
from datalane.access.analytics.tracking import list_versions
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import ConfigurationError, Conflict, InvalidInput, LimitExceeded, NotFound
from datalane.lane import Lane
from datalane.settings import Settings

pytestmark = pytest.mark.one_database


async def test_a_change_of_the_plan_is_seen_by_the_next_batch(desk: AnalyticsDesk) -> None:
    assert await desk.outcomes(an_event("1")) == ["accepted"]
    await desk.retire()
    assert await desk.outcomes(an_event("2")) == ["quarantined"]
    await desk.track(version=2, schema={"type": "object"})
    assert await desk.outcomes(an_event("3", {"any": 1}, event_version=2)) == ["accepted"]


async def test_an_event_of_the_application_takes_the_place_of_the_workspaces(
    database: Database, desk: AnalyticsDesk
) -> None:
    await desk.track("vendor.took", schema={"required": ["old"]})
    tracked = TrackedEvents()
    tracked.add(TrackedEvent("vendor.took", 1, {"required": ["new"]}, "vendor"))
    for _ in range(2):
        await register_tracked_events(database, tracked)
    told = await desk.tell(
        an_event("1", {"new": 1}, event_name="vendor.took"), an_event("2", {"old": 1}, event_name="vendor.took")
    )
    assert [each.outcome for each in told.data] == ["accepted", "quarantined"]
    with pytest.raises(Conflict, match="the application tracks"):
        await desk.track("vendor.took", 2)


async def test_a_version_of_the_application_never_changes(database: Database) -> None:
    first, second = TrackedEvents(), TrackedEvents()
    first.add(TrackedEvent("vendor.fixed", 1, {"required": ["a"]}, "vendor"))
    second.add(TrackedEvent("vendor.fixed", 1, {"required": ["b"]}, "vendor"))
    await register_tracked_events(database, first)
    with pytest.raises(Conflict, match="raise its version"):
        await register_tracked_events(database, second)
    with pytest.raises(ConfigurationError, match="raise its version"):
        first.add(TrackedEvent("vendor.fixed", 1, {"required": ["b"]}, "vendor"))


async def test_events_of_a_version_that_the_application_retired_are_held_back(
    database: Database, desk: AnalyticsDesk
) -> None:
    tracked = TrackedEvents()
    tracked.add(TrackedEvent("vendor.left", 1, {}, "vendor"))
    tracked.add(TrackedEvent("vendor.left", 2, {}, "vendor"))
    await register_tracked_events(database, tracked)
    retired = [await retire_tracked_event(database, "vendor.left", 1, "version 2 is out") for _ in range(2)]
    await register_tracked_events(database, tracked)
    told = await desk.tell(
        an_event("1", event_name="vendor.left"), an_event("2", event_name="vendor.left", event_version=2)
    )
    async with desk.database.transaction(desk.context) as tx:
        listed = await list_versions(tx, "vendor.left")
    assert retired == [True, False]
    assert [[reason.code for reason in each.reasons] for each in told.data] == [["retired_version"], []]
    assert [(each.retired_reason, each.retired_at is None) for each in listed.data] == [
        ("version 2 is out", False),
        (None, True),
    ]
    for name, version, reason, error in (
        ("vendor.left", 3, "away", NotFound),
        ("no.such", 1, "away", NotFound),
        ("vendor.left", 2, " ", InvalidInput),
        ("vendor.left", 2, "x" * 501, InvalidInput),
    ):
        with pytest.raises(error):
            await retire_tracked_event(database, name, version, reason)


async def test_an_event_has_fifty_versions_at_most(database: Database, desk: AnalyticsDesk) -> None:
    for version in range(2, 51):
        await desk.track(version=version, schema={})
    await desk.retire(version=7)
    with pytest.raises(LimitExceeded, match=r"signup\.completed has 50 versions"):
        await desk.track(version=51, schema={})
    await desk.track(version=50, schema={})
    await desk.track("page.seen")
    tracked = TrackedEvents()
    for version in range(1, 52):
        tracked.add(TrackedEvent("vendor.grew", version, {}, "vendor"))
    with pytest.raises(LimitExceeded, match=r"vendor\.grew has 50 versions"):
        await register_tracked_events(database, tracked)


@pytest.mark.parametrize(
    "tracked",
    [
        TrackedEvent("nodot", 1, {}, "me"),
        TrackedEvent("a.b", 0, {}, "me"),
        TrackedEvent("a.b", 1, {}, " "),
        TrackedEvent("a.b", 1, {"type": "no such"}, "me"),
        TrackedEvent("a.b", 1, {"$ref": "https://example.org"}, "me"),
    ],
)
def test_a_malformed_event_of_the_application_is_refused(tracked: TrackedEvent) -> None:
    with pytest.raises(ConfigurationError):
        TrackedEvents().add(tracked)


async def test_the_list_goes_page_by_page_through_both_tables(desk: AnalyticsDesk) -> None:
    batch = [
        an_event(f"{number:02}", None if number % 3 else {}, occurred_at=NOON + timedelta(minutes=number // 4))
        for number in range(20)
    ]
    await desk.tell(*batch)
    seen, cursor = [], None
    while True:
        async with desk.database.transaction(desk.context) as tx:
            page = await service.list_events(tx, AnalyticsFilter(), cursor, page_size=3)
        seen += [event.source_event_id for event in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"{number:02}" for number in reversed(range(20))]
    named = await desk.events(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=2), status="valid")
    assert [event.source_event_id for event in named] == ["07", "05", "04"]
    assert await desk.events(subject="bob") == []
    assert len(await desk.events(actor_id=desk.context.actor_id)) == 20


async def test_what_a_lane_tracks_is_known_when_it_is_opened(
    desk: AnalyticsDesk, urls: Prepared, tmp_path: Path
) -> None:
    lane = Lane()
    lane.track("lane.opened", {"required": ["door"]}, owner="platform", description="Somebody came in.")
    async with lane.open(Settings(home=tmp_path), urls.database_url), lane.transaction(desk.context) as tx:
        listed = await list_versions(tx, "lane.opened")
    [version] = listed.data
    assert (version.source, version.owner, version.shadowed) == ("application", "platform", False)
    assert await desk.outcomes(an_event("1", {"door": 1}, event_name="lane.opened")) == ["accepted"]

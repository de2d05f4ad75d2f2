"""Recording events of analytics: what is valid lands once, and what is not is held back with the reasons."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conftest import a_context
from tests.integration.access.analytics.conftest import HOUR, NOON, AnalyticsDesk, an_event

from datalane.access.analytics import service
from datalane.access.analytics.schemas import AnalyticsFilter, NewAnalyticsEvent
from datalane.access.analytics.tracked import (
    TrackedEvent,
    TrackedEvents,
    register_tracked_events,
    retire_tracked_event,
)
from datalane.access.analytics.tracking import list_versions
from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import ConfigurationError, Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound
from datalane.lane import Lane
from datalane.settings import Settings

pytestmark = pytest.mark.one_database

SAW = "'{NULL}'"
RAW = f"'{{1}}', '{{a.b}}', '{{1}}', '{{2031-01-01Z}}', '{{ann}}', {SAW}"
"""What a verb takes of one event, before its payload."""


async def test_a_valid_event_is_stored_as_it_was_told(desk: AnalyticsDesk) -> None:
    told = await desk.tell(an_event("1", {"source": "ad", "seats": 3}))
    [event] = await desk.events()
    assert (told.accepted, told.data[0].outcome, told.data[0].reasons) == (1, "accepted", [])
    assert event.model_dump(include={"source_event_id", "subject", "payload", "occurred_at", "quarantined"}) == {
        "source_event_id": "1",
        "subject": "ann",
        "payload": {"source": "ad", "seats": 3},
        "occurred_at": NOON,
        "quarantined": False,
    }
    assert (event.actor_id, event.correlation_id) == (desk.context.actor_id, desk.context.correlation_id)
    assert (event.plan_id, event.payload_validation_status) == (None, "valid")


async def test_who_tells_is_the_subject_by_default(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", subject=None))
    [event] = await desk.events()
    assert event.subject == str(desk.context.actor_id)


async def test_the_same_event_again_is_a_duplicate_and_another_one_of_its_id_a_conflict(desk: AnalyticsDesk) -> None:
    assert await desk.outcomes(an_event("1", {"source": "ad", "seats": 1})) == ["accepted"]
    assert await desk.outcomes(an_event("1", {"seats": 1, "source": "ad"})) == ["duplicate"]
    changed: list[dict[str, Any]] = [
        {"payload": {"source": "friend"}},
        {"occurred_at": NOON + HOUR},
        {"subject": "bob"},
        {"plan_id": "pro"},
    ]
    for said in changed:
        assert await desk.outcomes(an_event("1", **said)) == ["conflict"]
    assert [event.payload for event in await desk.events()] == [{"source": "ad", "seats": 1}]


async def test_an_id_that_comes_twice_in_a_batch_lands_once(desk: AnalyticsDesk) -> None:
    batch = [an_event("1"), an_event("2"), an_event("1"), an_event("1", {"source": "friend"})]
    assert await desk.outcomes(*batch) == ["accepted", "accepted", "duplicate", "conflict"]
    assert await desk.outcomes(*batch) == ["duplicate", "duplicate", "duplicate", "conflict"]
    assert await desk.stored() == ["1", "2"]


async def test_of_many_that_tell_the_same_at_once_one_is_accepted(desk: AnalyticsDesk) -> None:
    there, back = (
        [an_event(str(number)) for number in range(20)],
        [an_event(str(number)) for number in range(19, -1, -1)],
    )
    told = await asyncio.gather(*(desk.tell(*(there if turn % 2 else back)) for turn in range(8)))
    assert sum(each.accepted for each in told) == 20
    assert sum(each.duplicates for each in told) == 7 * 20
    assert len(await desk.stored()) == 20


async def test_the_id_is_known_in_its_own_workspace_alone(desk: AnalyticsDesk) -> None:
    other = AnalyticsDesk(desk.database, a_context())
    await other.track()
    assert await desk.outcomes(an_event("1")) == ["accepted"]
    assert await other.outcomes(an_event("1", {"source": "friend"})) == ["accepted"]


@pytest.mark.parametrize(
    ("payload", "status", "codes"),
    [
        ({}, "missing_required_fields", ["required"]),
        ({"seats": 1}, "missing_required_fields", ["required"]),
        ({"source": 7}, "invalid_schema", ["type"]),
        ({"source": "ad", "seats": 1.5}, "invalid_schema", ["type"]),
        ({"source": "ad", "more": 1}, "invalid_schema", ["additionalProperties"]),
        ({"seats": "one"}, "invalid_schema", ["required", "type"]),
        ({"source": None}, "invalid_schema", ["type"]),
    ],
)
async def test_a_payload_that_does_not_match_is_held_back(
    desk: AnalyticsDesk, payload: dict[str, Any], status: str, codes: list[str]
) -> None:
    [told] = (await desk.tell(an_event("1", payload))).data
    assert (told.outcome, told.payload_validation_status) == ("quarantined", status)
    assert sorted(reason.code for reason in told.reasons) == codes
    [held] = await desk.held()
    assert (held.payload, held.reasons, held.payload_validation_status) == (payload, told.reasons, status)
    assert await desk.stored() == []
    [listed] = await desk.events(status=status)
    assert listed.quarantined


async def test_what_is_not_tracked_is_held_back_and_says_what_is_missing(desk: AnalyticsDesk) -> None:
    await desk.track("page.seen", schema={})
    await desk.retire("page.seen")
    told = await desk.tell(
        an_event("1", event_name="page.lost"),
        an_event("2", event_version=2),
        an_event("3", event_name="page.seen"),
        an_event("4"),
    )
    codes = [[reason.code for reason in each.reasons] for each in told.data]
    assert codes == [["unknown_event"], ["unknown_version"], ["retired_version"], []]
    assert (told.quarantined, told.accepted) == (3, 1)


@pytest.mark.parametrize(
    ("after", "codes"),
    [
        (timedelta(hours=24), []),
        (timedelta(hours=24, seconds=1), ["from_the_future"]),
        (timedelta(days=3_000), ["from_the_future"]),
        (-timedelta(days=400), []),
        (-timedelta(days=400, seconds=1), ["too_old"]),
        (-timedelta(days=9_000), ["too_old"]),
    ],
)
async def test_events_of_other_times_are_held_back(desk: AnalyticsDesk, after: timedelta, codes: list[str]) -> None:
    [told] = (await replace(desk, now=NOON).tell(an_event("1", occurred_at=NOON + after))).data
    assert [reason.code for reason in told.reasons] == codes
    assert told.payload_validation_status == "valid"
    assert (told.outcome == "quarantined") == bool(codes)


async def test_what_is_held_back_is_known_when_it_comes_again(desk: AnalyticsDesk) -> None:
    assert await desk.outcomes(an_event("1", {})) == ["quarantined"]
    assert await desk.outcomes(an_event("1", {}), an_event("2")) == ["duplicate", "accepted"]
    assert await desk.outcomes(an_event("1")) == ["conflict"]
    assert await desk.outcomes(an_event("2", {})) == ["conflict"]
    assert (len(await desk.held()), await desk.stored()) == (1, ["2"])


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (
            {"source": "x" * 2**20},
            LimitExceeded,
            "payload of event 1 is 1,048,589 bytes, over the limit of 262,144",
        ),
        ({"source": float("nan")}, InvalidInput, "NaN"),
        ({"source": "a\x00b"}, InvalidInput, "NUL"),
        ({"a\x00b": 1}, InvalidInput, "NUL"),
        ({"source": "\ud800"}, InvalidInput, "cannot be written as JSON"),
        ({"seats": 2**70}, InvalidInput, "cannot be written as JSON"),
    ],
)
async def test_a_payload_that_cannot_be_stored_refuses_the_batch(
    desk: AnalyticsDesk, payload: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await desk.tell(an_event("1"), an_event("2", payload))
    assert await desk.events() == []


async def test_a_payload_that_is_too_deep_is_refused(desk: AnalyticsDesk) -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"in": deep}
    with pytest.raises(LimitExceeded, match="nested deeper"):
        await desk.tell(an_event("1", deep))


async def test_a_batch_has_one_to_a_thousand_events(desk: AnalyticsDesk) -> None:
    with pytest.raises(LimitExceeded, match=r"limits\.batch"):
        await desk.tell(*(an_event(str(number)) for number in range(1_001)))
    with pytest.raises(InvalidInput, match="0 events"):
        await desk.tell()
    assert (await desk.tell(*(an_event(str(number)) for number in range(1_000)))).accepted == 1_000


@pytest.mark.parametrize(
    "said",
    [
        {"event_name": "signup"},
        {"event_name": "Signup.Completed"},
        {"event_name": "a." + "b" * 200},
        {"event_version": 0},
        {"event_version": 2**31},
        {"event_version": "1.5"},
        {"source_event_id": ""},
        {"source_event_id": "x" * 201},
        {"source_event_id": "a\x00"},
        {"occurred_at": "2031-03-03T12:00:00"},
        {"occurred_at": "soon"},
        {"subject": ""},
        {"payload": [1]},
        {"payload": None},
        {"more": 1},
        {"entitlement_snapshot": {"status": "paid"}},
        {"entitlement_snapshot": {"more": 1}},
        {"plan_id": "pro", "entitlement_snapshot": {"plan_id": "free"}},
        {"plan_id": "pro", "entitlement_snapshot": {"plan_id": None}},
    ],
)
def test_an_event_that_is_malformed_is_refused(said: dict[str, Any]) -> None:
    usual = {"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-03-03T12:00:00Z"}
    with pytest.raises(ValidationError):
        NewAnalyticsEvent(**{**usual, **said})


async def test_a_viewer_records_nothing_in_raw_sql_either(desk: AnalyticsDesk) -> None:
    viewer = desk.of(Role.VIEWER)
    with pytest.raises(Forbidden):
        await viewer.tell(an_event("1"))
    call = f"SELECT datalane.record_analytics({RAW}, '{{\"{{}}\"}}', '5 min')"
    hold = call.replace("record", "hold").replace("'5 min'", "'{valid}', '{\"[]\"}'")
    for statement in (call, hold):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(viewer.context) as tx:
                await tx.execute(statement)


@pytest.mark.parametrize("role", [Role.MEMBER, Role.OWNER])
async def test_no_member_says_what_time_it_is(desk: AnalyticsDesk, role: Role) -> None:
    told = "now => now() - interval '1 day'"
    for call in (
        f"record_analytics({RAW}, '{{\"{{}}\"}}', '5 min', {told})",
        f"hold_analytics({RAW}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}', {told})",
        f"land_analytics('{{1}}', '5 min', {told})",
        f"repair_analytics('1', 1, 'a.b', 1, '{{}}', 'a note', 'valid', '[]', {told})",
        f"explain_analytics('{{1}}', '{{valid}}', '{{\"[]\"}}', {told})",
        f"discard_analytics('{{1}}', 'a reason', {told})",
    ):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(desk.of(role).context) as tx:
                await tx.execute(f"SELECT datalane.{call}")


@pytest.mark.parametrize("tolerance", ["'2 days'", "'-1 second'", "'infinity'", "NULL"])
async def test_a_tolerance_is_bounded_in_raw_sql(desk: AnalyticsDesk, tolerance: str) -> None:
    for call in (f"record_analytics({RAW}, '{{\"{{}}\"}}', {tolerance})", f"land_analytics('{{1}}', {tolerance})"):
        with pytest.raises(InvalidInput, match="at most a day"):
            async with desk.database.transaction(desk.admin.context) as tx:
                await tx.execute(f"SELECT datalane.{call}")


@pytest.mark.parametrize(
    ("moment", "is_held"),
    [
        ("infinity", False),
        ("-infinity", False),
        ("0044-03-15 BC", False),
        ("12000-01-01", False),
        ("9999-12-31", True),
        ("0001-01-01", True),
        ("2016-01-01", True),
    ],
)
async def test_times_are_bounded_in_raw_sql(desk: AnalyticsDesk, moment: str, is_held: bool) -> None:
    """What no client can read would break every list that it stands in."""
    record = f"SELECT datalane.record_analytics({RAW}, '{{\"{{}}\"}}', '5 min')"
    hold = f"SELECT datalane.hold_analytics({RAW}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')"
    said = dict.fromkeys([record] if is_held else [record, hold])
    for statement in said:
        with pytest.raises(InvalidInput, match="happens between"):
            async with desk.database.transaction(desk.context) as tx:
                await tx.execute(statement.replace("2031-01-01Z", f"{moment} UTC" if moment[-1].isdigit() else moment))
    if is_held:
        async with desk.database.transaction(desk.context) as tx:
            await tx.execute(hold.replace("2031-01-01Z", f"{moment} UTC"))
        assert [event.occurred_at.isoformat()[:10] for event in await desk.held()] == [moment]


@pytest.mark.parametrize("payload", ["[]", '"a"', "1", "true", "null"])
async def test_payloads_and_what_clients_saw_are_objects_in_raw_sql_too(desk: AnalyticsDesk, payload: str) -> None:
    raw = RAW.replace("2031-01-01Z", str(NOON))
    for call in (
        f"record_analytics({raw}, ARRAY[$1::text::jsonb], '5 min')",
        f"record_analytics({raw.replace(SAW, 'ARRAY[$1::text::jsonb]')}, '{{\"{{}}\"}}', '5 min')",
        f"hold_analytics({raw}, ARRAY[$1::text::jsonb], '{{valid}}', '{{\"[]\"}}')",
        f"hold_analytics({raw.replace(SAW, 'ARRAY[$1::text::jsonb]')}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')",
    ):
        with pytest.raises(InvalidInput, match="is an object"):
            async with desk.database.transaction(desk.context) as tx:
                await tx.execute(f"SELECT datalane.{call}", payload)


async def test_nobody_writes_events_past_the_verbs(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", plan_id="pro"))
    for statement in (
        "UPDATE datalane.analytics_events SET plan_id = 'pro'",
        "DELETE FROM datalane.analytics_events",
        "INSERT INTO datalane.analytics_events (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.integrity_anomalies SET status = 'resolved'",
        "DELETE FROM datalane.integrity_anomalies",
        "UPDATE datalane.analytics_quarantine SET payload = '{}'",
        "DELETE FROM datalane.analytics_quarantine",
        "INSERT INTO datalane.analytics_quarantine (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.tracking_plan SET json_schema = '{}'",
        "DELETE FROM datalane.tracking_plan",
    ):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(desk.of(Role.OWNER).context) as tx:
                await tx.execute(statement)


async def test_a_schema_that_cannot_be_checked_by_holds_its_events(desk: AnalyticsDesk) -> None:
    """In raw SQL an admin can put anything there."""
    async with desk.database.transaction(desk.admin.context) as tx:
        await tx.execute(
            "INSERT INTO datalane.tracking_plan (workspace_id, event_name, event_version, tracking_id, json_schema, "
            "owner, description, registered_at, registered_by_actor_id) VALUES (app.workspace_id(), 'bad.schema', 1, "
            "app.uuid7(), '{\"$ref\": \"https://example.org/\"}', 'me', '', now(), app.actor_id())"
        )
    [told] = (await desk.tell(an_event("1", event_name="bad.schema"))).data
    assert [reason.code for reason in told.reasons] == ["unusable_schema"]


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


@pytest.mark.parametrize(
    ("call", "value", "limit"),
    [
        ("record_analytics({raw}, $1, '5 min')", {"a": "x" * 300_000}, r"limits\.event_payload"),
        ("hold_analytics({raw}, $1, '{{valid}}', '{{\"[]\"}}')", {"a": "x" * 300_000}, r"limits\.event_payload"),
        ("record_analytics({seen}, '{{\"{{}}\"}}', '5 min')", {"a": "x" * 2**20}, "what a client saw"),
        ("hold_analytics({seen}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')", {"a": "x" * 2**20}, "what a client saw"),
        ("hold_analytics({raw}, '{{\"{{}}\"}}', '{{valid}}', $1)", [{"code": "x" * 2**16}], "reasons"),
    ],
)
async def test_payloads_and_what_stands_beside_them_are_bounded_in_raw_sql_too(
    desk: AnalyticsDesk, call: str, value: Any, limit: str
) -> None:
    raw = RAW.replace("2031-01-01Z", str(NOON))
    statement = f"SELECT datalane.{call.format(raw=raw, seen=raw.replace(SAW, '$1'))}"
    with pytest.raises((LimitExceeded, InvalidInput), match=limit):
        async with desk.database.transaction(desk.context) as tx:
            await tx.fetch(statement, [value])


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

"""Mending what is held back: it lands once, however often it is repaired and replayed, and by how many at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import a_context
from tests.integration.access.analytics.conftest import HOUR, NOON, AnalyticsDesk, an_event

from datalane.access.analytics import quarantine
from datalane.access.analytics.quarantine import discard_events, replay_events
from datalane.access.analytics.schemas import EventDiscard, EventReplay, HeldFilter
from datalane.access.analytics.service import record_events
from datalane.contracts.context import Role
from datalane.engine.audit import list_records
from datalane.errors import Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound, StaleVersion

pytestmark = pytest.mark.one_database


@pytest.fixture
async def admin(desk: AnalyticsDesk) -> AnalyticsDesk:
    """An admin, with an event that lacks its source."""
    await desk.tell(an_event("1", {"seats": 2}))
    return desk.admin


async def test_what_is_repaired_lands_as_it_was_repaired(admin: AnalyticsDesk) -> None:
    [held] = await admin.held()
    repaired = await admin.repair("1", payload={"source": "ad", "seats": 2})
    assert (repaired.version, repaired.reasons, repaired.payload) == (2, [], {"seats": 2})
    assert await admin.stored() == []
    replayed = await admin.replay()
    assert (replayed.matched, replayed.landed, replayed.still_held, replayed.conflicts) == (1, 1, 0, 0)
    [event] = await admin.events()
    assert event.payload == {"source": "ad", "seats": 2}
    assert (event.received_at, event.actor_id, event.correlation_id) == (
        held.received_at,
        held.actor_id,
        held.correlation_id,
    )
    assert [each.source_event_id for each in await admin.held("landed")] == ["1"]


async def test_what_landed_lands_no_more(admin: AnalyticsDesk) -> None:
    await admin.repair("1", payload={"source": "ad"})
    assert [(await admin.replay(["1"])).landed for _ in range(3)] == [1, 0, 0]
    with pytest.raises(Conflict, match="landed"):
        await admin.repair("1", version=3, payload={"source": "friend"})
    assert await admin.outcomes(an_event("1", {"seats": 2})) == ["duplicate"]
    assert await admin.outcomes(an_event("1", {"source": "ad"})) == ["duplicate"]
    assert await admin.outcomes(an_event("1", {"source": "friend"})) == ["conflict"]
    assert await admin.stored() == ["1"]


async def test_of_many_replays_at_once_one_lands_it(desk: AnalyticsDesk) -> None:
    await desk.tell(*(an_event(str(number), {}) for number in range(30)))
    await desk.track(version=2, schema={})
    admin = desk.admin
    for number in range(30):
        await admin.repair(str(number), event_version=2)
    replayed = await asyncio.gather(*(admin.replay() for _ in range(6)))
    assert sum(each.landed for each in replayed) == 30
    assert len(await desk.stored()) == 30
    assert await desk.held() == []


async def test_a_replay_checks_by_the_plan_as_it_is_now(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", event_name="page.seen"), an_event("2", event_name="page.lost"))
    admin = desk.admin
    assert (await admin.replay()).model_dump(include={"landed", "still_held"}) == {"landed": 0, "still_held": 2}
    await desk.track("page.seen", schema={"required": ["path"]})
    assert (await admin.replay()).still_held == 2
    assert {each.source_event_id: each.reasons[0].code for each in await desk.held()} == {
        "1": "required",
        "2": "unknown_event",
    }
    await desk.track("page.seen", 2, {})
    await admin.repair("1", version=2, event_version=2)
    assert (await admin.replay()).landed == 1
    assert await desk.stored() == ["1"]


async def test_a_dry_run_counts_and_changes_nothing(admin: AnalyticsDesk) -> None:
    await admin.tell(an_event("2", {}))
    await admin.repair("1", payload={"source": "ad"})
    before = await admin.held()
    counted = await admin.replay(dry_run=True)
    assert (counted.dry_run, counted.matched, counted.landed, counted.still_held) == (True, 2, 1, 1)
    assert (await admin.held(), await admin.stored()) == (before, [])


async def test_a_replay_takes_what_its_filter_says_and_goes_on_behind_a_thousand(desk: AnalyticsDesk) -> None:
    for start in (0, 1_000):
        batch = [
            an_event(f"{start + number:05}", {}, occurred_at=NOON - number * HOUR / 100)
            for number in range(1_000 if start == 0 else 30)
        ]
        await desk.tell(*batch)
    await desk.tell(an_event("other", event_name="page.seen"))
    await desk.track("page.seen", schema={})
    looked, landed, cursor = 0, 0, None
    while True:
        asked = EventReplay(filter=HeldFilter(event_name="signup.completed"), cursor=cursor)
        async with desk.database.transaction(desk.admin.context) as tx:
            page = await replay_events(tx, asked)
        looked, landed, cursor = looked + page.matched, landed + page.landed, page.next_cursor
        if cursor is None:
            break
    assert (looked, landed) == (1_030, 0)
    with pytest.raises(InvalidInput):
        async with desk.database.transaction(desk.admin.context) as tx:
            await replay_events(tx, EventReplay(cursor="forged"))
    assert (await desk.admin.replay(["other"])).landed == 1


async def test_a_repair_of_what_somebody_else_repaired_is_stale(admin: AnalyticsDesk) -> None:
    await admin.repair("1", payload={"source": "ad"})
    with pytest.raises(StaleVersion, match="version 2"):
        await admin.repair("1", payload={"source": "friend"})
    with pytest.raises(NotFound):
        await admin.repair("2")


async def test_a_repair_may_be_wrong_too(admin: AnalyticsDesk) -> None:
    repaired = await admin.repair("1", payload={"source": 7})
    assert [reason.code for reason in repaired.reasons] == ["type"]
    assert (await admin.replay()).still_held == 1
    with pytest.raises(LimitExceeded, match="over the limit"):
        await admin.repair("1", version=2, payload={"source": "x" * 2**20})


async def test_a_mended_event_whose_id_another_one_has_stays_held(admin: AnalyticsDesk) -> None:
    """Both came at the same moment, when neither saw the other."""
    async with admin.database.transaction(admin.context) as tx:
        [held] = (await record_events(tx, [an_event("2", {})])).data
        told = await asyncio.create_task(admin.outcomes(an_event("2")))
    assert (held.outcome, told) == ("quarantined", ["accepted"])
    await admin.repair("2", payload={"source": "friend"})
    replayed = await admin.replay(["2"])
    assert (replayed.landed, replayed.conflicts) == (0, 1)
    reasons = {each.source_event_id: [reason.code for reason in each.reasons] for each in await admin.held()}
    assert reasons == {"1": ["required"], "2": ["conflict"]}
    assert [event.payload for event in await admin.events() if not event.quarantined] == [{"source": "ad"}]


async def test_what_is_discarded_does_not_come_back(admin: AnalyticsDesk) -> None:
    asked: dict[str, Any] = {"filter": HeldFilter(source_event_ids=["1"]), "reason": "a test of the client"}
    for dry_run in (True, False):
        async with admin.database.transaction(admin.context) as tx:
            assert (await discard_events(tx, EventDiscard(**asked, dry_run=dry_run))).discarded == 1
    assert await admin.held() == []
    assert (await admin.replay(["1"])).matched == 0
    assert await admin.outcomes(an_event("1", {"seats": 2})) == ["duplicate"]


async def test_decisions_leave_audit_records(admin: AnalyticsDesk) -> None:
    await admin.repair("1", payload={"source": "ad"})
    await admin.replay()
    async with admin.database.transaction(admin.of(Role.OWNER).context) as tx:
        records = [each for each in await list_records(tx) if each.action.startswith("analytics.")]
    assert sorted(each.action for each in records) == ["analytics.repaired", "analytics.replayed"]
    assert {each.actor_id for each in records} == {admin.context.actor_id}


async def test_members_mend_nothing_in_raw_sql_either(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", {}))
    with pytest.raises(Forbidden):
        await desk.repair("1", payload={"source": "ad"})
    with pytest.raises(Forbidden):
        await desk.replay()
    for call in (
        "take_analytics(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 10, 1000)",
        "land_analytics('{1}', '5 min')",
        "repair_analytics('1', 1, 'signup.completed', 1, '{\"source\": \"ad\"}', 'mine', 'valid', '[]')",
        "explain_analytics('{1}', '{valid}', '{\"[]\"}')",
        "discard_analytics('{1}', 'mine')",
    ):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(desk.context) as tx:
                await tx.execute(f"SELECT datalane.{call}")
    [held] = await desk.held()
    assert (held.version, held.payload) == (1, {})


async def test_admins_change_what_is_held_by_the_verbs_alone(admin: AnalyticsDesk) -> None:
    for statement in (
        "UPDATE datalane.analytics_quarantine SET occurred_at = now()",
        "UPDATE datalane.analytics_quarantine SET payload = '{\"source\": \"ad\"}', subject = 'bob'",
        "DELETE FROM datalane.analytics_quarantine",
        "INSERT INTO datalane.analytics_quarantine (workspace_id) VALUES (app.workspace_id())",
    ):
        with pytest.raises(Forbidden):
            async with admin.database.transaction(admin.of(Role.OWNER).context) as tx:
                await tx.execute(statement)


@pytest.mark.parametrize(
    "repair",
    [
        "'1', 1, 'signup.completed', 1, '[]', 'a note', 'valid', '[]'",
        "'1', 1, 'signup.completed', 1, NULL, 'a note', 'valid', '[]'",
        "'1', 1, 'signup.completed', 0, '{}', 'a note', 'valid', '[]'",
        "'1', 1, 'signup.completed', NULL, '{}', 'a note', 'valid', '[]'",
        "'1', 1, '', 1, '{}', 'a note', 'valid', '[]'",
        "'1', 1, repeat('a', 201), 1, '{}', 'a note', 'valid', '[]'",
        "'1', 1, 'signup.completed', 1, '{}', '', 'valid', '[]'",
        "'1', 1, 'signup.completed', 1, '{}', 'a note', 'valid', '{}'",
    ],
)
async def test_a_repair_is_bounded_in_raw_sql_too(admin: AnalyticsDesk, repair: str) -> None:
    with pytest.raises(InvalidInput):
        async with admin.database.transaction(admin.context) as tx:
            await tx.execute(f"SELECT datalane.repair_analytics({repair})")
    with pytest.raises(LimitExceeded, match=r"limits\.event_payload"):
        async with admin.database.transaction(admin.context) as tx:
            await tx.execute(
                "SELECT datalane.repair_analytics('1', 1, 'signup.completed', 1, $1, 'a note', 'valid', '[]')",
                {"source": "x" * 300_000},
            )


async def test_a_repair_in_raw_sql_leaves_its_audit_record_too(admin: AnalyticsDesk) -> None:
    repair = "SELECT datalane.repair_analytics('1', $1, 'signup.completed', 1, $2, 'a note', 'valid', '[]')"
    async with admin.database.transaction(admin.of(Role.OWNER).context) as tx:
        versions = [await tx.fetchval(repair, seen, {"source": "ad"}) for seen in (7, 1, 1)]
        [told] = [each for each in await list_records(tx) if each.action == "analytics.repaired"]
    assert versions == [None, 2, None]
    assert (told.before["payload"], told.after["payload"], told.after["note"]) == (
        {"seats": 2},
        {"source": "ad"},
        "a note",
    )


async def test_an_event_lands_once_its_time_has_come(desk: AnalyticsDesk) -> None:
    """With the plan that was enforced when it came: what will be is not known then."""
    early, later = replace(desk, now=NOON), replace(desk, now=NOON + 40 * 24 * HOUR)
    event = an_event("1", occurred_at=NOON + 39 * 24 * HOUR, plan_id="pro")
    assert await early.outcomes(event) == ["quarantined"]
    assert (await early.replay()).still_held == 1
    replayed = await later.replay()
    assert (replayed.landed, replayed.conflicts, replayed.anomalies) == (1, 0, 1)
    assert await desk.stored() == ["1"]


async def test_a_replay_takes_what_fits_into_a_batch_and_goes_on_with_the_next(
    desk: AnalyticsDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST_BYTES", 5_000)
    sizes = [2_000, 2_000, 2_000, 9_000, 100, 100]
    await desk.tell(*(an_event(str(place), {"more": "ü" * (size // 2)}) for place, size in enumerate(sizes)))
    matched, cursor = [], None
    while True:
        async with desk.database.transaction(desk.admin.context) as tx:
            page = await replay_events(tx, EventReplay(cursor=cursor))
        matched.append(page.matched)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert matched == [2, 1, 1, 2]


async def test_another_workspace_sees_and_replays_nothing(admin: AnalyticsDesk) -> None:
    other = AnalyticsDesk(admin.database, a_context(role=Role.ADMIN))
    assert await other.held() == []
    assert (await other.replay()).matched == 0
    with pytest.raises(NotFound):
        await other.repair("1")

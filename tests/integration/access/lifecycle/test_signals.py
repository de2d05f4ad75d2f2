"""What sources tell: once, in its place, within bounds, and with all that follows from it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of
from tests.integration.access.lifecycle.telling import (
    DAY,
    HOUR,
    NOON,
    a_signal,
    events,
    plan,
    rows,
    state,
    status,
    tell,
)

from datalane.access.entitlements.plans import Plan, register_plans, retire_plan
from datalane.access.lifecycle import service
from datalane.access.lifecycle.schemas import Correction
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.audit import list_records
from datalane.errors import Forbidden

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]


async def test_nothing_told_is_pending_and_writes_nothing(database: Database, context: Context) -> None:
    shown = await status(database, context)
    assert (shown.status, shown.plan_id, shown.until, shown.version) == ("pending", None, None, 0)
    assert await rows(database, context, "demo_access") == 0


async def test_an_activation_brings_the_plan_an_event_and_a_record(
    database: Database, operator: Context, context: Context
) -> None:
    [receipt] = await tell(database, operator, a_signal("activate", ends_at=NOON + DAY, grace_seconds=3600))
    assert (receipt.receipt, receipt.outcome) == ("accepted", "applied")
    shown = await status(database, context)
    assert (shown.status, shown.plan_id, shown.until) == ("active", "pro", NOON + DAY)
    assert (shown.source_system, shown.source_event_id) == ("billing", "activate-01120000")
    assert shown.last_synced_at == NOON
    assert await plan(database, context) == ("pro", "enabled", NOON + DAY + HOUR)
    assert await events(database, context) == ["access.activated pending>active"]
    async with database.transaction(context) as tx:
        assert {record.action for record in await list_records(tx)} == {"demo_access.changed", "plan.assigned"}


async def test_the_same_signal_told_again_has_no_effect(
    database: Database, operator: Context, context: Context
) -> None:
    signal = a_signal("activate", ends_at=NOON + DAY)
    await tell(database, operator, signal)
    for _ in range(2):
        [receipt] = await tell(database, operator, signal, now=NOON + HOUR)
        assert (receipt.receipt, receipt.outcome) == ("duplicate", "applied")
    assert await events(database, context) == ["access.activated pending>active"]
    assert await rows(database, context, "workspace_plans") == 2  # the plan, and that it is closed at its end


async def test_the_same_id_with_other_content_is_a_conflict_that_stays_in_sight(
    database: Database, operator: Context, context: Context
) -> None:
    first = a_signal("activate", event="e1", ends_at=NOON + DAY)
    await tell(database, operator, first)
    [receipt] = await tell(database, operator, a_signal("activate", event="e1", ends_at=NOON + 30 * DAY))
    assert receipt.receipt == "conflict"
    assert (await status(database, context)).ends_at == NOON + DAY
    async with database.transaction(operator) as tx:
        [kept] = await service.list_signals(tx)
    assert (kept.conflicts, kept.conflicting["ends_at"][:10]) == (1, "2031-03-31")
    receipts = await tell(database, operator, a_signal("suspend", event="e2"), a_signal("deactivate", event="e2"))
    assert [each.receipt for each in receipts] == ["accepted", "conflict"]
    assert await state(database, context) == "suspended"


async def test_a_late_signal_takes_its_place_and_the_history_is_made_anew(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("suspend", NOON - HOUR))
    assert await state(database, context) == "pending"
    [late] = await tell(database, operator, a_signal("activate", NOON - 2 * HOUR))
    assert late.outcome == "applied"
    assert await state(database, context) == "suspended"
    async with database.transaction(operator) as tx:
        history = (await service.list_history(tx)).data
        kept = {each.signal: (each.outcome, each.late) for each in await service.list_signals(tx)}
    assert [(each.from_state, each.to_state, each.at) for each in sorted(history, key=lambda each: each.ordinal)] == [
        ("pending", "active", NOON - 2 * HOUR),
        ("active", "suspended", NOON - HOUR),
    ]
    assert kept == {"suspend": ("applied", False), "activate": ("applied", True)}
    await tell(database, operator, a_signal("deactivate", NOON - 3 * HOUR), now=NOON + HOUR)
    async with database.transaction(operator) as tx:
        history = (await service.list_history(tx)).data
    assert [(each.to_state, each.superseded_at is None) for each in history] == [
        ("deactivated", True),
        ("suspended", False),
        ("active", False),
    ]


async def test_versions_order_within_a_source_and_time_across_sources(
    database: Database, operator: Context, context: Context
) -> None:
    """The source that counts has a clock that went back between its changes."""
    told = [
        a_signal("activate", NOON - 2 * HOUR, "b1", source_version=1),
        a_signal("deactivate", NOON - 5 * HOUR, "b2", source_version=2),
        a_signal("suspend", NOON - 3 * HOUR, "c1", source_system="crm"),
    ]
    await tell(database, operator, *told)
    async with database.transaction(operator) as tx:
        history = (await service.list_history(tx)).data
        kept = {each.source_event_id: each.reason for each in await service.list_signals(tx)}
    steps = [(each.to_state, each.at) for each in sorted(history, key=lambda each: each.ordinal)]
    assert steps == [("active", NOON - 2 * HOUR), ("deactivated", NOON - 2 * HOUR)]
    assert kept["c1"] == "it was never activated"


@pytest.mark.parametrize(
    ("at", "receipt", "outcome", "reason"),
    [
        (NOON + DAY + timedelta(seconds=1), "held", "ignored", "it is from the future"),
        (NOON + DAY, "accepted", "ahead", "its time has not come"),
        (NOON - timedelta(hours=43830, seconds=1), "held", "stale", "it is from too long ago"),
        (NOON - timedelta(hours=43830), "accepted", "applied", None),
    ],
)
async def test_a_moment_that_cannot_be_right_is_held(
    database: Database, operator: Context, context: Context, at: Any, receipt: str, outcome: str, reason: str | None
) -> None:
    [told] = await tell(database, operator, a_signal("activate", at))
    assert (told.receipt, told.outcome, told.reason) == (receipt, outcome, reason)
    shown = await status(database, context)
    assert (shown.state, shown.held_signals) == ("active" if outcome == "applied" else "pending", receipt == "held")


async def test_what_is_held_has_its_place_once_it_is_released(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - 3000 * DAY, "old"), a_signal("suspend", NOON - HOUR))
    assert await state(database, context) == "pending"
    async with database.transaction(operator) as tx:
        assert await service.release(tx, "Ada", "It is right.", source_event_id="another", now=NOON) == 0
        assert await service.release(tx, "Ada", "It is right.", source_event_id="old", now=NOON) == 1
        assert await service.release(tx, "Ada", "It is right.", now=NOON) == 0
    assert await state(database, context) == "suspended"


async def test_an_end_that_has_passed_is_seen_before_anything_is_written(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", ends_at=NOON + DAY, grace_seconds=3600))
    seen = [await status(database, context, NOON + DAY + offset) for offset in (-HOUR, 0 * HOUR, HOUR / 2, HOUR)]
    assert [each.state for each in seen] == ["active", "grace", "grace", "expired"]
    assert [each.since for each in seen] == [NOON, NOON + DAY, NOON + DAY, NOON + DAY + HOUR]
    assert await plan(database, context, NOON + DAY + HOUR / 2) == ("pro", "enabled", NOON + DAY + HOUR)
    assert await plan(database, context, NOON + DAY + HOUR) == ("pro", "disabled", None)
    assert await events(database, context) == ["access.activated pending>active"]


async def test_settling_writes_down_what_time_has_done_and_does_it_once(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", ends_at=NOON + DAY, grace_seconds=3600))
    for at in (NOON + DAY, NOON + DAY, NOON + DAY + HOUR, NOON + 2 * DAY):
        async with database.transaction(operator) as tx:
            await service.settle(tx, now=at)
    assert await events(database, context) == [
        "access.activated pending>active",
        "access.changed active>grace",
        "access.deactivated grace>expired",
    ]
    assert await plan(database, context, NOON + 2 * DAY) == ("pro", "disabled", None)
    async with database.transaction(operator) as tx:
        history = (await service.list_history(tx)).data
    assert [(each.why, each.at) for each in reversed(history)] == [
        ("activate", NOON),
        ("period_ended", NOON + DAY),
        ("grace_ended", NOON + DAY + HOUR),
    ]


async def test_a_renewal_at_the_very_end_leaves_no_gap(database: Database, operator: Context, context: Context) -> None:
    await tell(database, operator, a_signal("activate", NOON - DAY, ends_at=NOON))
    await tell(database, operator, a_signal("renew", NOON, ends_at=NOON + DAY))
    async with database.transaction(operator) as tx:
        assert {each.to_state for each in (await service.list_history(tx)).data if not each.superseded_at} == {"active"}
    assert await plan(database, context) == ("pro", "enabled", NOON + DAY)


async def test_a_renewal_that_comes_after_the_expiry_was_written_brings_it_back(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - DAY, ends_at=NOON - HOUR))
    assert await state(database, context) == "expired"
    await tell(database, operator, a_signal("renew", NOON - 2 * HOUR, ends_at=NOON + DAY))
    assert await state(database, context) == "active"
    async with database.transaction(operator) as tx:
        assert [each.to_state for each in (await service.list_history(tx)).data if not each.superseded_at] == [
            "active",
            "active",
        ]


async def test_a_plan_that_is_not_there_shows_as_pending_sync_until_it_is(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", plan_id="gold", ends_at=NOON + DAY))
    shown = await status(database, context)
    assert (shown.status, shown.state) == ("pending_sync", "active")
    assert "gold" in (shown.reason or "")
    assert shown.last_synced_at is None
    assert await plan(database, context) is None
    await register_plans(database, plans_of(Plan("gold", ("search",), {})))
    async with database.transaction(operator) as tx:
        settled = await service.settle(tx, now=NOON + HOUR)
    assert settled.sync_error is None
    assert (await status(database, context, NOON + HOUR)).status == "active"
    assert await plan(database, context, NOON + HOUR) == ("gold", "enabled", NOON + DAY)
    assert await events(database, context) == ["access.activated pending>active", "access.changed active>active"]


async def test_who_has_a_retired_plan_keeps_it_renews_it_and_loses_it(
    database: Database, operator: Context, context: Context
) -> None:
    await register_plans(database, plans_of(Plan("heirloom", ("search",), {})))
    await tell(database, operator, a_signal("activate", plan_id="heirloom", ends_at=NOON + DAY))
    await retire_plan(database, "heirloom")
    await tell(database, operator, a_signal("renew", NOON + HOUR, ends_at=NOON + 3 * DAY), now=NOON + HOUR)
    assert await plan(database, context, NOON + HOUR) == ("heirloom", "enabled", NOON + 3 * DAY)
    await tell(database, operator, a_signal("deactivate", NOON + 2 * HOUR), now=NOON + 2 * HOUR)
    assert await plan(database, context, NOON + 2 * HOUR) == ("heirloom", "disabled", None)
    stranger = Context.system(a_context().workspace_id)
    await tell(database, stranger, a_signal("activate", plan_id="heirloom"))
    assert (await status(database, stranger)).status == "pending_sync"


async def test_a_clock_that_jumped_ahead_and_back_does_not_decide_for_good(
    database: Database, operator: Context, context: Context
) -> None:
    """What was told while it was a year ahead saw the period ended, and assigned the plan for next year."""
    await tell(database, operator, a_signal("activate", NOON - DAY, ends_at=NOON + 5 * DAY))
    await tell(database, operator, a_signal("renew", NOON - HOUR, ends_at=NOON + 9 * DAY), now=NOON + 365 * DAY)
    assert await state(database, context, NOON + 365 * DAY) == "expired"
    await tell(database, operator, a_signal("suspend", NOON, "s"), a_signal("resume", NOON, "t"))
    assert await state(database, context) == "active"
    assert await plan(database, context) == ("pro", "enabled", NOON + 9 * DAY)
    await tell(database, operator, a_signal("deactivate", NOON, "u"))
    for later in (0, 2, 370):
        assert await plan(database, context, NOON + later * DAY) == ("pro", "disabled", None)


async def test_signals_that_come_backwards_supersede_no_more_than_they_change(
    database: Database, operator: Context, context: Context
) -> None:
    start = NOON - 100 * HOUR
    await tell(database, operator, a_signal("activate", start))
    for number in range(30, 0, -1):
        renewal = a_signal("renew", start + number * HOUR, f"r{number}", ends_at=NOON + number * HOUR)
        await tell(database, operator, renewal)
    async with database.transaction(operator) as tx:
        history = (await service.list_history(tx, page_size=100)).data
    assert [each.superseded_at for each in history] == [None] * 31
    assert sorted(each.ordinal for each in history) == [*range(1, 32)]


async def test_what_is_told_at_once_is_all_there_and_acts_once(
    database: Database, operator: Context, context: Context
) -> None:
    activation = a_signal("activate", NOON - HOUR)
    receipts = await asyncio.gather(*(tell(database, operator, activation) for _ in range(8)))
    assert sorted(each.receipt for [each] in receipts) == ["accepted", *["duplicate"] * 7]
    assert await events(database, context) == ["access.activated pending>active"]
    assert await rows(database, context, "workspace_plans") == 1


async def test_nothing_is_left_of_a_transaction_that_is_rolled_back(
    database: Database, operator: Context, context: Context
) -> None:
    async def tell_and_fail() -> None:
        async with database.transaction(operator) as tx:
            await service.tell(tx, [a_signal("activate")], now=NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await tell_and_fail()
    assert await state(database, context) == "pending"
    assert await plan(database, context) is None
    assert await events(database, context) == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER])
async def test_no_member_tells_corrects_or_mends(database: Database, context: Context, role: Role) -> None:
    member = Context(context.workspace_id, context.actor_id, role)
    async with database.transaction(member) as tx:
        with pytest.raises(Forbidden):
            await service.tell(tx, [a_signal("activate")])
        with pytest.raises(Forbidden):
            await service.correct(tx, Correction(state="active", told_by="me", note="I want it.", plan_id="pro"))
        with pytest.raises(Forbidden):
            await service.settle(tx)
        with pytest.raises(Forbidden):
            await service.release(tx, "me", "please")


STATEMENTS = [
    "SELECT * FROM datalane.record_access_signals('[]')",
    "SELECT * FROM datalane.settle_demo_access()",
    "SELECT datalane.release_access_signals()",
    "SELECT datalane.lock_demo_access()",
    "SELECT datalane.note_access_difference('[]')",
    "SELECT datalane.sweep_demo_access()",
    "SELECT datalane.settle_access(app.workspace_id(), true, app.actor_id(), 'x', NULL, 0, now())",
    "SELECT datalane.assign_access_plan(app.workspace_id(), 'pro', 'enabled', NULL, 'x', now())",
    "INSERT INTO datalane.demo_access (workspace_id, state, created_at, updated_at)"
    " VALUES (app.workspace_id(), 'active', now(), now())",
    "UPDATE datalane.demo_access SET state = 'active' WHERE workspace_id = app.workspace_id()",
    "UPDATE datalane.access_signals SET held = NULL WHERE workspace_id = app.workspace_id()",
    "DELETE FROM datalane.access_history WHERE workspace_id = app.workspace_id()",
]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OWNER])
async def test_raw_sql_gives_no_member_access(database: Database, context: Context, role: Role, statement: str) -> None:
    member = Context(context.workspace_id, context.actor_id, role)
    with pytest.raises((Forbidden, asyncpg.InsufficientPrivilegeError)):
        async with database.transaction(member) as tx:
            await tx.execute(statement)


async def test_another_workspace_sees_and_changes_nothing(
    database: Database, operator: Context, context: Context, other_context: Context
) -> None:
    await tell(database, operator, a_signal("activate"))
    theirs = Context.system(other_context.workspace_id)
    assert (await status(database, other_context)).state == "pending"
    for table in ("demo_access", "access_signals", "access_history"):
        assert await rows(database, other_context, table) == 0
    await tell(database, theirs, a_signal("deactivate", event="activate-01120000"))
    assert await state(database, context) == "active"

"""A signal whose time lies ahead is taken down at once, and counts when its time has come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.integration.access.lifecycle.telling import DAY, HOUR, NOON, a_signal, events, plan, state, status, tell

from datalane.access.lifecycle import service
from datalane.access.lifecycle.reconciling import reconcile
from datalane.access.lifecycle.schemas import AccessDifference, Correction, KeptSignal, SignalReceipt
from datalane.access.lifecycle.sweeping import Asked, sweep_once
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared

pytestmark = pytest.mark.usefixtures("plans")

JUST_BEFORE = timedelta(seconds=1)


async def settle(database: Database, operator: Context, now: datetime) -> str:
    async with database.transaction(operator) as tx:
        return (await service.settle(tx, now=now)).state


async def correct(database: Database, operator: Context, state: str, now: datetime, **said: Any) -> SignalReceipt:
    correction = Correction.model_validate({"state": state, "told_by": "Ada", "note": "A mistake.", **said})
    async with database.transaction(operator) as tx:
        return await service.correct(tx, correction, now=now)


async def differences(database: Database, operator: Context, now: datetime) -> list[AccessDifference]:
    async with database.transaction(operator) as tx:
        return (await reconcile(tx, now=now)).differences


async def kept(database: Database, operator: Context, event: str) -> KeptSignal:
    async with database.transaction(operator) as tx:
        [found] = [each for each in await service.list_signals(tx) if each.source_event_id == event]
    return found


async def test_a_signal_ahead_changes_nothing_before_its_time(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - HOUR, ends_at=NOON + 9 * DAY))
    [receipt] = await tell(database, operator, a_signal("deactivate", NOON + 5 * HOUR, "d"))
    assert (receipt.receipt, receipt.outcome, receipt.reason) == ("accepted", "ahead", "its time has not come")
    for now in (NOON, NOON + 5 * HOUR - JUST_BEFORE):
        assert await settle(database, operator, now) == "active"
        assert await state(database, context, now) == "active"
        assert await plan(database, context, now) == ("pro", "enabled", NOON + 9 * DAY)
    assert await events(database, context) == ["access.activated pending>active"]
    assert await differences(database, operator, NOON + 4 * HOUR) == []


async def test_the_sweep_has_it_applied_when_its_time_has_come_and_once(
    database: Database, operator: Context, context: Context, urls: Prepared
) -> None:
    due = NOON + 5 * HOUR
    await tell(database, operator, a_signal("activate", NOON - HOUR), a_signal("suspend", due, "s"))
    maintenance = await asyncpg.connect(urls.maintenance_url)
    try:
        assert await sweep_once(maintenance, due - JUST_BEFORE) == Asked()
        assert await sweep_once(maintenance, due) == Asked(settling=1)
    finally:
        await maintenance.close()
    for now in (due, due, due + HOUR):
        assert await settle(database, operator, now) == "suspended"
    assert (await kept(database, operator, "s")).outcome == "applied"
    assert await plan(database, context, due) == ("pro", "disabled", None)
    assert await events(database, context) == ["access.activated pending>active", "access.deactivated active>suspended"]


async def test_readers_do_not_wait_for_the_sweep(database: Database, operator: Context, context: Context) -> None:
    told = [
        a_signal("activate", NOON - HOUR, ends_at=NOON + 3 * HOUR),
        a_signal("renew", NOON + 2 * HOUR, "r", ends_at=NOON + 9 * HOUR, source_version=7),
        a_signal("suspend", NOON + 6 * HOUR, "s"),
    ]
    await tell(database, operator, *told)
    seen = [await status(database, context, NOON + hours * HOUR) for hours in (0, 2, 4, 7, 9)]
    assert [each.state for each in seen] == ["active", "active", "active", "suspended", "expired"]
    assert [each.source_event_id for each in seen] == ["activate-01110000", "r", "r", "s", "s"]
    assert [each.source_version for each in seen] == [None, 7, 7, None, None]
    assert [each.since for each in seen] == [NOON - HOUR] * 3 + [NOON + 6 * HOUR, NOON + 9 * HOUR]
    assert [each.ends_at for each in seen] == [NOON + 3 * HOUR, *[NOON + 9 * HOUR] * 4]


async def test_what_is_told_now_is_not_late_for_a_signal_that_is_ahead(database: Database, operator: Context) -> None:
    await tell(database, operator, a_signal("activate", NOON + 5 * HOUR), a_signal("activate", NOON - HOUR, "a"))
    await tell(database, operator, a_signal("suspend", NOON, "s"), a_signal("suspend", NOON - 2 * HOUR, "t"))
    assert [(await kept(database, operator, event)).late for event in ("s", "t")] == [False, True]


async def test_a_correction_counts_from_now_and_what_is_ahead_of_it_comes_after_it(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - HOUR), a_signal("suspend", NOON + 5 * HOUR, "s"))
    receipt = await correct(database, operator, "deactivated", NOON)
    assert receipt.outcome == "applied"
    assert (await kept(database, operator, receipt.source_event_id)).occurred_at == NOON
    for now in (NOON, NOON + 4 * HOUR):
        assert await settle(database, operator, now) == "deactivated"
    await correct(database, operator, "active", NOON + 4 * HOUR)
    assert await settle(database, operator, NOON + 5 * HOUR - JUST_BEFORE) == "active"
    assert await settle(database, operator, NOON + 5 * HOUR) == "suspended"
    await correct(database, operator, "active", NOON + 6 * HOUR)
    assert await settle(database, operator, NOON + 7 * HOUR) == "active"


async def test_a_correction_may_be_made_for_later(database: Database, operator: Context) -> None:
    await tell(database, operator, a_signal("activate", NOON - HOUR))
    assert (await correct(database, operator, "expired", NOON, occurred_at=NOON + HOUR)).outcome == "ahead"
    assert await settle(database, operator, NOON + HOUR - JUST_BEFORE) == "active"
    assert await settle(database, operator, NOON + HOUR) == "expired"


async def test_versions_after_one_that_is_ahead_wait_with_it(database: Database, operator: Context) -> None:
    """They are in order, so the second cannot count before the first. The operator's word need not wait."""
    told = [
        a_signal("activate", NOON - HOUR, "b0", source_version=0),
        a_signal("suspend", NOON + 3 * HOUR, "b1", source_version=1),
        a_signal("resume", NOON, "b2", source_version=2),
    ]
    receipts = await tell(database, operator, *told)
    assert [each.outcome for each in receipts] == ["applied", "ahead", "ahead"]
    assert await settle(database, operator, NOON + 3 * HOUR) == "active"
    async with database.transaction(operator) as tx:
        assert [each.why for each in reversed((await service.list_history(tx)).data)] == [
            "activate",
            "suspend",
            "resume",
        ]


async def test_what_is_due_and_not_applied_yet_is_no_difference_and_is_applied(
    database: Database, operator: Context, context: Context
) -> None:
    due = NOON + 2 * HOUR
    await tell(database, operator, a_signal("activate", NOON - HOUR), a_signal("deactivate", due, "d"))
    assert await differences(database, operator, due + HOUR) == []
    assert (await kept(database, operator, "d")).outcome == "applied"
    assert await events(database, context) == [
        "access.activated pending>active",
        "access.deactivated active>deactivated",
    ]


async def test_a_signal_ahead_gives_no_plan_and_takes_none_when_the_clock_goes_back(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON + 5 * HOUR), now=NOON + 6 * HOUR)
    assert await state(database, context, NOON + 6 * HOUR) == "active"
    assert await settle(database, operator, NOON) == "pending"
    assert await plan(database, context, NOON) is None
    assert await settle(database, operator, NOON + 5 * HOUR) == "active"
    assert await plan(database, context, NOON + 5 * HOUR) == ("pro", "enabled", None)

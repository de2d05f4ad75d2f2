"""A signal that is held has no place; told again, it is looked at again."""

from __future__ import annotations

import pytest
from tests.integration.access.lifecycle.telling import DAY, HOUR, NOON, a_signal, events, state, status, tell

from datalane.access.lifecycle import service
from datalane.contracts.context import Context
from datalane.db.database import Database

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

FUTURE = a_signal("activate", NOON + 3 * DAY, "early")
OLD = a_signal("activate", NOON - 4 * DAY, "old")


async def test_what_was_too_early_has_its_place_when_it_is_told_again_and_once(
    database: Database, operator: Context, context: Context
) -> None:
    assert [each.receipt for each in await tell(database, operator, FUTURE)] == ["held"]
    assert [each.receipt for each in await tell(database, operator, FUTURE, now=NOON + DAY)] == ["duplicate"]
    assert (await status(database, context, NOON + DAY)).held_signals == 1
    receipts = await tell(database, operator, FUTURE, FUTURE, now=NOON + 3 * DAY)
    assert [(each.receipt, each.outcome) for each in receipts] == [("accepted", "applied"), ("duplicate", "applied")]
    assert [each.receipt for each in await tell(database, operator, FUTURE, now=NOON + 4 * DAY)] == ["duplicate"]
    assert (await status(database, context, NOON + 4 * DAY)).held_signals == 0
    assert await events(database, context) == ["access.activated pending>active"]


async def test_what_is_told_again_a_day_before_its_time_waits_for_it(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, FUTURE)
    [receipt] = await tell(database, operator, FUTURE, now=NOON + 2 * DAY)
    assert (receipt.receipt, receipt.outcome) == ("accepted", "ahead")
    assert await state(database, context, NOON + 3 * DAY - HOUR) == "pending"
    assert await state(database, context, NOON + 3 * DAY) == "active"


async def test_what_our_own_clock_took_for_old_has_its_place_when_the_clock_is_right(
    database: Database, operator: Context, context: Context
) -> None:
    assert [each.outcome for each in await tell(database, operator, OLD, now=NOON + 4000 * DAY)] == ["stale"]
    [receipt] = await tell(database, operator, OLD)
    assert (receipt.receipt, receipt.outcome, receipt.reason) == ("accepted", "applied", None)
    assert await state(database, context) == "active"


async def test_the_same_id_with_other_content_gives_it_no_place(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, FUTURE)
    other = a_signal("activate", NOON + 3 * DAY, "early", plan_id="trial")
    assert [each.receipt for each in await tell(database, operator, other, now=NOON + 3 * DAY)] == ["conflict"]
    assert (await status(database, context, NOON + 3 * DAY)).held_signals == 1
    receipts = await tell(database, operator, other, FUTURE, now=NOON + 3 * DAY)
    assert [each.receipt for each in receipts] == ["conflict", "accepted"]
    async with database.transaction(operator) as tx:
        [kept] = await service.list_signals(tx)
    assert (kept.plan_id, kept.held, kept.conflicts) == ("pro", None, 2)


async def test_who_tells_it_again_stands_beside_it(database: Database, operator: Context) -> None:
    await tell(database, operator, FUTURE)
    again = FUTURE.model_copy(update={"told_by": "Ada", "note": "The source did not."})
    await tell(database, operator, again, now=NOON + 3 * DAY)
    async with database.transaction(operator) as tx:
        [kept] = await service.list_signals(tx)
    assert (kept.told_by, kept.released_by, kept.release_note) == (None, "Ada", "The source did not.")

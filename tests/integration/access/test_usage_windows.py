"""Periods and rolling windows: where they begin and end, and what is told of their limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of
from tests.integration.access.metering import DAY, HOUR, NOON, events, use

from datalane.access.entitlements import service as entitlements
from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.usage import service
from datalane.access.usage.sweeping import sweep_once
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize(
    ("quota", "last", "first"),
    [
        ("a.minute", NOON + timedelta(seconds=59), NOON + timedelta(minutes=1)),
        ("a.hour", NOON + timedelta(minutes=59), NOON + HOUR),
        ("a.day", NOON + timedelta(hours=11, minutes=59), NOON + 12 * HOUR),
        ("a.berlin.day", NOON + timedelta(hours=10, minutes=59), NOON + 11 * HOUR),
        ("a.month", datetime(2031, 3, 31, 23, 59, tzinfo=UTC), datetime(2031, 4, 1, tzinfo=UTC)),
    ],
)
async def test_a_period_ends_at_its_boundary_and_leaves_an_audit_record(
    database: Database, metered: Context, urls: Any, quota: str, last: datetime, first: datetime
) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, quota, 9, "1") == ("accepted", 9)
        assert (await use(tx, quota, 2, "2", last))[0] == "refused"
        assert await use(tx, quota, 2, "3", first) == ("accepted", 2)
        # Its clock was read before the boundary, and it came after others.
        assert await use(tx, quota, 1, "late", first - timedelta(milliseconds=1)) == ("accepted", 10)
    connection = await asyncpg.connect(urls.maintenance_url)
    try:
        await sweep_once(connection, first + timedelta(seconds=4))
        assert (await sweep_once(connection, first + timedelta(seconds=5))).closed >= 1
        await sweep_once(connection, first + timedelta(seconds=6))
    finally:
        await connection.close()
    async with database.transaction(metered) as tx:
        rows = await tx.fetch(
            "SELECT l.resource_id, d.before, d.after FROM datalane.audit_log l "
            "JOIN datalane.audit_details d USING (workspace_id, audit_id) "
            "WHERE l.workspace_id = $1 AND l.action = 'usage.reset'",
            metered.workspace_id,
        )
        [record] = rows
        before, after = json.loads(record["before"]), json.loads(record["after"])
        assert (record["resource_id"], before["consumed_units"], after["consumed_units"]) == (quota, 10, 0)
        assert datetime.fromisoformat(before["period_end"]) == first
        assert await service.find_differences(tx) == []


@pytest.mark.parametrize(
    ("day", "hours"), [(datetime(2031, 3, 30, tzinfo=UTC), 23), (datetime(2031, 10, 26, tzinfo=UTC), 25)]
)
async def test_a_day_is_as_long_as_its_clocks_make_it(
    database: Database, metered: Context, day: datetime, hours: int
) -> None:
    async with database.transaction(metered) as tx:
        counter = await service.get_counter(tx, "a.berlin.day", day + 6 * HOUR)
        used = await service.use(tx, "a.berlin.day", idempotency_key=str(hours), now=day + 6 * HOUR)
        assert counter is not None
        assert used.period_start is not None
        assert used.period_end is not None
        following = await service.use(tx, "a.berlin.day", idempotency_key="next", now=used.period_end)
    assert used.period_end - used.period_start == hours * HOUR
    assert (counter.period_start, counter.period_end) == (used.period_start, used.period_end)
    assert following.period_start == used.period_end  # no gap


async def test_a_day_whose_midnight_comes_twice_begins_at_the_first(database: Database, metered: Context) -> None:
    midnight = datetime(2031, 10, 26, tzinfo=UTC)  # on the Azores, where clocks go back to it an hour later
    async with database.transaction(metered) as tx:
        before = await service.use(tx, "an.azores.day", 3, idempotency_key="0", now=midnight - HOUR / 2)
        first, second = [
            await service.use(tx, "an.azores.day", 4, idempotency_key=str(hours), now=midnight + hours * HOUR)
            for hours in (0.5, 1.5)
        ]
        assert (await use(tx, "an.azores.day", 3, "full", midnight + 2 * HOUR))[0] == "refused"
    assert (before.period_end, before.consumed_units) == (midnight, 3)
    assert (first.period_start, second.period_start, second.consumed_units) == (midnight, midnight, 8)
    assert first.period_end == second.period_end == midnight + 25 * HOUR


async def test_a_month_that_begins_on_the_31st_ends_with_its_own(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        late = datetime(2032, 1, 31, 23, tzinfo=UTC)
        used = await service.use(tx, "a.month", idempotency_key="1", now=late)
        leap = await service.use(tx, "a.month", idempotency_key="2", now=late + HOUR)
    assert used.period_end == leap.period_start == datetime(2032, 2, 1, tzinfo=UTC)
    assert leap.period_end == datetime(2032, 3, 1, tzinfo=UTC)


async def test_a_rolling_window_gives_back_what_has_left_it(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.rolling", 4, "1") == ("accepted", 4)
        assert await use(tx, "a.rolling", 6, "2", NOON + HOUR / 2) == ("accepted", 10)
        refused = await service.use(tx, "a.rolling", 5, idempotency_key="3", now=NOON + HOUR / 2)
        assert (refused.outcome, refused.period_end, refused.retry_at) == ("refused", None, NOON + 1.5 * HOUR)
        few = await service.use(tx, "a.rolling", 4, idempotency_key="4", now=NOON + HOUR / 2)
        assert few.retry_at == NOON + HOUR
        assert await use(tx, "a.rolling", 4, "5", NOON + HOUR) == ("accepted", 10)
        assert await use(tx, "a.rolling", 5, "6", NOON + 1.5 * HOUR) == ("accepted", 9)
        shown = await service.get_counter(tx, "a.rolling", NOON + 2.5 * HOUR)
        assert shown is not None
        assert (shown.consumed_units, shown.period_end) == (0, None)
        assert await service.find_differences(tx) == []


async def test_a_clock_that_is_set_back_makes_no_room(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.rolling", 10, "1") == ("accepted", 10)
        assert await use(tx, "a.rolling", 3, "2", NOON + DAY) == ("accepted", 3)  # the clock jumped ahead
        assert await use(tx, "a.rolling", 1, "3", NOON + timedelta(minutes=1)) == ("refused", 13)  # and back
        assert await use(tx, "a.day", 10, "4") == ("accepted", 10)
        assert await use(tx, "a.day", 3, "5", NOON + DAY) == ("accepted", 3)
        assert await use(tx, "a.day", 1, "6") == ("refused", 10)
        assert await service.find_differences(tx) == []


async def test_reaching_the_limit_is_told_once_a_crossing_after_its_warnings(
    database: Database, metered: Context
) -> None:
    async with database.transaction(metered) as tx:
        for number in range(1, 13):
            await use(tx, "a.day", 1, str(number))
        told = [(kind, said["consumed_units"], said.get("percent")) for kind, said in await events(tx, metered)]
        assert told == [
            ("usage.threshold_reached", 5, 50),
            ("usage.threshold_reached", 8, 80),
            ("usage.limit_reached", 10, None),
        ]
        await service.correct(tx, "a.day", -3, "a refund", idempotency_key="back", now=NOON)
        await use(tx, "a.day", 3, "again")
        assert [kind for kind, _ in await events(tx, metered)][3:] == ["usage.limit_reached"]


async def test_who_is_refused_first_reaches_the_limit_and_is_told_of_once(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.hour", 7, "1")
        for number in range(3):
            assert await use(tx, "a.hour", 5, f"big {number}") == ("refused", 7)
        await use(tx, "a.hour", 3, "rest")
        assert [kind for kind, _ in await events(tx, metered)] == ["usage.limit_reached"]


async def test_a_window_that_changes_ends_the_period_that_it_takes_the_place_of(database: Database) -> None:
    mine, first = Context.system(a_context().workspace_id), datetime(2031, 3, 1, tzinfo=UTC)
    for window, plan in (("month", "monthly"), ("day", "daily")):
        await register_plans(database, plans_of(Plan(plan, (), {"a": Quota(10, window)})))  # type: ignore[arg-type]
    async with database.transaction(mine) as tx:
        await entitlements.assign_plan(tx, "monthly", now=first)
        assert await use(tx, "a", 6, "1", first + HOUR) == ("accepted", 6)
        await entitlements.assign_plan(tx, "daily", now=first + 2 * HOUR)
        used = await service.use(tx, "a", 4, idempotency_key="2", now=first + 3 * HOUR)
        assert (used.outcome, used.consumed_units, used.period_end) == ("accepted", 10, first + DAY)
        assert await use(tx, "a", 10, "3", first + 15 * DAY) == ("accepted", 10)
        await entitlements.assign_plan(tx, "monthly", now=first + 15 * DAY + HOUR)
        month = await service.use(tx, "a", 1, idempotency_key="4", now=first + 15 * DAY + HOUR)
        assert (month.outcome, month.period_end) == (
            "refused",
            datetime(2031, 4, 1, tzinfo=UTC),
        )  # all of the 1st is used
        assert await use(tx, "a", 10, "5", datetime(2031, 4, 1, tzinfo=UTC)) == ("accepted", 10)
        assert await service.find_differences(tx) == []


async def test_what_is_corrected_in_a_window_of_before_takes_no_uses_away_from_the_one_of_now(
    database: Database,
) -> None:
    mine, first = Context.system(a_context().workspace_id), datetime(2031, 3, 1, tzinfo=UTC)
    today = first + 15 * DAY
    for window, plan in (("month", "monthly"), ("day", "daily")):
        await register_plans(database, plans_of(Plan(plan, (), {"a": Quota(100, window)})))  # type: ignore[arg-type]
    async with database.transaction(mine) as tx:
        await entitlements.assign_plan(tx, "monthly", now=first)
        assert await use(tx, "a", 6, "1", first + HOUR) == ("accepted", 6)
        await entitlements.assign_plan(tx, "daily", now=today)
        assert await use(tx, "a", 1, "2", today + HOUR) == ("accepted", 1)
        for number in range(2):  # the month's counter is opened again, and still holds today
            late = await service.correct(
                tx, "a", 4, "missed", idempotency_key=f"c{number}", occurred_at=today - DAY, now=today + 2 * HOUR
            )
            assert late.period_start == first
            assert await use(tx, "a", 1, f"3.{number}", today + 3 * HOUR) == ("accepted", 2 + number)
            assert await straight_counters(tx, today + 3 * HOUR) == [today]
        assert await service.find_differences(tx) == []


async def straight_counters(tx: Transaction, at: datetime) -> list[datetime]:
    """The periods to which uses go straight then."""
    rows = await tx.fetch(
        "SELECT c.period_start FROM datalane.usage_counters c WHERE c.workspace_id = $1 AND c.closed_at IS NULL "
        "AND c.period_start <= $2 AND c.straight_until > $2",
        tx.workspace_id,
        at,
    )
    return [row["period_start"] for row in rows]


async def test_a_rolling_limit_is_told_once_in_its_time(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        for number in range(30):
            await use(tx, "a.rolling", 1, str(number), NOON + number * timedelta(minutes=6))
        told = [kind for kind, _ in await events(tx, metered)]
    assert told.count("usage.limit_reached") <= 3
    assert told.count("usage.threshold_reached") <= 3

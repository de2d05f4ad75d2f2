"""Using quotas: exact limits, replays, periods, rolling windows, reservations, corrections, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of

from datalane.access.entitlements import service as entitlements
from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.usage import service
from datalane.access.usage.sweeping import Swept, forget_once, sweep_once
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, Forbidden, InvalidInput, NotFound, UsageLimitReached

pytestmark = pytest.mark.one_database

NOON = datetime(2031, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVERY_WINDOW = Plan(
    "windows",
    (),
    {
        "a.minute": Quota(10, "minute"),
        "a.hour": Quota(10, "hour"),
        "a.day": Quota(10, "day", warn_at=(50, 80)),
        "a.berlin.day": Quota(10, "day", time_zone="Europe/Berlin"),
        "a.month": Quota(10, "month"),
        "a.rolling": Quota(10, "rolling", seconds=3_600),
        "no.limit": Quota(None, "day"),
        "nothing": Quota(0, "day"),
    },
)


@pytest.fixture
async def metered(database: Database, operator: Context) -> Context:
    """The system in a workspace with a quota for each kind of window."""
    await register_plans(database, plans_of(EVERY_WINDOW))
    async with database.transaction(operator) as tx:
        await entitlements.assign_plan(tx, "windows", now=NOON - 40 * DAY)
    return operator


async def use(tx: Transaction, quota: str, units: int, key: str, now: datetime = NOON) -> tuple[str, int]:
    used = await service.use(tx, quota, units, idempotency_key=key, now=now)
    return used.outcome, used.consumed_units


async def events(tx: Transaction, context: Context) -> list[tuple[str, dict[str, Any]]]:
    rows = await tx.fetch(
        "SELECT event_type, payload FROM datalane.events WHERE workspace_id = $1 AND event_type LIKE 'usage.%' "
        "ORDER BY received_at, event_id",
        context.workspace_id,
    )
    return [(row["event_type"], row["payload"]) for row in rows]


async def test_units_are_used_up_to_the_limit_and_not_beyond(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.day", 6, "1") == ("accepted", 6)
        assert await use(tx, "a.day", 5, "2") == ("refused", 6)
        assert await use(tx, "a.day", 4, "3") == ("accepted", 10)
        refused = await service.use(tx, "a.day", idempotency_key="4", now=NOON)
        assert (refused.outcome, refused.remaining_units, refused.retry_at) == (
            "refused",
            0,
            datetime(2031, 3, 2, tzinfo=UTC),
        )
        with pytest.raises(UsageLimitReached, match=r"10 of 10 units of a\.day are used") as said:
            await service.consume(tx, "a.day", idempotency_key="5", now=NOON)
        assert said.value.retry_after == 12 * 3_600
        assert await service.find_differences(tx) == []


async def test_a_key_counts_once_and_not_for_other_units(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.day", 3, "mine") == ("accepted", 3)
        assert await use(tx, "a.day", 3, "mine") == ("replayed", 3)
        assert await use(tx, "a.day", 3, "mine", NOON + DAY) == ("replayed", 3)  # in another period too
        assert await use(tx, "a.hour", 3, "mine") == ("accepted", 3)  # another quota
    with pytest.raises(Conflict, match="something else: consume of 3 units"):
        async with database.transaction(metered) as tx:
            await use(tx, "a.day", 4, "mine")


async def test_what_is_rolled_back_was_not_used(database: Database, metered: Context) -> None:
    async def use_and_fail() -> None:
        async with database.transaction(metered) as tx:
            await use(tx, "a.day", 10, "lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await use_and_fail()
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.day", 10, "lost") == ("accepted", 10)
        async with tx.savepoint():
            assert (await use(tx, "a.day", 1, "more"))[0] == "refused"


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


@pytest.mark.parametrize("units", [0, -1, 10**15 + 1, 2**80, 1.5, True, "3", None])
async def test_units_that_are_no_whole_number_are_refused(database: Database, metered: Context, units: Any) -> None:
    for act in (service.use, service.reserve):
        with pytest.raises(InvalidInput, match="units are a whole number"):
            async with database.transaction(metered) as tx:
                await act(tx, "a.day", units, idempotency_key="1")
    async with database.transaction(metered) as tx:
        assert (
            await tx.fetchval("SELECT count(*) FROM datalane.usage_ledger WHERE workspace_id = $1", tx.workspace_id)
            == 0
        )


@pytest.mark.parametrize(
    "statement", ["'a.day', 0, '1'", "'a.day', -5, '1'", "'a.day', NULL, '1'", "'a.day', 1, ''", "'a.day', 1, NULL"]
)
async def test_raw_sql_is_refused_the_same(database: Database, metered: Context, statement: str) -> None:
    with pytest.raises(InvalidInput):
        async with database.transaction(metered) as tx:
            await tx.execute(f"SELECT datalane.consume({statement})")


async def test_a_quota_that_is_none_is_named_with_those_there_are(database: Database, metered: Context) -> None:
    with pytest.raises(InvalidInput, match=r"the plan windows has no quota a\.year; it has a\.berlin\.day, a\.day"):
        async with database.transaction(metered) as tx:
            await use(tx, "a.year", 1, "1")
    alone = Context.system(a_context().workspace_id)
    with pytest.raises(InvalidInput, match="the workspace has no plan"):
        async with database.transaction(alone) as tx:
            await use(tx, "a.day", 1, "1")


async def test_only_the_system_says_what_time_it_is(database: Database, metered: Context, owner: Context) -> None:
    with pytest.raises(Forbidden):
        async with database.transaction(owner) as tx:
            await use(tx, "a.day", 1, "1", NOON + DAY)


async def test_without_a_limit_uses_are_counted_and_with_none_at_all_refused(
    database: Database, metered: Context
) -> None:
    async with database.transaction(metered) as tx:
        unlimited = await service.use(tx, "no.limit", 10**12, idempotency_key="1", now=NOON)
        assert (unlimited.outcome, unlimited.limit_units, unlimited.remaining_units) == ("accepted", None, None)
        none = await service.use(tx, "nothing", idempotency_key="1", now=NOON)
        assert (none.outcome, none.retry_at) == ("refused", None)


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


async def test_a_reservation_takes_room_until_it_is_committed_or_released(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        first = await service.reserve(tx, "a.day", 6, idempotency_key="work", now=NOON)
        assert (first.outcome, first.consumed_units, first.reserved_units, first.remaining_units) == (
            "accepted",
            0,
            6,
            4,
        )
        assert (await service.reserve(tx, "a.day", 6, idempotency_key="work", now=NOON)).outcome == "replayed"
        assert await use(tx, "a.day", 5, "2") == ("refused", 0)
        done = await service.commit(tx, "a.day", 2, idempotency_key="work", now=NOON)
        assert (done.outcome, done.consumed_units, done.reserved_units) == ("accepted", 2, 0)
        assert (await service.commit(tx, "a.day", 2, idempotency_key="work", now=NOON)).outcome == "replayed"
        assert await use(tx, "a.day", 8, "3") == ("accepted", 10)
        assert not await service.release(tx, "a.day", idempotency_key="work", now=NOON)
        assert await service.find_differences(tx) == []
    for act in (
        lambda tx: service.commit(tx, "a.day", 3, idempotency_key="work", now=NOON),
        lambda tx: service.reserve(tx, "a.day", 1, idempotency_key="work", now=NOON),
        lambda tx: service.reserve(tx, "a.day", 1, idempotency_key="3", now=NOON),
        lambda tx: use(tx, "a.day", 2, "work"),
    ):
        with pytest.raises(Conflict):
            async with database.transaction(metered) as tx:
                await act(tx)
    with pytest.raises(NotFound):
        async with database.transaction(metered) as tx:
            await service.release(tx, "a.day", idempotency_key="no such")


async def test_work_that_took_more_than_was_reserved_must_find_room(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 2, idempotency_key="work", now=NOON)
        await use(tx, "a.day", 5, "1")
        over = await service.commit(tx, "a.day", 6, idempotency_key="work", now=NOON)
        assert (over.outcome, over.consumed_units, over.reserved_units) == ("refused", 5, 2)
        fits = await service.commit(tx, "a.day", 5, idempotency_key="work", now=NOON)
        assert (fits.outcome, fits.consumed_units, fits.reserved_units) == ("accepted", 10, 0)


async def test_what_is_reserved_before_the_boundary_counts_before_it(database: Database, metered: Context) -> None:
    midnight = datetime(2031, 3, 2, tzinfo=UTC)
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 6, idempotency_key="work", now=midnight - timedelta(minutes=1))
        assert await use(tx, "a.day", 10, "1", midnight) == ("accepted", 10)
        done = await service.commit(tx, "a.day", 6, idempotency_key="work", now=midnight + timedelta(minutes=1))
        assert (done.outcome, done.period_end) == ("accepted", midnight)
        assert await service.find_differences(tx) == []


async def test_corrections_are_signed_rows_with_a_reason(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 10, "1")
        less = await service.correct(tx, "a.day", -4, "a refund", idempotency_key="c1", now=NOON)
        assert (less.outcome, less.consumed_units, less.remaining_units) == ("accepted", 6, 4)
        again = await service.correct(tx, "a.day", -4, "a refund", idempotency_key="c1", now=NOON)
        assert (again.outcome, again.consumed_units) == ("replayed", 6)
        late = await service.correct(
            tx, "a.day", 25, "a backfill", idempotency_key="c2", occurred_at=NOON - 30 * DAY, now=NOON
        )
        assert (late.consumed_units, late.period_start) == (25, datetime(2031, 1, 30, tzinfo=UTC))
        assert await use(tx, "a.day", 4, "2") == ("accepted", 10)
        page = await service.list_ledger(tx, "a.day", page_size=3)
        newest = page.data[0]
        assert (newest.kind, newest.units, newest.reason) == ("correction", -4, "a refund")
        rest = await service.list_ledger(tx, "a.day", page.next_cursor, page_size=3)
        assert [(row.kind, row.units, row.reason) for row in rest.data] == [("correction", 25, "a backfill")]
        assert await service.find_differences(tx) == []


async def test_a_correction_that_cannot_be_is_refused(database: Database, metered: Context, owner: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 3, "used")
    for error, said in (
        (Conflict, {"units": -4}),
        (Conflict, {"units": 1, "idempotency_key": "used"}),
        (InvalidInput, {"units": 0}),
        (InvalidInput, {"units": 1.5}),
        (InvalidInput, {"units": 1, "reason": ""}),
        (InvalidInput, {"units": 1, "occurred_at": NOON + HOUR}),
        (InvalidInput, {"units": 1, "occurred_at": NOON - 401 * DAY}),
        (InvalidInput, {"units": 1, "quota_key": "none"}),
    ):
        given: dict[str, Any] = {"quota_key": "a.day", "reason": "why", "idempotency_key": "c", "now": NOON, **said}
        with pytest.raises(error):
            async with database.transaction(metered) as tx:
                await service.correct(tx, **given)
    for statement in (
        "datalane.correct_usage('a.day', -3, 'mine', 'why')",
        "datalane.reset_usage('a.day', 'mine', 'why')",
    ):
        with pytest.raises(Forbidden):
            async with database.transaction(owner) as tx:
                await tx.execute(f"SELECT {statement}")


async def test_a_reset_takes_back_all_and_is_done_once(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 7, "1")
        assert await service.reset(tx, "a.day", "an outage", idempotency_key="r", now=NOON) == 7
        assert await use(tx, "a.day", 2, "2") == ("accepted", 2)
        assert await service.reset(tx, "a.day", "an outage", idempotency_key="r", now=NOON) == 7
        assert await use(tx, "a.day", 1, "3") == ("accepted", 3)
        assert await service.find_differences(tx) == []


async def test_a_limit_that_changes_holds_at_once(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 10, "1")
        more = await entitlements.override_quota(tx, "a.day", 12, "a gift", expires_at=NOON + HOUR, now=NOON)
        assert await use(tx, "a.day", 2, "2") == ("accepted", 12)
        assert await use(tx, "a.day", 1, "3") == ("refused", 12)
        await entitlements.end_override(tx, more, "enough", NOON + timedelta(minutes=1))
        await entitlements.override_quota(tx, "a.day", None, "a load test", expires_at=NOON + HOUR, now=NOON)
        assert await use(tx, "a.day", 100, "4", NOON + timedelta(minutes=2)) == ("accepted", 112)
        assert await use(tx, "a.day", 1, "5", NOON + HOUR) == ("refused", 112)
        await entitlements.assign_plan(tx, "windows", status="disabled", now=NOON + HOUR)
        assert await use(tx, "a.hour", 1, "6", NOON + HOUR) == ("refused", 0)


async def test_recovery_refuses_nothing_for_a_time_and_counts_all(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 10, "1")
        await entitlements.begin_recovery(tx, "a.day", NOON + HOUR, "we counted twice", now=NOON)
        assert await use(tx, "a.day", 5, "2", NOON + HOUR / 2) == ("accepted", 15)
        shown = await service.get_counter(tx, "a.day", NOON + HOUR / 2)
        assert shown is not None
        assert (shown.recovering, shown.limit_units, shown.consumed_units) == (True, None, 15)
        assert await use(tx, "a.day", 1, "3", NOON + HOUR) == ("refused", 15)


async def test_an_expired_reservation_is_given_back_and_a_period_closed_by_maintenance(
    database: Database, metered: Context, urls: Any
) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 6, idempotency_key="late", now=NOON)
        await use(tx, "a.day", 4, "1")
    connection = await asyncpg.connect(urls.maintenance_url)
    try:
        assert (await sweep_once(connection, NOON + timedelta(minutes=14))).expired == 0
        assert (await sweep_once(connection, NOON + timedelta(minutes=15))).expired == 1
        async with database.transaction(metered) as tx:
            assert await use(tx, "a.day", 6, "2", NOON + timedelta(minutes=16)) == ("accepted", 10)
            with pytest.raises(Conflict, match="expired"):
                async with tx.savepoint():
                    await service.commit(tx, "a.day", 1, idempotency_key="late", now=NOON + timedelta(minutes=16))
        assert (await sweep_once(connection, NOON + 13 * HOUR)).closed >= 1
        assert await sweep_once(connection, NOON + 13 * HOUR) == Swept()
        assert await forget_once(connection, NOON + 30 * DAY, 400 * DAY) == 0
        assert await forget_once(connection, NOON + 402 * DAY, 400 * DAY) >= 1
    finally:
        await connection.close()
    async with database.transaction(metered) as tx:
        assert (
            await tx.fetchval("SELECT count(*) FROM datalane.usage_ledger WHERE workspace_id = $1", tx.workspace_id)
            == 0
        )
        assert await service.find_differences(tx) == []


async def test_a_counter_that_somebody_wrote_past_is_found_and_repaired(
    database: Database, metered: Context, cluster: Any, urls: Any
) -> None:
    import psycopg

    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 7, "1")
    name = urls.database_url.rsplit("/", 1)[1].split("?")[0]
    with psycopg.connect(cluster.url(name), autocommit=True) as admin:
        admin.execute(
            "UPDATE datalane.usage_counters SET consumed_units = 1 WHERE workspace_id = %s", (metered.workspace_id,)
        )
    async with database.transaction(metered) as tx:
        [found] = await service.find_differences(tx)
        assert (found.quota_key, found.consumed_units, found.ledger_units) == ("a.day", 1, 7)
        assert await service.repair(tx, "a.day", "written by hand", NOON) == 1
        assert await service.repair(tx, "a.day", "written by hand", NOON) == 0
        assert await use(tx, "a.day", 4, "2") == ("refused", 7)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_raw_sql_writes_no_usage(database: Database, metered: Context, role: Role) -> None:
    mine = Context(metered.workspace_id, a_context().actor_id, role)
    for table in ("usage_counters", "usage_ledger", "usage_reservations"):
        for statement in (f"DELETE FROM datalane.{table}", f"UPDATE datalane.{table} SET quota_key = 'mine'"):
            with pytest.raises(Forbidden):
                async with database.transaction(mine) as tx:
                    await tx.execute(statement)


async def test_what_is_taken_back_from_a_rolling_window_leaves_it_with_its_uses(
    database: Database, metered: Context
) -> None:
    minute = timedelta(minutes=1)
    async with database.transaction(metered) as tx:
        await use(tx, "a.rolling", 6, "1")
        await use(tx, "a.rolling", 4, "2", NOON + 20 * minute)
        assert await service.reset(tx, "a.rolling", "a fault", idempotency_key="r", now=NOON + 30 * minute) == 10
        assert await service.reset(tx, "a.rolling", "a fault", idempotency_key="r", now=NOON + 30 * minute) == 10
        assert await use(tx, "a.rolling", 3, "3", NOON + 31 * minute) == ("accepted", 3)
        assert await use(tx, "a.rolling", 7, "4", NOON + 61 * minute) == ("accepted", 10)
        assert await use(tx, "a.rolling", 1, "5", NOON + 81 * minute) == ("refused", 10)
        assert await use(tx, "a.rolling", 3, "6", NOON + 91 * minute) == ("accepted", 10)
        assert await service.find_differences(tx) == []
        with pytest.raises(Conflict, match="only 10 units"):
            async with tx.savepoint():
                await service.correct(tx, "a.rolling", -11, "too much", idempotency_key="c", now=NOON + 91 * minute)


async def test_a_reset_of_nothing_is_remembered_by_its_key(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await service.reset(tx, "a.day", "nothing yet", idempotency_key="r", now=NOON) == 0
        await use(tx, "a.day", 7, "1")
        assert await service.reset(tx, "a.day", "nothing yet", idempotency_key="r", now=NOON) == 0
        assert await use(tx, "a.day", 3, "2") == ("accepted", 10)


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


@pytest.mark.parametrize("key", ["lane:run:1:1", "a\x1fb"])
async def test_keys_of_the_lane_are_nobody_else_s(database: Database, metered: Context, key: str) -> None:
    for act in (service.use, service.reserve):
        with pytest.raises(InvalidInput, match="idempotency key"):
            async with database.transaction(metered) as tx:
                await act(tx, "a.day", 1, idempotency_key=key, now=NOON)


async def test_a_commit_finds_the_limit_that_holds_now(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 1, idempotency_key="work", now=NOON)
        await entitlements.override_quota(tx, "a.day", 5, "less", now=NOON)
        over = await service.commit(tx, "a.day", 10, idempotency_key="work", now=NOON)
        assert (over.outcome, over.limit_units) == ("refused", 5)
        await entitlements.begin_recovery(tx, "a.day", NOON + HOUR, "an outage", now=NOON)
        done = await service.commit(tx, "a.day", 10, idempotency_key="work", now=NOON)
        assert (done.outcome, done.consumed_units) == ("accepted", 10)


async def test_a_use_that_could_never_fit_does_not_reach_the_limit(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.hour", 11, "1") == ("refused", 0)
        assert await events(tx, metered) == []
        await use(tx, "a.hour", 10, "2")
        assert [kind for kind, _ in await events(tx, metered)] == ["usage.limit_reached"]


async def test_a_rolling_limit_is_told_once_in_its_time(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        for number in range(30):
            await use(tx, "a.rolling", 1, str(number), NOON + number * timedelta(minutes=6))
        told = [kind for kind, _ in await events(tx, metered)]
    assert told.count("usage.limit_reached") <= 3
    assert told.count("usage.threshold_reached") <= 3


async def test_what_an_expired_plan_sold_is_closed_and_not_free(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await entitlements.assign_plan(tx, "windows", expires_at=NOON, now=NOON - HOUR)
        assert await use(tx, "a.day", 1, "1", NOON - HOUR) == ("accepted", 1)
        refused = await service.use(tx, "a.day", idempotency_key="2", now=NOON)
        assert (refused.outcome, refused.limit_units) == ("refused", 0)


async def test_a_key_that_was_used_meanwhile_is_not_committed(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 2, idempotency_key="both", now=NOON)
        assert await use(tx, "a.day", 2, "both") == ("accepted", 2)
        with pytest.raises(Conflict, match="another use"):
            async with tx.savepoint():
                await service.commit(tx, "a.day", 2, idempotency_key="both", now=NOON)
        assert await service.find_differences(tx) == []

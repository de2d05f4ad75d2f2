"""Using quotas: exact limits, replays, what is refused, and who may do what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conftest import a_context
from tests.integration.access.metering import DAY, HOUR, NOON, events, use

from datalane.access.entitlements import service as entitlements
from datalane.access.usage import service
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Conflict, Forbidden, InvalidInput, UsageLimitReached

pytestmark = pytest.mark.one_database


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
        assert await use(tx, "a.day", 1, "before", NOON - HOUR) == ("accepted", 1)
        assert await use(tx, "a.day", 2, "mine") == ("accepted", 3)
        counter = await service.get_counter(tx, "a.day", NOON)
        assert await use(tx, "a.day", 1, "before", NOON + HOUR) == ("replayed", 3)
        assert await service.get_counter(tx, "a.day", NOON) == counter  # as if nobody had come
        assert await use(tx, "a.day", 2, "mine") == ("replayed", 3)
        assert await use(tx, "a.day", 2, "mine", NOON + DAY) == ("replayed", 3)  # in another period too
        assert await use(tx, "a.hour", 3, "mine") == ("accepted", 3)  # another quota
    with pytest.raises(Conflict, match="something else: consume of 2 units"):
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


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_raw_sql_writes_no_usage(database: Database, metered: Context, role: Role) -> None:
    mine = Context(metered.workspace_id, a_context().actor_id, role)
    for table in ("usage_counters", "usage_ledger", "usage_reservations"):
        for statement in (f"DELETE FROM datalane.{table}", f"UPDATE datalane.{table} SET quota_key = 'mine'"):
            with pytest.raises(Forbidden):
                async with database.transaction(mine) as tx:
                    await tx.execute(statement)


@pytest.mark.parametrize("key", ["lane:run:1:1", "a\x1fb"])
async def test_keys_of_the_lane_are_nobody_else_s(database: Database, metered: Context, key: str) -> None:
    for act in (service.use, service.reserve):
        with pytest.raises(InvalidInput, match="idempotency key"):
            async with database.transaction(metered) as tx:
                await act(tx, "a.day", 1, idempotency_key=key, now=NOON)


async def test_a_use_that_could_never_fit_does_not_reach_the_limit(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        assert await use(tx, "a.hour", 11, "1") == ("refused", 0)
        assert await events(tx, metered) == []
        await use(tx, "a.hour", 10, "2")
        assert [kind for kind, _ in await events(tx, metered)] == ["usage.limit_reached"]


async def test_what_an_expired_plan_sold_is_closed_and_not_free(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await entitlements.assign_plan(tx, "windows", expires_at=NOON, now=NOON - HOUR)
        assert await use(tx, "a.day", 1, "1", NOON - HOUR) == ("accepted", 1)
        refused = await service.use(tx, "a.day", idempotency_key="2", now=NOON)
        assert (refused.outcome, refused.limit_units) == ("refused", 0)

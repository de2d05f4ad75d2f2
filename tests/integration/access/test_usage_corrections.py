"""What operators correct, reset, repair and let pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.access.metering import DAY, HOUR, NOON, use

from datalane.access.entitlements import service as entitlements
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.errors import Conflict, Forbidden, InvalidInput

pytestmark = pytest.mark.one_database


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


async def test_recovery_refuses_nothing_for_a_time_and_counts_all(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await use(tx, "a.day", 10, "1")
        await entitlements.begin_recovery(tx, "a.day", NOON + HOUR, "we counted twice", now=NOON)
        assert await use(tx, "a.day", 5, "2", NOON + HOUR / 2) == ("accepted", 15)
        shown = await service.get_counter(tx, "a.day", NOON + HOUR / 2)
        assert shown is not None
        assert (shown.recovering, shown.limit_units, shown.consumed_units) == (True, None, 15)
        assert await use(tx, "a.day", 1, "3", NOON + HOUR) == ("refused", 15)


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

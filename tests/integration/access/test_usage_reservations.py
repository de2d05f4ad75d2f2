"""Units set aside for work whose size is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.integration.access.metering import DAY, HOUR, NOON, use

from datalane.access.entitlements import service as entitlements
from datalane.access.usage import service
from datalane.access.usage.sweeping import Swept, forget_once, sweep_once
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.errors import Conflict, NotFound

pytestmark = pytest.mark.one_database


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


async def test_a_commit_finds_the_limit_that_holds_now(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 1, idempotency_key="work", now=NOON)
        await entitlements.override_quota(tx, "a.day", 5, "less", now=NOON)
        over = await service.commit(tx, "a.day", 10, idempotency_key="work", now=NOON)
        assert (over.outcome, over.limit_units) == ("refused", 5)
        await entitlements.begin_recovery(tx, "a.day", NOON + HOUR, "an outage", now=NOON)
        done = await service.commit(tx, "a.day", 10, idempotency_key="work", now=NOON)
        assert (done.outcome, done.consumed_units) == ("accepted", 10)


async def test_a_key_that_was_used_meanwhile_is_not_committed(database: Database, metered: Context) -> None:
    async with database.transaction(metered) as tx:
        await service.reserve(tx, "a.day", 2, idempotency_key="both", now=NOON)
        assert await use(tx, "a.day", 2, "both") == ("accepted", 2)
        with pytest.raises(Conflict, match="another use"):
            async with tx.savepoint():
                await service.commit(tx, "a.day", 2, idempotency_key="both", now=NOON)
        assert await service.find_differences(tx) == []

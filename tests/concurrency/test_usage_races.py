"""A thousand at once, connections that are cut at random moments, replays and corrections: a limit holds exactly, and a
counter is the sum of its ledger. SQL and what was acknowledged decide, not the verbs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import a_context

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.entitlements.service import assign_plan, override_quota
from datalane.access.usage import service
from datalane.access.usage.enforcing import Usage
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.errors import Conflict, DatalaneError, UsageLimitReached

LIMIT, CONSUMERS = 100, 1_000
SUMS = """
    SELECT c.quota_key, c.consumed_units, c.reserved_units, (
               SELECT coalesce(sum(l.units), 0) FROM datalane.usage_ledger l
               WHERE l.workspace_id = c.workspace_id AND l.quota_key = c.quota_key AND l.period_start = c.period_start
                 AND (c.rolled_to IS NULL OR l.at > c.rolled_to)),
           (SELECT coalesce(sum(r.units), 0) FROM datalane.usage_reservations r
            WHERE r.workspace_id = c.workspace_id AND r.quota_key = c.quota_key AND r.period_start = c.period_start
              AND r.status = 'open')
    FROM datalane.usage_counters c WHERE c.workspace_id = $1 ORDER BY 1"""


async def sell(database: Database, context: Context, quotas: dict[str, Quota]) -> None:
    plans = Plans()
    plans.add(Plan("race", (), quotas))
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans)
    async with database.transaction(Context.system(context.workspace_id)) as tx:
        await assign_plan(tx, "race")


@pytest.mark.parametrize(
    ("window", "runs"),
    [("month", 2), ("rolling", 1), pytest.param("month", 48, marks=pytest.mark.soak)],
)
async def test_a_thousand_consumers_get_exactly_what_there_is(urls: Prepared, window: Any, runs: int) -> None:
    database = await Database.connect(urls.database_url, size=40)
    quota = Quota(LIMIT, window, seconds=86_400 if window == "rolling" else None)
    try:
        for run in range(runs):
            context = a_context()
            await sell(database, context, {"api.requests": quota})
            accepted = await storm(database, context, random.Random(run))
            assert sum(accepted.values()) == LIMIT
            async with database.transaction(context) as tx:
                [row] = await tx.fetch(SUMS, context.workspace_id)
                told = await tx.fetchval(
                    "SELECT count(*) FROM datalane.events WHERE workspace_id = $1 AND event_type = $2",
                    *(context.workspace_id, "usage.limit_reached"),
                )
            assert tuple(row) == ("api.requests", LIMIT, 0, LIMIT, 0)
            assert told == 1
    finally:
        await database.close()


async def storm(database: Database, context: Context, draw: random.Random) -> Counter[str]:
    """All at once, by the verb, together and by reservations, some keys twice; answers what each key got."""
    usage, gate, accepted = Usage(database), asyncio.Event(), Counter[str]()

    async def consume(key: str) -> None:
        async with database.transaction(context) as tx:
            used = await service.use(tx, "api.requests", idempotency_key=key)
        if not used.is_refused:
            accepted[key] = 1

    async def consume_together(key: str) -> None:
        with suppress(UsageLimitReached):
            await usage.consume(context, "api.requests", idempotency_key=key)
            accepted[key] = 1

    async def reserve(key: str) -> None:
        with suppress(UsageLimitReached):
            async with usage.reserved(context, "api.requests", 1, idempotency_key=key):
                await asyncio.sleep(0)
            accepted[key] = 1

    async def at_the_gate(way: Any, key: str) -> None:
        await gate.wait()
        await way(key)

    ways = [draw.choice((consume, consume_together, consume_together)) for _ in range(CONSUMERS - 50)]
    coming = [(way, f"use {number % (CONSUMERS - 100)}") for number, way in enumerate(ways)]
    coming += [(reserve, f"work {number}") for number in range(50)]
    draw.shuffle(coming)
    async with asyncio.TaskGroup() as tasks:
        for way, key in coming:
            tasks.create_task(at_the_gate(way, key))
        await asyncio.sleep(0)
        gate.set()
    return accepted


QUOTAS = {
    "a.month": Quota(5_000, "month"),
    "a.rolling": Quota(300, "rolling", seconds=60),
    "a.minute": Quota(200, "minute"),
}


async def paced(stop: asyncio.Event) -> None:
    """A moment, or until it is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await stop.wait()


class Chaos:
    """Users of one workspace whose connections are cut. What was acknowledged is remembered; what was not is tried
    again under the same key."""

    def __init__(self, database: Database, context: Context, seed: int) -> None:
        self.database = database
        self.system = Context.system(context.workspace_id)
        self.context = context
        self.draw = random.Random(seed)
        self.acknowledged: dict[tuple[str, str], int] = {}
        self.cuts = 0

    async def use(self, number: int) -> None:
        """Some uses, one after the other, each until it is answered."""
        for step in range(12):
            quota, units = self.draw.choice(list(QUOTAS)), self.draw.randint(1, 9)
            key = f"{number}.{step}" if self.draw.random() < 0.8 else f"shared {self.draw.randint(1, 20)}"
            act = self.draw.choice((self.consume, self.consume, self.work, self.correct))
            for _ in range(50):
                try:
                    await act(quota, key, units)
                    break
                except (Conflict, UsageLimitReached):  # the key is somebody else's, or there is no room
                    break
                except (DatalaneError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    self.cuts += 1

    async def consume(self, quota: str, key: str, units: int) -> None:
        async with self.database.transaction(self.context) as tx:
            used = await service.use(tx, quota, units, idempotency_key=key)
            await asyncio.sleep(0)
        if not used.is_refused:
            self.acknowledged[quota, key] = units

    async def work(self, quota: str, key: str, units: int) -> None:
        async with self.database.transaction(self.context) as tx:
            held = await service.reserve(tx, quota, units, idempotency_key=key)
        if held.is_refused:
            return
        took = self.draw.randint(0, units)
        async with self.database.transaction(self.context) as tx:
            if took:
                done = await service.commit(tx, quota, took, idempotency_key=key)
                assert done.outcome == "accepted"
            else:
                await service.release(tx, quota, idempotency_key=key)
        if took:
            self.acknowledged[quota, key] = took

    async def correct(self, quota: str, key: str, units: int) -> None:
        signed = units if self.draw.random() < 0.5 else -units
        ago = timedelta(seconds=self.draw.choice((0, 0, 30, 3_600)))
        async with self.database.transaction(self.system) as tx:
            at = await tx.fetchval("SELECT clock_timestamp()")
            await service.correct(
                tx, quota, signed, "chaos", idempotency_key=key, occurred_at=at - ago if ago else None
            )
        self.acknowledged[quota, key] = signed

    async def change_limits(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(DatalaneError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                async with self.database.transaction(self.system) as tx:
                    await override_quota(tx, self.draw.choice(list(QUOTAS)), self.draw.randint(100, 400), "chaos")
            await paced(stop)

    async def cut(self, admin: asyncpg.Connection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 2"
            )
            await paced(stop)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(each, marks=pytest.mark.soak) for each in range(3, 9))])
async def test_a_counter_is_the_sum_of_its_ledger_whatever_is_cut_replayed_and_corrected(
    cluster: EmbeddedPostgres, urls: Prepared, seed: int
) -> None:
    context = a_context()
    database = await Database.connect(urls.database_url, size=12)
    admin = await asyncpg.connect(cluster.url(urls.database_url.rpartition("/")[2].partition("?")[0]))
    chaos, stop = Chaos(database, context, seed), asyncio.Event()
    try:
        await sell(database, context, QUOTAS)
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(chaos.cut(admin, stop)), tasks.create_task(chaos.change_limits(stop))]
            await asyncio.gather(*(chaos.use(number) for number in range(30)))
            stop.set()
            await asyncio.gather(*others)
        assert chaos.cuts, "no connection was cut at work"
        rows = await admin.fetch(SUMS, context.workspace_id)
        assert {row["quota_key"] for row in rows} == set(QUOTAS)
        assert [row for row in rows if tuple(row)[1:3] != tuple(row)[3:5]] == []
        ledger = Counter[tuple[str, str]]()
        for row in await admin.fetch("SELECT quota_key, idempotency_key, units FROM datalane.usage_ledger"):
            # What is taken back from a rolling window has a row for each use that it was taken from.
            ledger[row["quota_key"], row["idempotency_key"].partition("\x1f")[0]] += row["units"]
        assert chaos.acknowledged.items() <= ledger.items()
    finally:
        await admin.close()
        await database.close()

"""Seals: every committed row in exactly one, in commit order, however writers and sealers race."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.engine.sealing import SealBench, until_done

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.audit import record
from datalane.engine.seal import seal_once
from datalane.kit.ids import SYSTEM_WORKSPACE


@pytest.fixture
async def bench(database: Database, urls: Prepared, cluster: EmbeddedPostgres) -> AsyncIterator[SealBench]:
    async with SealBench.opened(database, urls, cluster) as opened:
        yield opened


async def test_rows_are_sealed_in_batches_of_each_workspace(
    bench: SealBench, context: Context, other_context: Context
) -> None:
    here, there = await bench.record(context, 25), await bench.record(other_context, 3)
    await bench.seal_all(context, rows_a_seal=10)
    await bench.seal_all(other_context, rows_a_seal=10)
    assert await bench.sealed_ids(context) == here
    assert await bench.sealed_ids(other_context) == there
    done = await bench.verify(context)
    assert (done.seals, done.rows, done.waiting, done.faults) == (3, 25, 0, [])
    assert (await bench.seal()).seals == 0


async def test_a_row_waits_for_every_transaction_that_began_before_it(bench: SealBench, context: Context) -> None:
    async with bench.database.transaction(context) as slow:
        late = await record(slow, "thing.done", "thing", "slow")
        async with asyncio.TaskGroup() as group:
            quick = group.create_task(bench.record(context))
        assert (await bench.seal()).rows == 0
    await bench.seal_all(context)
    assert await bench.sealed_ids(context) == [late, *quick.result()]


async def test_a_seal_may_end_inside_a_transaction_of_many_rows(bench: SealBench, context: Context) -> None:
    async with bench.database.transaction(context) as tx:
        made = {await record(tx, "thing.done", "thing", str(number)) for number in range(25)}
    await bench.seal_all(context, rows_a_seal=10)
    sealed = await bench.sealed_ids(context)
    assert (len(sealed), set(sealed)) == (25, made)
    assert (await bench.verify(context)).faults == []


async def test_of_two_sealers_one_wins_each_seal(bench: SealBench, urls: Prepared, context: Context) -> None:
    made = await bench.record(context, 40)
    rival = await asyncpg.connect(urls.maintenance_url)
    try:
        async with bench.maintenance.transaction():
            first = 0
            while not first:
                first = await bench.maintenance.fetchval("SELECT datalane.seal_audit($1, 30)", context.workspace_id)
            waiting = asyncio.create_task(rival.fetchval("SELECT datalane.seal_audit($1, 40)", context.workspace_id))
            await _until_blocked(bench)
        assert (first, await waiting) == (30, 0)
    finally:
        await rival.close()
    await bench.seal_all(context)
    assert await bench.sealed_ids(context) == made


async def _until_blocked(bench: SealBench) -> None:
    while not await bench.superuser.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        continue


async def test_one_run_seals_no_more_than_it_is_given_and_forgets_no_workspace(bench: SealBench) -> None:
    homes = [*(a_context() for _ in range(5)), Context.system(SYSTEM_WORKSPACE)]
    for home in homes:
        await bench.record(home, 4)
    runs = 0
    while (await seal_once(bench.maintenance, rows_a_seal=1, seals_a_run=5)).seals:
        runs += 1
    assert runs >= 3
    for home in homes:
        await bench.seal_all(home)
        assert len(await bench.sealed_ids(home)) == 4


async def test_only_maintenance_seals(bench: SealBench, context: Context) -> None:
    for statement in ("SELECT datalane.seal_audit(app.uuid7())", "SELECT datalane.unsealed_workspaces()"):
        for role in (bench.database.roles.app, bench.database.roles.worker):
            connection = await bench.database.direct_connection(role)
            try:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
            finally:
                await connection.close()
    assert await bench.maintenance.fetchval("SELECT datalane.seal_audit($1)", context.workspace_id) == 0


# Races ------------------------------------------------------------------------------------------------------------


async def write(database: Database, context: Context, seed: int, transactions: int) -> list[UUID]:
    """Transactions of 0 to 3 records that stay open for 0 to 30 round trips; some roll back. Answers what committed."""
    chance, committed = random.Random(seed), []
    for _ in range(transactions):
        made = []
        try:
            async with database.transaction(context) as tx:
                for number in range(chance.randrange(4)):
                    after = {"number": number} if chance.random() < 0.5 else None
                    made.append(await record(tx, "thing.done", "thing", str(seed), after=after))
                for _ in range(chance.choice((0, 0, 0, 5, 30))):
                    await tx.execute("SELECT 1")
                if chance.random() < 0.1:
                    raise asyncio.CancelledError
        except asyncio.CancelledError:
            continue
        committed += made
    return committed


async def race(
    urls: Prepared, cluster: EmbeddedPostgres, writers: int, transactions: int, sealers: int, seed: int
) -> None:
    """Writers of two workspaces against sealers; afterwards every committed row is in one seal, and no other."""
    database = await Database.connect(urls.database_url, size=writers + 1)
    homes = [a_context(), a_context()]
    try:
        async with SealBench.opened(database, urls, cluster) as bench:
            writing: asyncio.Future[list[list[UUID]]] = asyncio.ensure_future(
                asyncio.gather(*(write(database, homes[n % 2], seed * 1_000 + n, transactions) for n in range(writers)))
            )
            async with asyncio.TaskGroup() as group:
                for _ in range(sealers):
                    group.create_task(_seal_beside(database, urls, cluster, writing))
            made = await writing
            for side, home in enumerate(homes):
                early = await bench.sealed_ids(home)
                await bench.seal_all(home)
                committed = [audit_id for ids in made[side::2] for audit_id in ids]
                sealed = await bench.sealed_ids(home)
                assert sorted(sealed) == sorted(committed)
                assert sealed[: len(early)] == early
                done = await bench.verify(home)
                assert (done.rows, done.waiting, done.faults) == (len(committed), 0, [])
    finally:
        await database.close()


async def _seal_beside(
    database: Database, urls: Prepared, cluster: EmbeddedPostgres, writing: asyncio.Future[list[list[UUID]]]
) -> None:
    async with SealBench.opened(database, urls, cluster) as bench:
        await until_done(writing, bench)


async def test_every_committed_row_is_in_exactly_one_seal(urls: Prepared, cluster: EmbeddedPostgres) -> None:
    await race(urls, cluster, writers=8, transactions=40, sealers=2, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 4))
async def test_every_committed_row_is_in_exactly_one_seal_under_load(
    urls: Prepared, cluster: EmbeddedPostgres, seed: int
) -> None:
    await race(urls, cluster, writers=32, transactions=150, sealers=4, seed=seed)

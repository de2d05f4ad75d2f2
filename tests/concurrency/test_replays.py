"""Replaying many dead letters, and replaying them again."""

from __future__ import annotations

import asyncio

import pytest
from tests.concurrency.child_worker import SHORT_LEASES
from tests.integration.engine.lab import Lab, eventually
from tests.integration.engine.workers import working
from tests.integration.integrations.hooks import Hooks, register_types

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine import operating
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import NewJob, enqueue_batch
from datalane.engine.schemas import JobChoice, JobFilter
from datalane.integrations.webhooks.deliveries.schemas import DeliveriesToReplay, DeliveryChoice
from datalane.integrations.webhooks.deliveries.service import replay

EFFECTS = "SELECT payload->>'of' AS of FROM datalane.events WHERE event_type = 'thing.happened'"
DEAD = "SELECT count(*) FROM datalane.jobs WHERE kind = 'work' AND status = 'dead_letter' AND replayed_by IS NULL"


async def replay_all(database: Database, context: Context) -> int:
    """As one goes on until none is left; answers how many were replayed."""
    replayed, is_done = 0, False
    while not is_done:
        async with database.transaction(context) as tx:
            answer = await operating.replay(tx, JobChoice(where=JobFilter(kind="work")))
        replayed += answer.replayed
        is_done = answer.matched == answer.replayed + answer.skipped
    return replayed


@pytest.mark.parametrize("jobs", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_dead_letters_that_are_replayed_twice_have_their_effects_once(
    database: Database, context: Context, jobs: int
) -> None:
    admin = Context(context.workspace_id, context.actor_id, Role.ADMIN)
    handlers, is_mended = Handlers(), asyncio.Event()

    @handlers.transactional("work")
    async def work(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"of": job.args["of"]})
        if not is_mended.is_set():
            raise RuntimeError("not yet")

    async with Lab.opened(database) as lab:
        await lab.register()
    for start in range(0, jobs, 1_000):
        numbers = range(start, min(start + 1_000, jobs))
        async with database.transaction(context) as tx:
            await enqueue_batch(tx, [NewJob("work", {"of": number}, max_attempts=1) for number in numbers])

    async def dead() -> int:
        async with database.transaction(context) as tx:
            return int(await tx.fetchval(DEAD))

    async def all_are_dead() -> bool:
        return await dead() == jobs

    async def effects() -> list[int]:
        async with database.transaction(context) as tx:
            return sorted(int(row["of"]) for row in await tx.fetch(EFFECTS))

    async def all_are_done() -> bool:
        return len(await effects()) >= jobs

    async with working(database, handlers, SHORT_LEASES):
        assert await eventually(all_are_dead, 300)
        assert await effects() == []
        is_mended.set()
        assert sum(await asyncio.gather(replay_all(database, admin), replay_all(database, admin))) == jobs
        assert await dead() == 0
        assert await eventually(all_are_done, 300)
        assert await replay_all(database, admin) == 0
    assert await effects() == list(range(jobs))


async def test_dead_deliveries_that_many_replay_at_once_are_replayed_once(database: Database, context: Context) -> None:
    """Each begins a moment after another, so that some look before and choose after others are through."""
    count = 5_000
    await register_types(database)
    hooks = Hooks.of(database, context)
    endpoint_id = (await hooks.create("http://127.0.0.1:1/")).endpoint.endpoint_id
    await hooks.switch(endpoint_id, on=False)
    for start in range(0, count, 1_000):
        await hooks.pay(*range(start, start + 1_000))
    async with hooks.working():
        await hooks.until_idle()
    async with database.transaction(hooks.admin) as tx:
        dead = "UPDATE datalane.webhook_deliveries SET status = 'dead_letter', held = false, ended_at = now()"
        assert await tx.execute(dead) == f"UPDATE {count}"

    async def press(number: int) -> int:
        await asyncio.sleep(number * 0.03)
        async with database.transaction(hooks.admin) as tx:
            return (await replay(tx, DeliveryChoice(where=DeliveriesToReplay()))).replayed

    told = sum(await asyncio.gather(*(press(number) for number in range(9))))
    made = (
        "SELECT count(*), count(DISTINCT parent_delivery_id) FROM datalane.webhook_deliveries WHERE status = 'pending'"
    )
    assert [tuple(row) for row in await hooks.rows(made)] == [(told, told)]

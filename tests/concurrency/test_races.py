"""Publishers and workers at once, with rollbacks, failures and cut connections; an independent checker judges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.concurrency.checker import at_rest, check_exactly_once, check_histories
from tests.concurrency.child_worker import SHORT_LEASES
from tests.conftest import a_context
from tests.integration.engine.lab import Lab
from tests.integration.engine.workers import cut_all_connections, working

from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, publish, publish_batch
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import NewJob, enqueue_batch
from datalane.kit.retry import RetryPolicy

PUBLISHERS = 64
AT_ONCE = RetryPolicy(base=timedelta(microseconds=1), cap=timedelta(microseconds=1))


def seeds(few: int, many: int) -> list[Any]:
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(few, many))]


def unreliable(draw: random.Random) -> Handlers:
    """The handlers of the race: now and then one fails after it has left its effect, but never three times."""
    known = Handlers()

    async def leave(tx: Transaction, job: Job) -> None:
        await publish(tx, "effect.left", {"job": str(job.id), "cause": job.args.get("event_id")})
        if draw.random() < 0.05 and job.attempt_count < 3:
            raise RuntimeError("not this time")

    for kind, ordered in (("on_thing", False), ("in_order", True)):

        @known.on_event("thing.happened", kind=kind, ordered=ordered, retry=AT_ONCE)
        async def handle(tx: Transaction, job: Job) -> None:
            await leave(tx, job)

    async def prepare(jobs: Sequence[Job]) -> list[Any]:
        return [RuntimeError("bad luck") if draw.random() < 0.05 and job.attempt_count < 3 else None for job in jobs]

    @known.staged("staged", prepare=prepare, batch=7, retry=AT_ONCE)
    async def apply(tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        for job in jobs:
            await publish(tx, "effect.left", {"job": str(job.id), "cause": None})

    return known


class Undone(Exception):
    pass


async def deliver(
    database: Database, context: Context, draw: random.Random, name: str, turns: int, longest: float = 0
) -> list[str]:
    """Publish batches of which some roll back, up to `longest` seconds later; answers the source ids that were
    committed."""
    committed: list[str] = []
    for turn in range(turns):
        ids = [f"{name}-{turn}-{number}" for number in range(draw.randint(1, 5))]
        if draw.random() < 0.2:
            ids[0] = f"shared-{draw.randint(0, 5)}"
        try:
            async with database.transaction(context) as tx:
                answers = await publish_batch(
                    tx,
                    [NewEvent("thing.happened", {}, source_event_id=one, subject_id=draw.choice("abc")) for one in ids],
                )
                await enqueue_batch(tx, [NewJob("staged")] * draw.randint(0, 3))
                await asyncio.sleep(longest * draw.random())
                if draw.random() < 0.25:
                    raise Undone
        except Undone:
            continue
        committed += [one for one, answer in zip(ids, answers, strict=True) if answer.accepted]
    return committed


@pytest.mark.parametrize("seed", seeds(2, 16))
async def test_publishers_and_workers_at_once_lose_and_double_nothing(database: Database, seed: int) -> None:
    draw = random.Random(seed)
    contexts = [a_context() for _ in range(3)]
    async with Lab.opened(database) as lab:
        EVENTS.register("effect.left", {"type": "object"})
        await lab.register()
    async with (
        working(database, unreliable(draw), SHORT_LEASES),
        working(database, unreliable(draw), SHORT_LEASES),
        working(database, unreliable(draw), SHORT_LEASES),
    ):
        told = await asyncio.gather(
            *(deliver(database, context, draw, str(name), 8) for context in contexts for name in range(3))
        )
        await at_rest(database, contexts)
    for place, context in enumerate(contexts):
        await check_exactly_once(database, context, [one for names in told[place * 3 : place * 3 + 3] for one in names])
        await check_histories(database, context)


@pytest.mark.parametrize("seed", seeds(1, 4))
async def test_64_publishers_that_commit_when_they_like_have_each_event_handled_once_by_each_handler(
    database: Database, urls: Prepared, seed: int
) -> None:
    """Whoever commits later than others that began after them is overlooked by none."""
    draw, contexts = random.Random(seed), [a_context() for _ in range(4)]
    async with Lab.opened(database) as lab:
        EVENTS.register("effect.left", {"type": "object"})
        await lab.register()
    publishers = await Database.connect(urls.database_url, size=PUBLISHERS)
    try:
        async with working(database, unreliable(draw), SHORT_LEASES), working(database, unreliable(draw), SHORT_LEASES):
            told = await asyncio.gather(
                *(
                    deliver(publishers, contexts[number % len(contexts)], draw, str(number), 4, longest=0.2)
                    for number in range(PUBLISHERS)
                )
            )
            await at_rest(database, contexts)
    finally:
        await publishers.close()
    for place, context in enumerate(contexts):
        await check_exactly_once(database, context, [one for names in told[place :: len(contexts)] for one in names])
        await check_histories(database, context)


@pytest.mark.parametrize("seed", seeds(1, 6))
async def test_cut_connections_lose_and_double_nothing(database: Database, seed: int) -> None:
    draw = random.Random(seed)
    context = a_context()
    async with Lab.opened(database) as lab:
        EVENTS.register("effect.left", {"type": "object"})
        await lab.register()
    async with working(database, unreliable(draw), SHORT_LEASES):
        told = await deliver(database, context, draw, "x", 30)
    publishing = asyncio.Event()

    async def cut() -> None:
        while not publishing.is_set():
            await cut_all_connections(database)
            await asyncio.sleep(draw.random() / 2)

    async with working(database, unreliable(draw), SHORT_LEASES), working(database, unreliable(draw), SHORT_LEASES):
        cutting = asyncio.create_task(cut())
        for _ in range(4):
            await asyncio.sleep(draw.random() / 2)
        publishing.set()
        await cutting
        await at_rest(database, [context])
    await check_exactly_once(database, context, told)
    await check_histories(database, context)

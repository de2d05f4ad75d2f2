"""A worker in a process of its own, to be killed: `child_worker.py <database url>` says `ready` once it claims."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.worker import Worker, WorkerSettings
from datalane.settings import JobSettings

SHORT_LEASES = WorkerSettings(
    jobs=JobSettings(lease=timedelta(seconds=1), heartbeat=timedelta(seconds=0.25), rescues=1_000),
    batch=40,
    groups=4,
    poll=timedelta(seconds=0.05),
    drain=timedelta(seconds=5),
)


def handlers() -> Handlers:
    """Each handler's effect is one event `effect.left` that names its job; two of the three are exactly once."""
    EVENTS.register("thing.happened", {"type": "object"})
    EVENTS.register("effect.left", {"type": "object"})
    known = Handlers()

    async def leave(tx: Transaction, job: Job) -> None:
        await publish(tx, "effect.left", {"job": str(job.id), "cause": job.args.get("event_id")})

    @known.on_event("thing.happened", kind="on_thing")
    async def on_thing(tx: Transaction, job: Job) -> None:
        await leave(tx, job)

    @known.on_event("thing.happened", kind="in_order", ordered=True)
    async def in_order(tx: Transaction, job: Job) -> None:
        await leave(tx, job)

    async def prepare(jobs: Sequence[Job]) -> list[Any]:
        return [job.id for job in jobs]

    @known.staged("staged", prepare=prepare, batch=10)
    async def apply(tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        for job in jobs:
            await leave(tx, job)

    return known


async def main(url: str) -> None:
    database = await Database.connect(url)
    worker = Worker(database, handlers(), SHORT_LEASES)
    ready = asyncio.Event()

    async def tell() -> None:
        await ready.wait()
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    telling = asyncio.create_task(tell())
    await worker.run(asyncio.Event(), ready)
    await telling


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

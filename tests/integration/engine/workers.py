"""Workers in the background, their jobs, and handlers whose effects can be counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.integration.engine.lab import Lab, eventually

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import JobState, NewJob, enqueue_batch, get_job
from datalane.engine.worker import Worker, WorkerSettings
from datalane.kit.retry import RetryPolicy
from datalane.settings import JobSettings

AT_ONCE = RetryPolicy(base=timedelta(microseconds=1), cap=timedelta(microseconds=1))
EFFECTS = "SELECT payload FROM datalane.events WHERE event_type = 'thing.happened'"


def quick(lease: float = 5, poll: float = 0.05, drain: float = 5, **options: Any) -> WorkerSettings:
    jobs = JobSettings(lease=timedelta(seconds=lease), heartbeat=timedelta(seconds=lease / 4))
    return WorkerSettings(jobs=jobs, poll=timedelta(seconds=poll), drain=timedelta(seconds=drain), **options)


@asynccontextmanager
async def working(
    database: Database, handlers: Handlers, settings: WorkerSettings | None = None
) -> AsyncIterator[Worker]:
    """A worker for the time of the block; it drains at the end."""
    worker = Worker(database, handlers, settings or quick())
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(worker.run(stop, ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield worker
    finally:
        stop.set()
        waiting.cancel()
        await asyncio.wait_for(task, 30)


async def put(database: Database, context: Context, kind: str, *args: dict[str, Any], **columns: Any) -> list[UUID]:
    async with database.transaction(context) as tx:
        jobs = await enqueue_batch(tx, [NewJob(kind, one, **columns) for one in args or ({},)])
    return [job.job_id for job in jobs]


async def states(database: Database, context: Context, ids: Sequence[UUID]) -> list[JobState]:
    async with database.transaction(context) as tx:
        return [await get_job(tx, job_id) for job_id in ids]


async def ended(database: Database, context: Context, ids: Sequence[UUID], *statuses: str) -> list[JobState]:
    """Wait until every job is in one of `statuses` (default: completed)."""

    async def all_there() -> list[JobState] | None:
        found = await states(database, context, ids)
        return found if all(job.status in (statuses or ("completed",)) for job in found) else None

    answer = await eventually(all_there)
    assert answer is not None
    return answer


async def effects(lab: Lab, context: Context) -> list[Any]:
    return sorted(row["payload"]["n"] for row in await lab.rows(context, EFFECTS))


def counting(handlers: Handlers, **options: Any) -> Handlers:
    """A transactional handler whose effect is an event that carries the job's number; some numbers fail."""

    @handlers.transactional("work", retry=AT_ONCE, **options)
    async def work(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"n": job.args["n"]})
        if job.args.get("fails", 0) >= job.attempt_count:
            raise RuntimeError("not this time")

    return handlers


async def cut_all_connections(database: Database) -> None:
    """End every session of the lane's login in this database, as a restart of the server would."""
    connection = await database.direct_connection()
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = session_user "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()

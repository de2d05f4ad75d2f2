"""The worker's desk: the worker role's verbs on connections of its own.

Claims use a connection that does not wait for the disk: a claim that a crash forgets is a job that is still queued.
Everything else waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from datalane.contracts.registry import EventType
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.db.wakeup import CHANNEL
from datalane.engine.handlers import EventHandler, Job
from datalane.engine.registration import register
from datalane.errors import DatabaseUnavailable
from datalane.kit.logs import get_logger

_CLAIM = """
SELECT workspace_id, id, kind, subject_id, args, attempt_count, max_attempts, rescue_count, lease_token, actor_id,
       correlation_id, causation_id, causation_depth, order_key, queued_at, traceparent
FROM datalane.claim_jobs($1, $2, $3, $4, $5, $6, $7)
"""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

log = get_logger(__name__)


class Desk:
    """Two connections as the worker role, each used by one task at a time. They reconnect by themselves."""

    def __init__(self, database: Database, name: str, on_wake: Callable[[], None], rescues: int = 10) -> None:
        self._database = database
        self._name = name
        self._on_wake = on_wake
        self._rescues = rescues
        self._claims: asyncpg.Connection | None = None
        self._keeper: asyncpg.Connection | None = None
        self._claims_lock = asyncio.Lock()
        self._keeper_lock = asyncio.Lock()
        self._after: tuple[UUID | None, str | None] = (None, None)

    async def close(self) -> None:
        for connection in (self._claims, self._keeper):
            if connection is not None and not connection.is_closed():
                connection.terminate()

    async def claim(self, kinds: Sequence[str], batch: int, lease: timedelta) -> list[Job]:
        """Up to `batch` jobs, beginning after the lane served last."""
        async with self._claims_lock:
            if self._claims is None or self._claims.is_closed():
                self._claims = await self._database.direct_connection(self._database.roles.worker)
                with translated():
                    await self._claims.execute("SET synchronous_commit = off")
            with _dropped_when_broken(self._claims):
                rows = await self._claims.fetch(_CLAIM, kinds, batch, lease, self._name, *self._after, self._rescues)
        jobs = [Job(*row) for row in rows]
        if jobs:
            self._after = (jobs[-1].workspace_id, jobs[-1].kind)
        return jobs

    async def finish(self, jobs: Sequence[Job]) -> set[UUID]:
        """Complete jobs of any workspaces, however long the database is away; answers the ids that were still held."""
        return set(await self._in_the_end("SELECT datalane.finish_jobs($1, $2, $3)", *_held(jobs)))

    async def fail(self, job: Job, error_class: str, message: str, retry_after: timedelta | None) -> str | None:
        """Record a failure, however long the database is away; the job's new status, None when its lease was lost."""
        status: str | None = await self._in_the_end(
            "SELECT datalane.fail_job($1, $2, $3, $4, $5, $6)",
            *(job.workspace_id, job.id, job.lease_token, error_class, message, retry_after),
        )
        return status

    async def postpone(self, job: Job, error_class: str, message: str, pause: timedelta) -> str | None:
        """As `fail`, for a job that is asked to wait: no attempt is spent."""
        status: str | None = await self._in_the_end(
            "SELECT datalane.postpone_job($1, $2, $3, $4, $5, $6)",
            *(job.workspace_id, job.id, job.lease_token, error_class, message, pause),
        )
        return status

    async def release(self, jobs: Sequence[Job]) -> int:
        released: int = await self._value("SELECT datalane.release_jobs($1, $2, $3)", *_held(jobs))
        return released

    async def extend(self, jobs: Sequence[Job], lease: timedelta) -> set[UUID]:
        """Ids whose lease is still held."""
        return set(await self._value("SELECT datalane.extend_leases($1, $2, $3, $4)", *_held(jobs), lease))

    async def rescue(self) -> int:
        rescued: int = await self._value("SELECT datalane.rescue_jobs($1)", self._rescues)
        return rescued

    async def reclaim(self, running: Sequence[Job], lease: timedelta) -> tuple[int, int]:
        """Take back what this worker holds and is not `running`: how many, and how many are being decided still."""
        workspaces, ids, _ = _held(running)
        row = await self._row(
            "SELECT reclaimed, undecided FROM datalane.reclaim_jobs($1, $2, $3, $4, $5)",
            *(self._name, workspaces, ids, self._rescues, lease),
        )
        return row["reclaimed"], row["undecided"]

    async def register(
        self, kinds: dict[str, int | None], events: Sequence[EventHandler], types: Sequence[EventType]
    ) -> None:
        """Make kinds, their bounds, event handlers and event types known to the database."""
        await register(self._database, kinds, events, types)

    async def due_schedules(self) -> list[asyncpg.Record]:
        connection = await self._connected()
        async with self._keeper_lock:
            with _dropped_when_broken(connection):
                return list(
                    await connection.fetch(
                        "SELECT workspace_id, name, cron, timezone, next_run_at FROM datalane.due_schedules()"
                    )
                )

    async def fire_schedule(self, due: asyncpg.Record, following: datetime | None, correlation_id: str) -> UUID | None:
        """The job's id, None when another worker fired this time. Without `following` it is switched off instead."""
        job_id: UUID | None = await self._value(
            "SELECT datalane.fire_schedule($1, $2, $3, $4, $5)",
            *(due["workspace_id"], due["name"], due["next_run_at"], following, correlation_id),
        )
        return job_id

    async def _in_the_end(self, sql: str, *args: Any) -> Any:
        """As `_value`, asked again until the database answers.

        Only for verbs that name a lease token: had the first try worked although its answer was lost, a further one
        changes nothing.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._value(sql, *args)
            except DatabaseUnavailable as error:
                log.warning("waiting_for_the_database", error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _value(self, sql: str, *args: Any) -> Any:
        return (await self._row(sql, *args))[0]

    async def _row(self, sql: str, *args: Any) -> asyncpg.Record:
        connection = await self._connected()
        async with self._keeper_lock:
            with _dropped_when_broken(connection):
                return await connection.fetchrow(sql, *args)

    async def _connected(self) -> asyncpg.Connection:
        """The keeper connection, which also listens for wake-ups.

        What was told while nobody listened is lost, so that whoever claims looks once more when listening begins.
        """
        async with self._keeper_lock:
            if self._keeper is None or self._keeper.is_closed():
                self._keeper = await self._database.direct_connection(self._database.roles.worker)
                with translated():
                    await self._keeper.add_listener(CHANNEL, lambda *_: self._on_wake())
                self._on_wake()
            return self._keeper


@contextmanager
def _dropped_when_broken(connection: asyncpg.Connection) -> Iterator[None]:
    """A connection that was cut may not know it yet and be stuck in its protocol; the next use makes a new one."""
    try:
        with translated():
            yield
    except asyncpg.InternalClientError as error:
        connection.terminate()
        raise DatabaseUnavailable(f"the connection broke: {error}") from error
    except DatabaseUnavailable:
        connection.terminate()
        raise


def _held(jobs: Sequence[Job]) -> tuple[list[UUID], list[UUID], list[int]]:
    return [job.workspace_id for job in jobs], [job.id for job in jobs], [job.lease_token for job in jobs]

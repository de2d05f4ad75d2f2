"""Running claimed jobs, each in the way its handler's type asks for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.db.turns import Turn
from datalane.engine.desk import Desk
from datalane.engine.failures import classify, delay_before_retry, is_postponed
from datalane.engine.handlers import Failure, Handler, Job, Mode
from datalane.engine.metrics import ATTEMPTS, completed, run_seconds
from datalane.engine.units import is_traced, working_on
from datalane.errors import DatabaseUnavailable, InvalidInput, LeaseLost
from datalane.kit import tracing
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

CONTENTION = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The database chose this transaction to give way to another: nobody's fault, and soon over."""

MOST_REDOS = 3
"""How often a job that had to give way is done again at once, within one attempt."""

log = get_logger(__name__)


@dataclass(slots=True)
class Tally:
    """What a worker has done since it started."""

    completed: int = 0
    failed: int = 0
    lost: int = 0
    postponed: int = 0


class Runner:
    """Runs groups of jobs of one handler and, unless it is external, of one workspace."""

    def __init__(self, database: Database, desk: Desk, tally: Tally, draw: Callable[[], float] = random.random) -> None:
        self._database = database
        self._desk = desk
        self._tally = tally
        self._draw = draw
        self._ending: set[UUID] = set()

    def is_ending(self, jobs: Sequence[Job]) -> bool:
        """Whether the end of one of them is being written, or is and what follows is being done: the database may not
        know it as held any more, and it is not lost for that."""
        return any(job.id in self._ending for job in jobs)

    @contextmanager
    def _writing_the_end_of(self, jobs: Sequence[Job]) -> Iterator[None]:
        ids = {job.id for job in jobs}
        self._ending |= ids
        try:
            yield
        finally:
            self._ending -= ids

    def context_to_open(self, handler: Handler, jobs: Sequence[Job]) -> Context | None:
        """Whose transaction may be open before `run` is called: one that begins with it and that no trace goes into."""
        if handler.mode is not Mode.TRANSACTIONAL or is_traced(jobs):
            return None
        try:
            return _context(jobs)
        except InvalidInput:  # SQL enqueued it with a malformed correlation id: `run` records that as its failure
            return None

    async def run(self, handler: Handler, jobs: Sequence[Job], turn: Turn | None = None) -> None:
        """Never raises for what a handler does. Its last transaction, if all goes well, ends the `turn`.

        Raises `DatabaseUnavailable`: the database knows which of the jobs are done, the others are for their worker to
        take back.
        """
        began = time.perf_counter()
        try:
            if handler.mode is Mode.TRANSACTIONAL:
                await self._alone_or_together(handler, jobs, turn)
            else:
                with working_on(jobs):
                    await self._outside(handler, jobs, turn)
            run_seconds(handler.kind).observe(time.perf_counter() - began)
        except DatabaseUnavailable as error:
            self._tally.lost += len(jobs)
            log.warning("jobs_broke_off", kind=handler.kind, jobs=len(jobs), error=str(error))
            raise

    async def _outside(self, handler: Handler, jobs: Sequence[Job], turn: Turn | None) -> None:
        if handler.mode is Mode.STAGED:
            await self._staged(handler, jobs, turn)
        else:
            await self._external(handler, jobs[0])

    async def _alone_or_together(self, handler: Handler, jobs: Sequence[Job], turn: Turn | None) -> None:
        if len(jobs) > 1:  # each is a unit of its own, although they share the transaction
            await self._together(handler, jobs, self._call_each, turn)
            return
        with working_on(jobs):
            await self._together(handler, jobs, self._call_each, turn)

    async def _together(
        self,
        handler: Handler,
        jobs: Sequence[Job],
        body: Callable[..., Any],
        turn: Turn | None = None,
        redos: int = 0,
    ) -> None:
        """One transaction for all, optimistically; after a failure one for each, so that only the guilty one pays.

        What is redone keeps its turn to its end, so only the first try may hand it on with its COMMIT.
        """
        try:
            await self._commit(handler, jobs, body, turn)
        except DatabaseUnavailable:
            raise
        except BaseException as error:
            fault = handlers_own(error)
            if len(jobs) > 1:
                for job in jobs:
                    with working_on([job]):
                        await self._together(handler, [job], body)
            elif isinstance(fault, CONTENTION) and redos < MOST_REDOS:
                log.info("job_redone", **jobs[0].log_fields(), kind=handler.kind, redo=redos + 1, error=str(fault))
                await self._together(handler, jobs, body, redos=redos + 1)
            else:
                await self._failed(handler, jobs[0], fault)

    async def _commit(self, handler: Handler, jobs: Sequence[Job], body: Callable[..., Any], turn: Turn | None) -> None:
        context = (turn.context if turn is not None else None) or _context(jobs)
        with ExitStack() as ending:
            async with self._database.transaction(context, turn=turn) as tx:
                await body(handler, tx, jobs)
                tx.close_with(completion(jobs))
                ending.enter_context(self._writing_the_end_of(jobs))
        self._completed(handler, len(jobs))

    async def _call_each(self, handler: Handler, tx: Transaction, jobs: Sequence[Job]) -> None:
        if len(jobs) == 1:
            async with asyncio.timeout(handler.timeout.total_seconds()):
                await _call(handler, tx, jobs[0])
            return
        seconds, clock = handler.timeout.total_seconds(), asyncio.get_running_loop().time
        async with asyncio.timeout(seconds) as limit:
            for job in jobs:
                limit.reschedule(clock() + seconds)
                with working_on([job]):
                    await _call(handler, tx, job)

    async def _staged(self, handler: Handler, jobs: Sequence[Job], turn: Turn | None = None) -> None:
        assert handler.prepare is not None
        try:
            async with asyncio.timeout(handler.timeout.total_seconds() * len(jobs)):
                prepared = list(await handler.prepare(jobs))
            results = dict(zip((job.id for job in jobs), prepared, strict=True))
        except DatabaseUnavailable:
            raise
        except BaseException as error:
            fault = handlers_own(error)
            if len(jobs) == 1:
                await self._failed(handler, jobs[0], fault)
                return
            for job in jobs:
                with working_on([job]):
                    await self._staged(handler, [job])
            return
        for job in jobs:
            if isinstance(results[job.id], Exception):
                await self._failed(handler, job, results[job.id])
        good = [job for job in jobs if not isinstance(results[job.id], Exception)]

        async def apply(handler: Handler, tx: Transaction, some: Sequence[Job]) -> None:
            async with asyncio.timeout(handler.timeout.total_seconds() * len(some)):
                await handler.function(tx, some, [results[job.id] for job in some])

        if good:
            await self._together(handler, good, apply, turn)

    async def _external(self, handler: Handler, job: Job) -> None:
        try:
            async with asyncio.timeout(handler.timeout.total_seconds()):
                if handler.in_thread:
                    await asyncio.to_thread(handler.function, job)
                else:
                    await handler.function(job)
        except DatabaseUnavailable:
            raise
        except BaseException as error:
            await self._failed(handler, job, handlers_own(error))
            return
        with self._writing_the_end_of([job]):
            held = await self._desk.finish([job])
        if job.id in held:
            self._completed(handler, 1)
        else:
            self._lost(job)

    def _completed(self, handler: Handler, jobs: int) -> None:
        self._tally.completed += jobs
        completed(handler.kind).inc(jobs)

    def _lost(self, job: Job) -> None:
        self._tally.lost += 1
        ATTEMPTS.labels(job.kind, "lease_lost").inc()
        log.warning("lease_lost", **job.log_fields(), kind=job.kind)

    async def _failed(self, handler: Handler, job: Job, error: Exception) -> None:
        if isinstance(error, LeaseLost):
            self._lost(job)
            return
        failure = classify(error)
        if failure.retry_after is not None and is_postponed(failure, job.queued_at, utc_now()):
            await self._postponed(job, failure, failure.retry_after)
            return
        delay = delay_before_retry(failure, handler.retry, job.attempt_count, self._draw())
        with self._writing_the_end_of([job]):
            status = await self._record_failure(handler, job, failure, delay)
        self._tally.failed += 1
        ATTEMPTS.labels(job.kind, status or "lease_lost").inc()
        tracing.fail(failure.error_class)
        log.warning(
            "job_failed",
            **job.log_fields(),
            kind=job.kind,
            attempt=job.attempt_count,
            status=status or "lease_lost",
            error_class=failure.error_class,
            error=failure.message,
        )

    async def _postponed(self, job: Job, failure: Failure, pause: timedelta) -> None:
        with self._writing_the_end_of([job]):
            status = await self._desk.postpone(job, failure.error_class, failure.message, pause)
        self._tally.postponed += 1
        ATTEMPTS.labels(job.kind, "lease_lost" if status is None else "postponed").inc()
        log.info("job_postponed", **job.log_fields(), kind=job.kind, pause=pause.total_seconds(), error=failure.message)

    async def _record_failure(
        self, handler: Handler, job: Job, failure: Failure, delay: timedelta | None
    ) -> str | None:
        if handler.on_failure is None:
            return await self._desk.fail(job, failure.error_class, failure.message, delay)
        try:
            async with self._database.transaction(job.context) as tx:
                status: str = await tx.fetchval(
                    "SELECT datalane.fail_job_here($1, $2, $3, $4, $5)",
                    *(job.id, job.lease_token, failure.error_class, failure.message, delay),
                )
                await handler.on_failure(tx, job, failure)
                return status
        except LeaseLost:
            return None
        except DatabaseUnavailable:
            raise
        except Exception as error:  # the failure itself must be on record, or the job would run again and again
            log.error("on_failure_failed", **job.log_fields(), kind=job.kind, error=repr(error))
            return await self._desk.fail(job, failure.error_class, failure.message, delay)


async def _call(handler: Handler, tx: Transaction, job: Job) -> None:
    await handler.function(tx.acting_for(job.workspace_id, job.make_context), job)


def handlers_own(error: BaseException) -> Exception:
    """`error` as the handler's failure; raised on when it is somebody else's wish to stop."""
    if isinstance(error, Exception):
        return error
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling():
        return RuntimeError("the handler was cancelled from inside")
    raise error


def _context(jobs: Sequence[Job]) -> Context:
    return Context.system(jobs[0].workspace_id, jobs[0].correlation_id)


def completion(jobs: Sequence[Job]) -> str:
    """The statement that completes `jobs`; sent with the COMMIT, it costs no round trip of its own."""
    if len(jobs) == 1:
        return f"SELECT datalane.complete_job('{jobs[0].id}', {jobs[0].lease_token})"
    ids = ",".join(str(job.id) for job in jobs)
    tokens = ",".join(str(job.lease_token) for job in jobs)
    return f"SELECT datalane.complete_jobs('{{{ids}}}', '{{{tokens}}}')"

"""Jobs as their callers see them: enqueue, look, and what an operator does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.metrics import count_enqueued
from datalane.engine.permissions import ENQUEUE, OPERATE_JOBS, READ_JOBS
from datalane.engine.states import JOB
from datalane.errors import InvalidInput, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue.

    Higher `priority` (-32768 to 32767) runs first among the jobs of its kind and workspace. `run_at` delays it. Jobs of
    one `order_key` run one at a time, in the order of their enqueueing. A known `idempotency_key` enqueues nothing.
    Without `max_attempts` it has the lane's default, `jobs.max_attempts`.
    """

    kind: str
    args: dict[str, Any] | None = None
    subject_id: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    order_key: str | None = None
    idempotency_key: str | None = None
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """`created` is False when the idempotency key was known; `job_id` is then the first one's."""

    job_id: UUID
    created: bool


async def enqueue(
    tx: Transaction,
    kind: str,
    args: dict[str, Any] | None = None,
    *,
    subject_id: str | None = None,
    priority: int = 0,
    delay: timedelta | None = None,
    run_at: datetime | None = None,
    order_key: str | None = None,
    idempotency_key: str | None = None,
    max_attempts: int | None = None,
) -> Enqueued:
    """Enqueue one job in this transaction. Give `delay` or `run_at`, not both. For the rest see `NewJob`.

    Raises `InvalidInput` for wrong values, `LimitExceeded` for size or a chain of causes that is too long, `Forbidden`
    for a viewer.
    """
    if delay is not None:
        if run_at is not None:
            raise InvalidInput("give delay or run_at, not both")
        run_at = utc_now() + delay
    job = NewJob(kind, args, subject_id, priority, run_at, order_key, idempotency_key, max_attempts)
    return (await enqueue_batch(tx, [job]))[0]


async def enqueue_batch(tx: Transaction, jobs: Sequence[NewJob]) -> list[Enqueued]:
    """Enqueue up to `tx.limits.batch` jobs at once, all or none. Answers in the order given; errors as `enqueue`."""
    ENQUEUE.check(tx.context)
    if len(jobs) > tx.limits.batch:
        raise LimitExceeded(f"{len(jobs):,} jobs in one batch, the limit is {tx.limits.batch:,}")
    if not jobs:
        return []
    args = [_checked_args(job, tx.limits) for job in jobs]
    await tx.state_trace()
    if len(jobs) == 1 and not _has_key(jobs[0]):
        enqueued = [await _enqueue_one(tx, jobs[0], args[0])]
    else:
        enqueued = await _enqueue_many(tx, jobs, args)
    tx.wake_workers()
    count_enqueued(tx, ((job.kind, each.created) for job, each in zip(jobs, enqueued, strict=True)))
    return enqueued


async def _enqueue_one(tx: Transaction, job: NewJob, args: str) -> Enqueued:
    context = tx.context
    job_id = await _queries.enqueue_job(
        tx.connection,
        kind=job.kind,
        args=args,
        subject_id=job.subject_id,
        priority=job.priority,
        run_at=job.run_at,
        max_attempts=job.max_attempts,
        actor_id=context.actor_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        causation_depth=context.causation_depth,
    )
    return Enqueued(job_id, created=True)


async def _enqueue_many(tx: Transaction, jobs: Sequence[NewJob], args: Sequence[str]) -> list[Enqueued]:
    context = tx.context
    rows = await _queries.enqueue_batch(
        tx.connection,
        kinds=[job.kind for job in jobs],
        args=args,
        subject_ids=[job.subject_id for job in jobs],
        priorities=[job.priority for job in jobs],
        run_ats=[job.run_at for job in jobs],
        order_keys=[job.order_key for job in jobs] if any(job.order_key for job in jobs) else None,
        idempotency_keys=[job.idempotency_key for job in jobs] if any(job.idempotency_key for job in jobs) else None,
        max_attempts=[job.max_attempts for job in jobs] if any(job.max_attempts for job in jobs) else None,
        actor_id=context.actor_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        causation_depth=context.causation_depth,
    )
    return [Enqueued(row["job_id"], row["created"]) for row in rows]


def _has_key(job: NewJob) -> bool:
    return job.order_key is not None or job.idempotency_key is not None


def _checked_args(job: NewJob, limits: Limits) -> str:
    """The arguments of a job that is as it should be, as JSON."""
    if not job.kind:
        raise InvalidInput("a job needs a kind")
    if job.max_attempts is not None and job.max_attempts < 1:
        raise InvalidInput("max_attempts must be at least 1")
    if not -32_768 <= job.priority <= 32_767:
        raise InvalidInput("priority must be from -32768 to 32767")
    if job.run_at is not None and job.run_at.tzinfo is None:
        raise InvalidInput("run_at needs a time zone")
    if job.order_key == "" or job.idempotency_key == "":
        raise InvalidInput("order_key and idempotency_key must not be empty")
    return encode_within(job.args or {}, "the job's args", limits.event_payload, limits.event_payload_depth)


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as stored; times are in UTC, fields that do not apply to its status are None."""

    workspace_id: UUID
    id: UUID
    kind: str
    subject_id: str | None
    status: str
    priority: int
    attempt_count: int
    max_attempts: int
    rescue_count: int
    queued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    next_retry_at: datetime | None
    dead_lettered_at: datetime | None
    dead_letter_reason: str | None
    last_error_class: str | None
    last_error_message: str | None
    idempotency_key: str | None
    correlation_id: str
    parent_job_id: UUID | None
    replayed_by: UUID | None
    order_key: str | None
    args: dict[str, Any]

    @property
    def replayable(self) -> bool:
        return self.status == "dead_letter" and self.replayed_by is None


@dataclass(frozen=True, slots=True)
class JobChange:
    at: datetime
    from_status: str
    to_status: str
    attempt: int
    worker: str | None
    error_class: str | None
    error_message: str | None
    reason: str | None


async def get_job(tx: Transaction, job_id: UUID) -> JobState:
    """Raises `NotFound`."""
    READ_JOBS.check(tx.context)
    row = await _queries.get_job(tx.connection, workspace_id=tx.workspace_id, job_id=job_id)
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return JobState(**row)


async def list_jobs(
    tx: Transaction,
    *,
    status: str | None = None,
    kind: str | None = None,
    error_class: str | None = None,
    subject_id: str | None = None,
    correlation_id: str | None = None,
    after: UUID | None = None,
    page_size: int = 25,
) -> list[JobState]:
    """The workspace's jobs, newest first, from below id `after`. Without `status`: all that have not completed.

    `error_class` is that of the last error. Raises `InvalidInput` for an unknown status.
    """
    READ_JOBS.check(tx.context)
    if status is not None and status not in JOB.states:
        raise InvalidInput(f"unknown status {status!r}; one of {', '.join(JOB.states)}")
    asked = {
        "workspace_id": tx.workspace_id,
        "kind": kind,
        "error_class": error_class,
        "subject_id": subject_id,
        "correlation_id": correlation_id,
        "after": after,
        "page_size": page_size,
    }
    if status == "completed":
        rows = await _queries.list_completed_jobs(tx.connection, **asked)
    else:
        statuses = [status] if status else [name for name in JOB.states if name != "completed"]
        rows = await _queries.list_jobs(tx.connection, statuses=statuses, **asked)
    return [JobState(**row) for row in rows]


async def list_changes(tx: Transaction, job_id: UUID) -> list[JobChange]:
    """Every status change of a job, in order."""
    READ_JOBS.check(tx.context)
    rows = await _queries.list_job_changes(tx.connection, workspace_id=tx.workspace_id, job_id=job_id)
    return [JobChange(**row) for row in rows]


async def find_stopped(
    tx: Transaction,
    status: str,
    *,
    kind: str | None = None,
    error_class: str | None = None,
    before: datetime | None = None,
    most: int = 1_000,
) -> list[UUID]:
    """Ids of `failed` or `dead_letter` jobs by filter, oldest first; dead letters replayed already are left out."""
    READ_JOBS.check(tx.context)
    rows = await _queries.find_job_ids(
        tx.connection,
        workspace_id=tx.workspace_id,
        statuses=[status],
        kind=kind,
        error_class=error_class,
        before=before,
        most=most,
    )
    return [row["id"] for row in rows]


async def retry_jobs(tx: Transaction, ids: Sequence[UUID]) -> int:
    """Put `failed` jobs back to work in place; answers how many. Takes an admin."""
    OPERATE_JOBS.check(tx.context)
    count: int = await _queries.retry_jobs(tx.connection, ids=list(ids))
    tx.wake_workers()
    return count


async def replay_jobs(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Start dead letters again as new jobs; answers new ids by old ones. Takes an admin. Once is all: a second replay
    of the same dead letter does nothing."""
    OPERATE_JOBS.check(tx.context)
    rows = await _queries.replay_jobs(tx.connection, ids=list(ids))
    tx.wake_workers()
    return {row["parent_id"]: row["job_id"] for row in rows}


async def cancel_jobs(tx: Transaction, ids: Sequence[UUID]) -> int:
    """End jobs as dead letters with reason `canceled`; a running handler loses its lease. Takes an admin."""
    OPERATE_JOBS.check(tx.context)
    count: int = await _queries.cancel_jobs(tx.connection, ids=list(ids))
    tx.wake_workers()
    return count


async def skip_job(tx: Transaction, job_id: UUID) -> bool:
    """Let the jobs behind a stopped head of an ordering key go on without it. Takes an admin."""
    OPERATE_JOBS.check(tx.context)
    skipped: bool = await _queries.skip_job(tx.connection, job_id=job_id)
    tx.wake_workers()
    return skipped


async def pause(tx: Transaction, kind: str = "*") -> None:
    """Claims pass over this kind (`*`: every kind) of the workspace from now on. Takes an admin."""
    OPERATE_JOBS.check(tx.context)
    await _queries.pause_jobs(tx.connection, kind=kind)


async def resume(tx: Transaction, kind: str = "*") -> None:
    OPERATE_JOBS.check(tx.context)
    await _queries.resume_jobs(tx.connection, kind=kind)
    tx.wake_workers()

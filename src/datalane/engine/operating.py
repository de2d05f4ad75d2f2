"""What an admin does to the jobs of a workspace that stopped: one by one, or all that a filter matches.

With ids, every one fits or nothing is changed. With a filter, a call takes up to `MOST_CHOSEN`, the oldest first, and
says how many match, so that a caller goes on until none is left. Jobs that are the operator's no filter of an admin
matches; to name one, or its kind, raises `Forbidden`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from datalane.contracts.replay import MOST_CHOSEN, Replayed
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import jobs as engine
from datalane.engine.jobs import JobState
from datalane.engine.permissions import OPERATE_JOBS, OPERATE_LANES_JOBS
from datalane.engine.schemas import (
    JobChoice,
    JobDetail,
    JobFilter,
    JobList,
    JobsOperated,
    JobStatus,
    JobStep,
    ListedJob,
)
from datalane.errors import Conflict, NotFound

_queries = load_queries(__file__)
_NAMED = 5
"""Jobs that an error names at most."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """Something that is done to jobs of these `statuses`."""

    name: str
    statuses: tuple[str, ...]


_RETRY = _Operation("retried", ("failed",))
_REPLAY = _Operation("replayed", ("dead_letter",))
_CANCEL = _Operation("canceled", ("queued", "processing", "retrying", "failed"))


async def retry(tx: Transaction, choice: JobChoice) -> JobsOperated:
    """Raises `NotFound` for an id that is not there, `Conflict` for a job that it does not fit."""
    return await _operate(tx, _RETRY, engine.retry_jobs, choice)


async def cancel(tx: Transaction, choice: JobChoice) -> JobsOperated:
    """Raises as `retry`."""
    return await _operate(tx, _CANCEL, engine.cancel_jobs, choice)


async def replay(tx: Transaction, choice: JobChoice) -> Replayed:
    """The new ids are in the order of the dead letters. Raises as `retry`."""
    chosen, matched = await _choose(tx, _REPLAY, choice)
    if choice.dry_run:
        return Replayed.counted(matched)
    new_ids = await engine.replay_jobs(tx, chosen)
    _require_all(_REPLAY, choice, len(chosen) - len(new_ids))
    return Replayed.done(matched, MOST_CHOSEN, [new_ids[old] for old in chosen if old in new_ids])


async def _operate(
    tx: Transaction,
    operation: _Operation,
    act: Callable[[Transaction, Sequence[UUID]], Awaitable[int]],
    choice: JobChoice,
) -> JobsOperated:
    chosen, matching = await _choose(tx, operation, choice)
    if choice.dry_run:
        return JobsOperated(jobs=matching, remaining=matching, dry_run=True)
    jobs = await act(tx, chosen)
    _require_all(operation, choice, len(chosen) - jobs)
    return JobsOperated(jobs=jobs, remaining=matching - len(chosen), dry_run=False)


async def skip(tx: Transaction, job_id: UUID) -> None:
    """Raises `NotFound`, and `Conflict` for a job that no line waits behind."""
    OPERATE_JOBS.check(tx.context)
    tx = tx.following()
    job = await _find_job(tx, job_id)
    if not await engine.skip_job(tx, job_id):
        what = f"the job is {job.status}" + ("" if job.order_key else " and has no ordering key")
        raise Conflict(f"{what}; only a failed or dead job that others of its ordering key wait for is skipped")


@dataclass(frozen=True, slots=True)
class JobSearch:
    """What a list of jobs is narrowed to; None is everything, and as a status all that have not completed."""

    status: JobStatus | None = None
    kind: str | None = None
    error_class: str | None = None
    subject_id: str | None = None
    correlation_id: str | None = None


async def list_jobs(tx: Transaction, asked: JobSearch, cursor: str | None, page_size: int) -> JobList:
    """The newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    listing = f"jobs:{asked}"
    after = tx.read_id_cursor(listing, cursor)
    found = await engine.list_jobs(tx, **asdict(asked), after=after, page_size=page_size + 1)
    page, following = tx.cut_page(listing, found, page_size, lambda job: [job.id])
    return JobList(data=[_listed(job) for job in page], page_size=page_size, next_cursor=following)


async def get_job(tx: Transaction, job_id: UUID) -> JobDetail:
    """With its arguments and every change of its status. Raises `NotFound`."""
    job = await _find_job(tx, job_id)
    changes = [JobStep(**asdict(change)) for change in await engine.list_changes(tx, job_id)]
    return JobDetail(**_listed(job).model_dump(), args=job.args, changes=changes)


async def _find_job(tx: Transaction, job_id: UUID) -> JobState:
    """Raises `NotFound` in the same words for every id."""
    try:
        return await engine.get_job(tx, job_id)
    except NotFound:
        raise NotFound("no such job") from None


def _listed(job: JobState) -> ListedJob:
    return ListedJob.model_validate(job, from_attributes=True)


async def _choose(tx: Transaction, operation: _Operation, choice: JobChoice) -> tuple[list[UUID], int]:
    """The jobs that a call takes, and how many there are."""
    OPERATE_JOBS.check(tx.context)
    if choice.ids is None:
        assert choice.where is not None
        return await _find(tx, operation, choice.where)
    chosen = list(dict.fromkeys(choice.ids))
    await _require(tx, operation, chosen)
    return chosen, len(chosen)


def _require_all(operation: _Operation, choice: JobChoice, left: int) -> None:
    if choice.ids is not None and left:
        raise Conflict(f"{left} of the jobs changed meanwhile; nothing was {operation.name}")


async def _require(tx: Transaction, operation: _Operation, ids: Sequence[UUID]) -> None:
    rows = await _queries.find_chosen(tx.connection, workspace_id=tx.workspace_id, ids=ids)
    standing = {row["id"]: (row["status"], row["replayed_by"]) for row in rows}
    if any(job_id not in standing for job_id in ids):
        raise NotFound("no such job")
    if any(row["of_lane"] for row in rows):
        OPERATE_LANES_JOBS.check(tx.context)
    unfit = [
        f"{job_id} ({'replayed already' if replayed else status})"
        for job_id, (status, replayed) in standing.items()
        if status not in operation.statuses or replayed
    ]
    if unfit:
        raise Conflict(f"only {' or '.join(operation.statuses)} jobs are {operation.name}, and not {_named(unfit)}")


async def _find(tx: Transaction, operation: _Operation, where: JobFilter) -> tuple[list[UUID], int]:
    """The oldest jobs that match, and how many there are."""
    if where.kind is not None and await _queries.is_of_lane(tx.connection, kind=where.kind):
        OPERATE_LANES_JOBS.check(tx.context)
    narrowed = {
        "workspace_id": tx.workspace_id,
        "statuses": list(operation.statuses),
        "kind": where.kind,
        "error_class": where.error_class,
        "before": where.queued_before,
        "with_lanes": OPERATE_LANES_JOBS.allows(tx.context.role),
    }
    matching: int = await _queries.count_matching(tx.connection, **narrowed)
    rows = await _queries.find_matching(tx.connection, **narrowed, most=MOST_CHOSEN)
    return [row["id"] for row in rows], matching


def _named(found: Sequence[str]) -> str:
    named = ", ".join(found[:_NAMED])
    return named + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")

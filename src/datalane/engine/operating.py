"""What an admin does to the jobs of a workspace that stopped: one by one, or all that a filter matches.

With ids, every one fits or nothing is changed. With a filter, a call takes up to `MOST_JOBS`, the oldest first, and
says how many are left, so that a caller goes on until none is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import jobs as engine
from datalane.engine.jobs import JobState
from datalane.engine.permissions import OPERATE_JOBS
from datalane.engine.schemas import (
    MOST_JOBS,
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
class Operation:
    """Something that is done to jobs of these `statuses`; `act` answers how many, and the new ids of replayed ones."""

    name: str
    statuses: tuple[str, ...]
    act: Callable[[Transaction, Sequence[UUID]], Awaitable[tuple[int, Mapping[UUID, UUID]]]]


async def _retry(tx: Transaction, ids: Sequence[UUID]) -> tuple[int, Mapping[UUID, UUID]]:
    return await engine.retry_jobs(tx, ids), {}


async def _replay(tx: Transaction, ids: Sequence[UUID]) -> tuple[int, Mapping[UUID, UUID]]:
    new_ids = await engine.replay_jobs(tx, ids)
    return len(new_ids), new_ids


async def _cancel(tx: Transaction, ids: Sequence[UUID]) -> tuple[int, Mapping[UUID, UUID]]:
    return await engine.cancel_jobs(tx, ids), {}


RETRY = Operation("retried", ("failed",), _retry)
REPLAY = Operation("replayed", ("dead_letter",), _replay)
CANCEL = Operation("canceled", ("queued", "processing", "retrying", "failed"), _cancel)


async def operate(tx: Transaction, operation: Operation, choice: JobChoice) -> JobsOperated:
    """Raises `NotFound` for an id that is not there, `Conflict` for a job that it does not fit."""
    OPERATE_JOBS.check(tx.context)
    if choice.ids is not None:
        chosen = list(dict.fromkeys(choice.ids))
        await _require(tx, operation, chosen)
        matching = len(chosen)
    else:
        assert choice.where is not None
        chosen, matching = await _find(tx, operation, choice.where)
    if choice.dry_run:
        return JobsOperated(jobs=matching, remaining=matching, dry_run=True, new_ids={})
    jobs, new_ids = await operation.act(tx, chosen)
    if choice.ids is not None and jobs != len(chosen):
        raise Conflict(f"{len(chosen) - jobs} of the jobs changed meanwhile; nothing was {operation.name}")
    return JobsOperated(jobs=jobs, remaining=matching - len(chosen), dry_run=False, new_ids=dict(new_ids))


async def skip(tx: Transaction, job_id: UUID) -> None:
    """Raises `NotFound`, and `Conflict` for a job that no line waits behind."""
    OPERATE_JOBS.check(tx.context)
    tx = tx.following()
    job = await _find_job(tx, job_id)
    if not await engine.skip_job(tx, job_id):
        what = f"the job is {job.status}" + ("" if job.order_key else " and has no ordering key")
        raise Conflict(f"{what}; only a failed or dead job that others of its ordering key wait for is skipped")


async def list_jobs(
    tx: Transaction, status: JobStatus | None, kind: str | None, cursor: str | None, page_size: int
) -> JobList:
    """The newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    listing = f"jobs:{status}:{kind}"
    place = tx.read_cursor(listing, cursor)
    after = UUID(place[0]) if place else None
    found = await engine.list_jobs(tx, status=status, kind=kind, after=after, page_size=page_size + 1)
    page = found[:page_size]
    following = tx.make_cursor(listing, str(page[-1].id)) if len(found) > page_size else None
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


async def _require(tx: Transaction, operation: Operation, ids: Sequence[UUID]) -> None:
    rows = await _queries.find_chosen(tx.connection, workspace_id=tx.workspace_id, ids=ids)
    standing = {row["id"]: (row["status"], row["replayed_by"]) for row in rows}
    if any(job_id not in standing for job_id in ids):
        raise NotFound("no such job")
    unfit = [
        f"{job_id} ({'replayed already' if replayed else status})"
        for job_id, (status, replayed) in standing.items()
        if status not in operation.statuses or replayed
    ]
    if unfit:
        raise Conflict(f"only {' or '.join(operation.statuses)} jobs are {operation.name}, and not {_named(unfit)}")


async def _find(tx: Transaction, operation: Operation, where: JobFilter) -> tuple[list[UUID], int]:
    """The oldest jobs that match, and how many there are."""
    narrowed = {
        "workspace_id": tx.workspace_id,
        "statuses": list(operation.statuses),
        "kind": where.kind,
        "error_class": where.error_class,
        "before": where.queued_before,
    }
    matching: int = await _queries.count_matching(tx.connection, **narrowed)
    rows = await _queries.find_matching(tx.connection, **narrowed, most=MOST_JOBS)
    return [row["id"] for row in rows], matching


def _named(found: Sequence[str]) -> str:
    named = ", ".join(found[:_NAMED])
    return named + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")

"""Jobs of a workspace: looking at them, and what an admin does with those that stopped."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.api.door import HttpDoor
from datalane.contracts.plans import Plans
from datalane.contracts.replay import Replayed
from datalane.db.transaction import Transaction
from datalane.engine import jobs as engine
from datalane.engine import operating
from datalane.engine.permissions import OPERATE_JOBS, READ_JOBS
from datalane.engine.schemas import (
    JobChoice,
    JobDetail,
    JobKind,
    JobList,
    JobPause,
    JobsOperated,
    JobStatus,
    JobTarget,
    PausedKind,
    SkippedJob,
)

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/jobs", tags=["jobs"])
    _add_reads(routes, door)
    _add_operations(routes, door)
    return routes


def _add_reads(routes: APIRouter, door: HttpDoor) -> None:
    most = door.settings.limits.page_size

    @routes.get("/list")
    async def list_jobs(
        status: JobStatus | None = None,
        kind: Annotated[JobKind | None, Query()] = None,
        error_class: Asked = None,
        subject_id: Asked = None,
        correlation_id: Asked = None,
        page_size: int = Query(min(25, most), ge=1, le=most),
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_JOBS, plans=Plans.OWN),
    ) -> JobList:
        """The workspace's jobs, the newest first. Without `status`: those that have not completed."""
        asked = operating.JobSearch(status, kind, error_class, subject_id, correlation_id)
        return await operating.list_jobs(tx, asked, cursor, page_size)

    @routes.get("/{job_id}")
    async def get_job(job_id: UUID, tx: Transaction = door.reader(READ_JOBS)) -> JobDetail:
        """One job with its arguments and every change of its status."""
        return await operating.get_job(tx, job_id)


def _add_operations(routes: APIRouter, door: HttpDoor) -> None:
    @routes.post("/retry")
    async def retry(body: JobChoice, tx: Transaction = door.writer(OPERATE_JOBS)) -> JobsOperated:
        """Put failed jobs back to work in place."""
        return await operating.retry(tx, body)

    @routes.post("/replay")
    async def replay(body: JobChoice, tx: Transaction = door.writer(OPERATE_JOBS)) -> Replayed:
        """Start dead letters again as new jobs; each can be replayed once."""
        return await operating.replay(tx, body)

    @routes.post("/cancel")
    async def cancel(body: JobChoice, tx: Transaction = door.writer(OPERATE_JOBS)) -> JobsOperated:
        """End jobs that have not ended; a running handler loses its lease."""
        return await operating.cancel(tx, body)

    @routes.post("/skip")
    async def skip(body: JobTarget, tx: Transaction = door.writer(OPERATE_JOBS)) -> SkippedJob:
        """Let the jobs behind a stopped job of an ordering key go on without it."""
        await operating.skip(tx, body.job_id)
        return SkippedJob(job_id=body.job_id)

    @routes.post("/pause")
    async def pause(body: PausedKind, tx: Transaction = door.writer(OPERATE_JOBS)) -> JobPause:
        """Claim no more jobs of a kind in this workspace, or of any. Running ones end."""
        await engine.pause(tx, body.kind)
        return JobPause(kind=body.kind, paused=True)

    @routes.post("/resume")
    async def resume(body: PausedKind, tx: Transaction = door.writer(OPERATE_JOBS)) -> JobPause:
        """Claim jobs of a kind again."""
        await engine.resume(tx, body.kind)
        return JobPause(kind=body.kind, paused=False)

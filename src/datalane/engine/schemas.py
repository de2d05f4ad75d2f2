"""Jobs as people see them, and what an operator says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.replay import Choice
from datalane.contracts.storable import Moment, Text

JobStatus = Literal["queued", "processing", "retrying", "failed", "dead_letter", "completed"]
JobKind = Annotated[Text, Field(min_length=1, max_length=200)]


class ListedJob(BaseModel):
    """`replayable` says that it is a dead letter which was not replayed yet."""

    id: UUID
    kind: str
    subject_id: str | None
    status: JobStatus
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
    correlation_id: str
    parent_job_id: UUID | None
    replayed_by: UUID | None
    order_key: str | None
    replayable: bool


class JobList(BaseModel):
    data: list[ListedJob]
    page_size: int
    next_cursor: str | None


class JobStep(BaseModel):
    """A change of status."""

    at: datetime
    from_status: str
    to_status: str
    attempt: int
    worker: str | None
    error_class: str | None
    error_message: str | None
    reason: str | None


class JobDetail(ListedJob):
    args: dict[str, Any]
    changes: list[JobStep]


class JobFilter(BaseModel):
    """All of it holds; what is left out holds of every job. `queued_before` keeps out what came meanwhile."""

    model_config = ConfigDict(extra="forbid")

    kind: JobKind | None = None
    error_class: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    queued_before: Moment | None = None


class JobChoice(Choice[JobFilter]):
    """Which jobs: `ids`, of which every one must fit, or `where`, the oldest first. An empty `where` takes every job.

    `dry_run` counts and changes nothing.
    """


class JobsOperated(BaseModel):
    """How many `jobs`, up to 1,000 a request; `remaining` more match."""

    jobs: int
    remaining: int
    dry_run: bool


class JobTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    job_id: UUID


class SkippedJob(BaseModel):
    job_id: UUID


class PausedKind(BaseModel):
    """`*` is every kind."""

    model_config = ConfigDict(extra="forbid")

    kind: JobKind


class JobPause(BaseModel):
    kind: str
    paused: bool

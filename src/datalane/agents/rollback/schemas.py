"""What is told of the runs that a version, a price or a tool has touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel

from datalane.agents.runs.schemas import ErrorClass, RunStatus
from datalane.contracts.measured import Measured


@dataclass(frozen=True, slots=True)
class Suspect:
    """What is taken back: one of the versions, or a tool, or one version of a tool."""

    model_version_id: UUID | None = None
    prompt_version_id: UUID | None = None
    price_version_id: UUID | None = None
    tool_name: str | None = None
    tool_version: int | None = None


class RollbackCosts(BaseModel):
    """In one currency: what is known of the costs of all steps of the runs, and of those that name the suspect."""

    currency: str
    known_cost: Decimal
    named_cost: Decimal


class RunsByConformance(BaseModel):
    """`unknown` are runs without an output schema, without an output, or not over."""

    conforming: int
    not_conforming: int
    unknown: int


class RollbackSummary(BaseModel):
    """Sums over every run that names the suspect itself or has a step or a call that does. `steps` and `tool_calls` are
    all of those runs; `named_steps` and `named_calls` are those that name the suspect. `unpriced_steps` are those of
    models whose cost is not known in any currency. `first_at` and `last_at` are when the first and the last of the runs
    were asked for."""

    runs: int
    by_status: dict[RunStatus, int]
    by_conformance: RunsByConformance
    steps: int
    named_steps: int
    tool_calls: int
    named_calls: int
    costs: list[RollbackCosts]
    unpriced_steps: int
    first_at: datetime | None
    last_at: datetime | None


class RollbackRun(BaseModel):
    """A run that the suspect has touched. `cost` is null while the cost of some step is not known."""

    run_id: UUID
    thread_id: UUID | None
    parent_run_id: UUID | None
    agent: str
    status: RunStatus
    error_class: ErrorClass | None
    conforms: bool | None
    steps: int
    named_steps: int
    tool_calls: int
    named_calls: int
    cost: Decimal | None
    known_cost: Decimal
    unpriced_steps: int
    currency: str | None
    created_at: datetime
    completed_at: datetime | None


class TouchedEvaluation(BaseModel):
    """An evaluation that names the suspect, or of which a run is touched by it. `change` is what the means have risen
    since `baseline_id`, the newest earlier evaluation of the same dataset and agent that has scores and is not touched,
    where the same graders told them; empty where there is none."""

    evaluation_id: UUID
    dataset_version_id: UUID
    dataset: str
    dataset_version: int
    agent: str
    scores: dict[str, Measured] | None
    refusal: str | None
    passed: bool | None
    baseline_id: UUID | None
    change: dict[str, float]
    created_at: datetime


class RollbackReport(BaseModel):
    """`summary` is over all runs, and `evaluations` are the newest 100 that were touched; both stand on the first page
    only. `evaluations` are null too for an API key whose scopes leave them out."""

    summary: RollbackSummary | None
    evaluations: list[TouchedEvaluation] | None
    data: list[RollbackRun]
    page_size: int
    next_cursor: str | None

"""What is said and told of evaluations."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from datalane.contracts.measured import Measured
from datalane.knowledge.methods import Method


class QueryResult(BaseModel):
    """`found` are documents, best first."""

    query_id: str
    measures: dict[str, float]
    found: list[str]


class NewRun(BaseModel):
    """Judged queries that were asked. `dataset_sha256` is hexadecimal; `versions` is what answered, by part."""

    dataset: str = Field(min_length=1, max_length=200)
    dataset_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    method: Method
    keyword_weight: float | None
    versions: dict[str, str]
    p95_ms: float
    results: list[QueryResult] = Field(min_length=1)


class EvaluationRun(BaseModel):
    run_id: UUID
    dataset: str
    dataset_sha256: str
    method: Method
    keyword_weight: float | None
    versions: dict[str, str]
    queries: int
    measures: dict[str, Measured]
    p95_ms: float
    created_at: datetime
    actor_id: UUID


class RunList(BaseModel):
    data: list[EvaluationRun]
    page_size: int
    next_cursor: str | None


class RunDetails(BaseModel):
    """A run with its queries, those with the lowest nDCG first, up to 1,000."""

    run: EvaluationRun
    results: list[QueryResult]


class MeasureChange(BaseModel):
    """`ratio` of the mean to that of the baseline; null when the baseline's is 0, or may be with other queries.
    `verdict` asks whether 0 lies in the interval of `difference`: `better`, `worse`, `not told apart`, or
    `too few queries`. The counts are queries that got better, worse, and neither."""

    baseline: float
    value: float
    difference: Measured
    ratio: Measured | None
    verdict: str
    better: int
    worse: int
    equal: int


class Comparison(BaseModel):
    """`changed_versions` has, by part, the version before and the one now. `most_changed` are the ids of the queries
    whose nDCG changed most."""

    run_id: UUID
    baseline_id: UUID
    measures: dict[str, MeasureChange]
    changed_versions: dict[str, tuple[str | None, str | None]]
    most_changed: list[str]

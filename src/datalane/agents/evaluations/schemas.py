"""Datasets, evaluations and comparisons as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from datalane.agents.runs.schemas import ErrorClass, Tokens
from datalane.contracts.measured import Measured
from datalane.contracts.storable import Label, Text

MOST_CASES: Final = 10_000
COVERAGE: Final = 0.9
"""Share of the cases that are graded, at the least, for a score to be told."""
MOST_GRADERS: Final = 20


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


Name = Annotated[Label, Field(min_length=1, max_length=200)]
CaseId = Annotated[Label, Field(min_length=1, max_length=200)]
ScoreName = Annotated[Label, Field(min_length=1, max_length=64)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Coverage = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Grade = Annotated[int, Field(ge=0, le=100, strict=True)]
Document = Annotated[Text, Field(min_length=1, max_length=2_000)]
Cost = Annotated[Decimal, PlainSerializer(_plain, return_type=str)]
"""Answered as text, so that nothing is rounded."""
NewCost = Annotated[Cost, Field(ge=0, le=10**18, max_digits=29, decimal_places=16, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Outcome = Literal["graded", "failed", "invalid"]


class DatasetCase(BaseModel):
    """`input` is what the agent is given. `expected` is what its output is to be, and `relevant` grades documents, by
    their ids or source URIs, from 0; null is not said."""

    model_config = ConfigDict(extra="forbid")

    case_id: CaseId
    input: Any
    expected: Any = None
    relevant: Annotated[dict[Document, Grade], Field(max_length=1_000)] | None = None


class NewDataset(BaseModel):
    """The same cases under the same name are the same version, in whatever order they stand."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    cases: Annotated[list[DatasetCase], Field(min_length=1, max_length=MOST_CASES)]


class AgentDataset(BaseModel):
    """`sha256` is that of the cases by the order of their ids."""

    dataset_version_id: UUID
    name: str
    version: int
    sha256: str
    cases: int
    created_at: datetime
    created_by_actor_id: UUID


class AddedDataset(AgentDataset):
    """`created` says whether this made the version, or it was there with the same cases."""

    created: bool


class AgentDatasetPage(BaseModel):
    data: list[AgentDataset]
    page_size: int
    next_cursor: str | None


class AgentDatasetCases(BaseModel):
    """A dataset with a page of its cases, in the order in which they were said."""

    dataset: AgentDataset
    data: list[DatasetCase]
    page_size: int
    next_cursor: str | None


class GraderSaid(BaseModel):
    """A grader: the names of the scores that it gives, from 0 to 1, and what else it was told."""

    model_config = ConfigDict(extra="forbid")

    name: ScoreName
    scores: Annotated[list[ScoreName], Field(min_length=1, max_length=20)]
    settings: Annotated[dict[Label, Any], Field(max_length=20)] = Field(default_factory=dict)


class NewCaseResult(BaseModel):
    """What became of a case. `graded` has every score; `failed` is a run that ended without an output that can be
    graded, and says its `error_class`; `invalid` is an output that a grader could not grade. The last two say a
    `reason`. What a case with a `run_id` used is what the ledger knows of that run; others say it themselves."""

    model_config = ConfigDict(extra="forbid")

    case_id: CaseId
    outcome: Outcome
    run_id: UUID | None = None
    scores: Annotated[dict[ScoreName, Score], Field(max_length=100)] | None = None
    error_class: ErrorClass | None = None
    reason: Annotated[Text, Field(min_length=1, max_length=2_000)] | None = None
    cost: NewCost | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217, in capitals")] | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    seconds: Seconds | None = None

    @model_validator(mode="after")
    def _says_what_its_outcome_takes(self) -> Self:
        if (self.outcome == "graded") != (self.scores is not None):
            raise ValueError("a case that is graded takes scores, and no other does")
        if (self.outcome == "failed") != (self.error_class is not None):
            raise ValueError("a case that failed takes an error_class, and no other does")
        if (self.outcome == "graded") != (self.reason is None):
            raise ValueError("a case that is not graded takes a reason, and no other does")
        used = (self.cost, self.currency, self.input_tokens, self.output_tokens, self.seconds)
        if self.run_id is not None and any(each is not None for each in used):
            raise ValueError("what a run used is known by its run_id, and is not said besides")
        if self.cost and self.currency is None:
            raise ValueError("a cost takes its currency")
        return self


class NewEvaluation(BaseModel):
    """An evaluation that was made. Cases that were not attempted have no result. A score is the mean over graded cases,
    and is refused where their share of all cases is below `coverage_threshold`. `thresholds` are the least means by the
    names of scores."""

    model_config = ConfigDict(extra="forbid")

    dataset_version_id: UUID
    agent: Annotated[Text, Field(min_length=1, max_length=200)]
    prompt_version_id: UUID | None = None
    model_version_id: UUID | None = None
    output_schema_version_id: UUID | None = None
    graders: Annotated[list[GraderSaid], Field(min_length=1, max_length=MOST_GRADERS)]
    coverage_threshold: Coverage = COVERAGE
    thresholds: Annotated[dict[ScoreName, Score], Field(max_length=100)] = Field(default_factory=dict)
    results: Annotated[list[NewCaseResult], Field(min_length=1, max_length=MOST_CASES)]


class AgentEvaluation(BaseModel):
    """`attempted` is the sum of `failed`, `invalid` and `graded`; `coverage` is the share of graded ones of all cases.
    Below `coverage_threshold` there are no `scores`, and `refusal` says so. `passed` is null where there are no scores
    or no thresholds. `cost` is null while that of some case is not known, or is in another currency."""

    evaluation_id: UUID
    dataset_version_id: UUID
    dataset: str
    dataset_version: int
    agent: str
    prompt_version_id: UUID | None
    model_version_id: UUID | None
    output_schema_version_id: UUID | None
    graders: list[GraderSaid]
    cases: int
    attempted: int
    failed: int
    invalid: int
    graded: int
    coverage: float
    coverage_threshold: float
    thresholds: dict[str, float]
    scores: dict[str, Measured] | None
    refusal: str | None
    passed: bool | None
    cost: Cost | None
    known_cost: Cost
    unpriced: int
    currency: str | None
    input_tokens: int | None
    output_tokens: int | None
    created_at: datetime
    actor_id: UUID


class AgentEvaluationPage(BaseModel):
    data: list[AgentEvaluation]
    page_size: int
    next_cursor: str | None


class CaseResult(BaseModel):
    case_id: str
    outcome: Outcome
    run_id: UUID | None
    scores: dict[str, float] | None
    error_class: ErrorClass | None
    reason: str | None
    cost: Cost | None
    currency: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float | None


class AgentEvaluationResults(BaseModel):
    """An evaluation with a page of its results, in the order of the cases."""

    evaluation: AgentEvaluation
    data: list[CaseResult]
    page_size: int
    next_cursor: str | None


class ScoreChange(BaseModel):
    """Means over the cases that both graded. `verdict` asks whether 0 lies in the interval of `difference`: `better`,
    `worse`, `not told apart`, or `too few cases`. The counts are cases that got better, worse, and neither."""

    baseline: float
    value: float
    difference: Measured
    verdict: str
    better: int
    worse: int
    equal: int


class UsageChange(BaseModel):
    """Means over those `pairs` of which both are known; a cost is in `currency`."""

    baseline: float
    value: float
    difference: Measured
    pairs: int
    currency: str | None = None


class CaseChange(BaseModel):
    """A case whose scores changed, before and now."""

    case_id: str
    baseline: dict[str, float]
    value: dict[str, float]


class AgentEvaluationComparison(BaseModel):
    """`pairs` are the cases that both graded. `changed` has, by part, what the baseline had and what there is now: the
    agent, versions, and graders of one name. Scores of graders that changed are not compared. `cost` and `tokens` are
    null where they are known of no pair."""

    evaluation_id: UUID
    baseline_id: UUID
    pairs: int
    scores: dict[str, ScoreChange]
    cost: UsageChange | None
    tokens: UsageChange | None
    changed: dict[str, tuple[str | None, str | None]]
    most_changed: list[CaseChange]

"""Runs, steps and tool calls as callers see them, and what a runtime says of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.agents.safety.schemas import AgentModeration
from datalane.contracts.storable import Text

MOST_STEPS = 1_000
"""In one call."""

RunStatus = Literal[
    "queued", "running", "waiting_tool", "retrying", "completed", "failed", "blocked_policy", "escalated_human"
]
CallStatus = Literal[
    "requested", "authorized", "blocked_policy", "executing", "retrying", "succeeded", "failed", "canceled"
]
Outcome = Literal["completed", "failed", "blocked_policy", "escalated_human"]
ErrorClass = Literal[
    "timeout",
    "validation_error",
    "authz_denied",
    "policy_denied",
    "provider_error",
    "dependency_unavailable",
    "unexpected_internal",
]
StepKind = Literal["model", "retrieval", "custom"]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Message = Annotated[Text, Field(max_length=2_000)]
Reason = Annotated[Text, Field(min_length=1, max_length=500)]
Tokens = Annotated[int, Field(ge=0, le=2**53)]
Token = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]


class NewThread(BaseModel):
    """`external_id` is its name at your side: the same one answers the same thread."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=500)] | None = None
    external_id: Name


class OpenedThread(BaseModel):
    """`created` is false when it was there."""

    thread_id: UUID
    created: bool


class Thread(BaseModel):
    thread_id: UUID
    title: str | None
    external_id: str | None
    created_at: datetime
    created_by_actor_id: UUID


class ThreadPage(BaseModel):
    data: list[Thread]
    page_size: int
    next_cursor: str | None


class NewRun(BaseModel):
    """`runtime` names the process that runs it and holds its lease; without one the run is queued. `source_run_id` is
    its name at your side: the same one answers the same run. `max_attempts` counts how often a runtime may take it
    up."""

    model_config = ConfigDict(extra="forbid")

    agent: Name
    runtime: Name | None = None
    lease_seconds: Seconds | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    thread_id: UUID | None = None
    parent_run_id: UUID | None = None
    source_run_id: Name | None = None
    prompt_version_id: UUID | None = None
    model_version_id: UUID | None = None
    output_schema_version_id: UUID | None = None
    input: Any = None


class BegunRun(BaseModel):
    """`lease_token` goes with every write; null where the run is queued, was there already, or was `refused`: then it
    has ended as `blocked_policy`, or failed where moderation did not answer, and this says why."""

    run_id: UUID
    lease_token: int | None
    created: bool
    refused: str | None = None


class HeldRun(BaseModel):
    """A run and the token of the lease on it."""

    model_config = ConfigDict(extra="forbid")

    run_id: UUID
    lease_token: Token


class RunToTake(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run_id: UUID
    runtime: Name
    lease_seconds: Seconds | None = None


class TakenRun(BaseModel):
    """`refused` says why the run has ended as `blocked_policy` instead, or failed where moderation did not answer."""

    run_id: UUID
    lease_token: int | None
    refused: str | None = None


class Heartbeat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    runs: Annotated[list[HeldRun], Field(min_length=1, max_length=1_000)]
    lease_seconds: Seconds | None = None


class Extended(BaseModel):
    """The runs that are still held. The others were lost, or are over: stop working on them."""

    run_ids: list[UUID]


class NewStep(BaseModel):
    """A step that is over. Tokens are counted as the OpenTelemetry GenAI conventions say: `input_tokens` include those
    from a cache, `output_tokens` those of reasoning. What is not known is null. `seconds` is how long it took."""

    model_config = ConfigDict(extra="forbid")

    kind: StepKind
    name: Name
    attempt: Annotated[int, Field(ge=1, le=1_000)] = 1
    prompt_version_id: UUID | None = None
    model_version_id: UUID | None = None
    input_tokens: Tokens | None = None
    cached_input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    input: Any = None
    output: Any = None
    error_class: ErrorClass | None = None
    error_message: Message | None = None
    seconds: Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _parts_are_not_more_than_the_whole(self) -> Self:
        for part, whole in (("cached_input_tokens", "input_tokens"), ("reasoning_tokens", "output_tokens")):
            counted, total = getattr(self, part), getattr(self, whole)
            if counted is not None and (total is None or counted > total):
                raise ValueError(f"{whole} include {part}, so they are at least as many")
        return self


class StepsToRecord(HeldRun):
    steps: Annotated[list[NewStep], Field(min_length=1, max_length=MOST_STEPS)]


class RecordedStep(BaseModel):
    """`ordinal` is its place in the run. `cost` is null where usage or price is not known."""

    ordinal: int
    cost: Decimal | None


class RecordedSteps(BaseModel):
    steps: list[RecordedStep]


class RunEnd(HeldRun):
    """How the run ended. One that failed or was blocked says its `error_class`, and no other does."""

    status: Outcome = "completed"
    output: Any = None
    error_class: ErrorClass | None = None
    error_message: Message | None = None

    @model_validator(mode="after")
    def _failures_have_a_class(self) -> Self:
        if (self.status in ("failed", "blocked_policy")) != (self.error_class is not None):
            raise ValueError("a run that is failed or blocked_policy takes an error_class, and no other does")
        return self


class EndedRun(BaseModel):
    """`conforms` says whether the output is as the run's output schema says; null without a schema or an output.
    `refused` says why moderation did not let the output pass: it is not kept, and `status` is that of this end."""

    run_id: UUID
    status: Outcome
    conforms: bool | None
    refused: str | None = None


class AgentRun(BaseModel):
    """`cost` is null while the cost of some step is not known; `known_cost` is the sum of the others. Tokens are sums
    of what is known, over all steps, also those that failed."""

    run_id: UUID
    thread_id: UUID | None
    parent_run_id: UUID | None
    agent: str
    source: Literal["runtime", "spans"]
    source_run_id: str | None
    status: RunStatus
    attempt_count: int
    max_attempts: int
    actor_id: UUID
    correlation_id: str
    prompt_version_id: UUID | None
    model_version_id: UUID | None
    output_schema_version_id: UUID | None
    conforms: bool | None
    error_class: ErrorClass | None
    error_message: str | None
    runtime: str | None
    deadline_at: datetime | None
    model_steps: int
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    unmeasured_steps: int
    cost: Decimal | None
    known_cost: Decimal
    unpriced_steps: int
    currency: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class AgentRunPage(BaseModel):
    data: list[AgentRun]
    page_size: int
    next_cursor: str | None


class AgentStep(BaseModel):
    ordinal: int
    kind: StepKind
    name: str
    attempt: int
    prompt_version_id: UUID | None
    model_version_id: UUID | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    price_version_id: UUID | None
    cost: Decimal | None
    input: Any
    output: Any
    error_class: ErrorClass | None
    error_message: str | None
    started_at: datetime
    ended_at: datetime


class ToolCall(BaseModel):
    """`rule_id` and `rule_version` decided it. `is_replay` says that its idempotency key had an effect already, whose
    result this is."""

    tool_call_id: UUID
    run_id: UUID
    ordinal: int
    tool_name: str
    tool_version: int | None
    side_effect: Literal["none", "read", "write", "external"] | None
    status: CallStatus
    attempt_count: int
    max_attempts: int
    arguments: Any
    result: Any
    is_replay: bool
    idempotency_key: str | None
    rule_id: str
    rule_version: int
    reason: str | None
    needs_approval: bool
    approval_until: datetime | None
    is_approved: bool | None
    decided_by_actor_id: UUID | None
    error_class: ErrorClass | None
    error_message: str | None
    requested_at: datetime
    decided_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class CallToRequest(HeldRun):
    """A call to be decided. One that is authorized begins at once, unless `execute` is false. A tool that writes
    records its effect once for each `idempotency_key`; one with an external effect takes one."""

    tool_name: Annotated[Text, Field(min_length=1, max_length=64)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: Name | None = None
    execute: bool = True


class DecidedCall(BaseModel):
    """What became of the request. Only one that is `executing` or `authorized` may be made: `succeeded` was made before
    under its idempotency key, and `result` is what it did then; `requested` waits for a person, and the run has
    ended."""

    tool_call_id: UUID
    status: Literal["authorized", "executing", "succeeded", "blocked_policy", "requested"]
    attempt_count: int
    is_replay: bool
    result: Any
    rule_id: str
    rule_version: int
    reason: str
    error_class: ErrorClass | None


class HeldCall(HeldRun):
    tool_call_id: UUID


class CallToSucceed(HeldCall):
    result: Any = None


class CallToFail(HeldCall):
    """`retryable` says that another attempt may help."""

    error_class: ErrorClass
    error_message: Message | None = None
    retryable: bool = False


class CallStanding(BaseModel):
    """`refused` says why moderation did not let the result pass: it is not kept, and is not to be used."""

    tool_call_id: UUID
    status: CallStatus
    refused: str | None = None


class StartedCall(BaseModel):
    tool_call_id: UUID
    attempt_count: int


class CallToResolve(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tool_call_id: UUID
    approve: bool
    reason: Reason


class ResolvedCall(BaseModel):
    """`following_run_id` is the run that was queued to go on; null where the call was not approved."""

    tool_call_id: UUID
    approved: bool
    following_run_id: UUID | None


class ToolCallPage(BaseModel):
    data: list[ToolCall]
    page_size: int
    next_cursor: str | None


class Transition(BaseModel):
    """A change of status, of the run or, where `tool_call_id` says so, of one of its calls."""

    ordinal: int
    tool_call_id: UUID | None
    from_status: str | None
    to_status: str
    attempt: int
    runtime: str | None
    error_class: ErrorClass | None
    error_message: str | None
    reason: str | None
    at: datetime


class AgentRunTrace(AgentRun):
    """A run with all that belongs to it, each by its place. With `artifacts_forgotten`, what it was given and has
    answered is null because its time was over, and so are arguments and results."""

    input: Any
    output: Any
    artifacts_forgotten: bool
    steps: list[AgentStep]
    tool_calls: list[ToolCall]
    transitions: list[Transition]
    moderations: list[AgentModeration]

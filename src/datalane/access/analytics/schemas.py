"""Events of analytics, the tracking plan, what is held back and anomalies, as callers say and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from datalane.access.analytics.tracked import EVENT_NAME, MOST_NAME_CHARACTERS
from datalane.contracts.storable import Label, Moment, Text

MOST_EVENTS: Final = 1_000
"""Of one request."""

EventName = Annotated[str, Field(min_length=3, max_length=MOST_NAME_CHARACTERS, pattern=EVENT_NAME)]
EventVersion = Annotated[int, Field(ge=1, le=2**31 - 1)]
SourceEventId = Annotated[Text, Field(min_length=1, max_length=200)]
Subject = Annotated[Text, Field(min_length=1, max_length=200)]
PlanId = Annotated[Text, Field(min_length=1, max_length=200)]
ValidationStatus = Literal["valid", "missing_required_fields", "invalid_schema"]
Outcome = Literal["accepted", "duplicate", "conflict", "quarantined"]
QuarantineStatus = Literal["held", "landed", "discarded"]
AnomalyStatus = Literal["open", "resolved"]
Reason = Annotated[Text, Field(min_length=1, max_length=500)]


class TrackingVersion(BaseModel):
    """A version of a tracked event. `source` is `application` for those that hold in every workspace. One of the
    workspace is `shadowed` where the application tracks an event of its name: that one's versions hold then."""

    tracking_id: UUID
    event_name: str
    event_version: int
    json_schema: dict[str, Any]
    owner: str
    description: str
    source: Literal["application", "workspace"]
    shadowed: bool
    registered_at: datetime
    retired_at: datetime | None
    retired_reason: str | None


class NewTrackingVersion(BaseModel):
    """`json_schema` is JSON Schema 2020-12 without references beyond itself. A version never changes."""

    model_config = ConfigDict(extra="forbid")

    event_name: EventName
    event_version: EventVersion = 1
    json_schema: dict[Text, Any]
    owner: Annotated[Label, Field(min_length=1, max_length=200)]
    description: Annotated[Text, Field(max_length=2_000)] = ""


class TrackingRetirement(BaseModel):
    """Events of this version are held back from now on."""

    model_config = ConfigDict(extra="forbid")

    event_name: EventName
    event_version: EventVersion
    reason: Reason


class RegisteredTrackingVersion(BaseModel):
    """`created` is false where the version was there with this schema."""

    version: TrackingVersion
    created: bool


class TrackingPlanPage(BaseModel):
    data: list[TrackingVersion]
    page_size: int
    next_cursor: str | None


class SnapshotSaid(BaseModel):
    """What a client saw of the plan of its workspace. What it does not say is not compared."""

    model_config = ConfigDict(extra="forbid")

    plan_id: PlanId | None = None
    plan_version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    status: Literal["enabled", "grace", "disabled"] | None = None
    features: Annotated[list[PlanId], Field(max_length=500)] | None = None

    @field_validator("features")
    @classmethod
    def _in_order(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else sorted(set(value))


class NewAnalyticsEvent(BaseModel):
    """`source_event_id` is the client's own and tells events apart for good. `subject` is who did it, by default the
    actor who tells of it. `plan_id` and `entitlement_snapshot` are what the client saw when it happened."""

    model_config = ConfigDict(extra="forbid")

    event_name: EventName
    event_version: EventVersion = 1
    source_event_id: SourceEventId
    occurred_at: Moment
    subject: Subject | None = None
    plan_id: PlanId | None = None
    entitlement_snapshot: SnapshotSaid | None = None
    payload: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_one_plan(self) -> Self:
        said = self.entitlement_snapshot
        is_said_twice = self.plan_id is not None and said is not None and "plan_id" in said.model_fields_set
        if is_said_twice and said is not None and said.plan_id != self.plan_id:
            raise ValueError("plan_id is not that of the entitlement_snapshot")
        return self

    def observed(self) -> dict[str, Any] | None:
        """What the client says that it saw, by field; None where it says nothing."""
        seen = {} if self.entitlement_snapshot is None else self.entitlement_snapshot.model_dump(exclude_unset=True)
        if self.plan_id is not None:
            seen["plan_id"] = self.plan_id
        return seen or None


class NewAnalyticsEvents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[NewAnalyticsEvent], Field(min_length=1, max_length=MOST_EVENTS)]


def _shape(body: Any) -> str:
    """So that what is wrong is told of the shape that was meant."""
    is_batch = isinstance(body, NewAnalyticsEvents) or (isinstance(body, dict) and "events" in body)
    return "batch" if is_batch else "event"


AnalyticsTold = Annotated[
    Annotated[NewAnalyticsEvent, Tag("event")] | Annotated[NewAnalyticsEvents, Tag("batch")], Discriminator(_shape)
]
"""One event, or many as `events`."""


class HeldReason(BaseModel):
    """Why an event is held back. `code` is `unknown_event`, `unknown_version`, `retired_version`, `required` or another
    keyword of its schema, `from_the_future` or `too_old`."""

    code: str
    field: str
    message: str


class AnalyticsOutcome(BaseModel):
    """What became of one event. A `duplicate` is known with this content and changed nothing; a `conflict` has the id
    of another event and changed nothing; one that is `quarantined` says its `reasons`."""

    source_event_id: str
    outcome: Outcome
    payload_validation_status: ValidationStatus
    reasons: list[HeldReason]
    anomaly: bool


class AnalyticsOutcomes(BaseModel):
    """One outcome for each event, in their order."""

    data: list[AnalyticsOutcome]
    accepted: int
    duplicates: int
    conflicts: int
    quarantined: int
    anomalies: int


class EntitlementSnapshot(BaseModel):
    """The plan that was enforced at a moment; null where none was."""

    plan_id: str | None
    plan_version: int | None
    status: str | None
    features: list[str]


class AnalyticsEvent(BaseModel):
    """`plan_id` and `entitlement_snapshot` are what was enforced when it happened; of an event that is held back they
    are null. `observed_snapshot` is what the client says that it saw."""

    source_event_id: str
    event_name: str
    event_version: int
    occurred_at: datetime
    received_at: datetime
    subject: str
    actor_id: UUID
    correlation_id: str
    plan_id: str | None
    entitlement_snapshot: EntitlementSnapshot | None
    observed_snapshot: dict[str, Any] | None
    payload_validation_status: ValidationStatus
    quarantined: bool
    payload: dict[str, Any]


class AnalyticsEventPage(BaseModel):
    data: list[AnalyticsEvent]
    page_size: int
    next_cursor: str | None


class AnalyticsFilter(BaseModel):
    """Those that say all of this. `until` is exclusive."""

    model_config = ConfigDict(extra="forbid")

    event_name: EventName | None = None
    status: ValidationStatus | None = None
    subject: Subject | None = None
    actor_id: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None


class RepairedEvent(BaseModel):
    """What stands in the place of what came."""

    event_name: str
    event_version: int
    payload: dict[str, Any]


class QuarantinedEvent(BaseModel):
    """An event that is held back, as it came. `version` rises with each repair and decision."""

    source_event_id: str
    event_name: str
    event_version: int
    occurred_at: datetime
    received_at: datetime
    subject: str
    actor_id: UUID
    correlation_id: str
    observed_snapshot: dict[str, Any] | None
    payload: dict[str, Any]
    payload_validation_status: ValidationStatus
    reasons: list[HeldReason]
    status: QuarantineStatus
    repaired: RepairedEvent | None
    note: str | None
    version: int
    updated_at: datetime


class QuarantinePage(BaseModel):
    data: list[QuarantinedEvent]
    page_size: int
    next_cursor: str | None


class EventRepair(BaseModel):
    """What to put in the place of what came; what is left out stays. `version` is the one that was seen."""

    model_config = ConfigDict(extra="forbid")

    source_event_id: SourceEventId
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    event_name: EventName | None = None
    event_version: EventVersion | None = None
    payload: dict[str, Any] | None = None
    note: Reason


class HeldFilter(BaseModel):
    """Which of those that are held back; all of them without any field. `until` is exclusive."""

    model_config = ConfigDict(extra="forbid")

    event_name: EventName | None = None
    payload_validation_status: ValidationStatus | None = None
    source_event_ids: Annotated[list[SourceEventId], Field(min_length=1, max_length=MOST_EVENTS)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class EventReplay(BaseModel):
    """Check again, by the tracking plan as it is now, and store what is valid; with `dry_run` only count. `cursor` goes
    on behind the ones that were looked at before."""

    model_config = ConfigDict(extra="forbid")

    filter: HeldFilter = HeldFilter()
    dry_run: bool = False
    cursor: Annotated[Text, Field(max_length=2_000)] | None = None


class EventDiscard(BaseModel):
    """Give up what is held back, 1,000 at most; with `dry_run` only count."""

    model_config = ConfigDict(extra="forbid")

    filter: HeldFilter
    reason: Reason
    dry_run: bool = False


class ReplayedEvents(BaseModel):
    """`matched` were looked at, 1,000 with 8 MiB of payloads at most; `next_cursor` goes on behind them. What is in
    conflict has the id of another event that has landed, and stays held."""

    dry_run: bool
    matched: int
    landed: int
    still_held: int
    conflicts: int
    anomalies: int
    next_cursor: str | None


class DiscardedEvents(BaseModel):
    dry_run: bool
    discarded: int


class IntegrityAnomaly(BaseModel):
    """A client saw another plan than the one that was enforced. `differs` names the fields of the snapshots."""

    anomaly_id: UUID
    source_event_id: str
    event_name: str
    expected_plan_id: str | None
    observed_plan_id: str | None
    expected_snapshot: EntitlementSnapshot
    observed_snapshot: dict[str, Any]
    differs: list[str]
    correlation_id: str
    occurred_at: datetime
    detected_at: datetime
    status: AnomalyStatus
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str | None


class IntegrityAnomalyPage(BaseModel):
    data: list[IntegrityAnomaly]
    page_size: int
    next_cursor: str | None

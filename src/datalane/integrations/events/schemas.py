"""Events as other systems say them, and what the log tells of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datalane.contracts.storable import Moment, Text
from datalane.engine.events import NewEvent

MOST_EVENTS = 1_000
"""Most events in one request; the lane's own limit (`limits.batch`) may be lower."""
OWN_SYSTEM = "datalane"
"""The source system of what the lane itself publishes."""
CONNECTOR_SYSTEMS = "connector:"
"""Before a connector's id: the source system of the webhooks that it sends, which nobody else uses up the ids of."""

Status = Literal["accepted", "duplicate", "duplicate_suspected", "rejected_signature", "rejected_schema"]
Name = Annotated[Text, Field(min_length=1, max_length=200)]


def _foreign(system: str) -> str:
    if system == OWN_SYSTEM:
        raise ValueError(f"{OWN_SYSTEM} is the lane itself; say which system the event comes from")
    if system.startswith(CONNECTOR_SYSTEMS):
        raise ValueError(f"{CONNECTOR_SYSTEMS}… is a connector that signs; an id that is taken there would be missed")
    return system


class IncomingEvent(BaseModel):
    """What happened in another system. With a `source_event_id` it is taken once, however often it is sent."""

    model_config = ConfigDict(extra="forbid")

    event_type: Annotated[Name, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")]
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    payload: Any
    source_system: Annotated[Name, AfterValidator(_foreign)] = "api"
    source_event_id: Name | None = None
    subject_id: Name | None = None
    occurred_at: Moment | None = None

    def as_new(self) -> NewEvent:
        return NewEvent(
            self.event_type,
            self.payload,
            self.version,
            self.source_system,
            self.source_event_id,
            self.subject_id,
            self.occurred_at,
        )


class IncomingEvents(BaseModel):
    """What is no event at all (a name, a number or a moment that none has) refuses the whole request."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[IncomingEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class PublishedEvent(BaseModel):
    """`event_id` of a duplicate is that of the first one."""

    event_id: UUID
    ingestion_status: Literal["accepted", "duplicate"]


class EventOutcome(BaseModel):
    """What became of one event of a batch. One that was rejected has no id, and says why."""

    event_id: UUID | None
    ingestion_status: Literal["accepted", "duplicate", "rejected_schema"]
    detail: str | None = None


class EventOutcomes(BaseModel):
    """In the order of the request."""

    results: list[EventOutcome]


class EventRecord(BaseModel):
    """An event as lists show it. `causation_id` is the event that caused it, `causation_depth` how deep that goes."""

    event_id: UUID
    event_type: str
    version: int
    source_system: str
    source_event_id: str
    subject_id: str | None
    actor_id: UUID
    occurred_at: datetime
    received_at: datetime
    correlation_id: str
    causation_id: UUID | None
    causation_depth: int
    signature_verified: bool


class EventDetail(EventRecord):
    payload: Any


class EventPage(BaseModel):
    """A page may be short, or empty, and go on all the same: a request looks at 20,000 events at most."""

    data: list[EventRecord]
    page_size: int
    next_cursor: str | None


class IngestionRecord(BaseModel):
    """One attempt to publish. `event_id` is that of the stored event, of the first one where this was a duplicate, and
    null where nothing was stored; `detail` says why."""

    ingestion_id: UUID
    event_id: UUID | None
    event_type: str
    source_system: str
    source_event_id: str | None
    ingestion_status: Status
    received_at: datetime
    correlation_id: str
    detail: str | None


class IngestionPage(BaseModel):
    """A page may be short, or empty, and go on all the same: a request looks at 20,000 attempts at most."""

    data: list[IngestionRecord]
    page_size: int
    next_cursor: str | None

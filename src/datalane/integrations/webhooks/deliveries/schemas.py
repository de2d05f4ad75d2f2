"""Deliveries as callers ask for and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.replay import Choice
from datalane.contracts.storable import Moment, Text

DeliveryStatus = Literal["pending", "failed", "delivered", "dead_letter"]
Ended = Literal["delivered", "dead_letter"]
TypeName = Annotated[Text, Field(max_length=200, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")]


class NewWebhookDelivery(BaseModel):
    """A stored event, or a payload of a registered type, for one endpoint."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID
    event_id: UUID | None = None
    event_type: TypeName | None = None
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    payload: Any = None
    subject_id: Annotated[Text, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.event_id is None) == (self.event_type is None):
            raise ValueError("give the event_id of a stored event, or an event_type with its payload")
        if self.event_id is not None and (self.payload is not None or self.subject_id is not None):
            raise ValueError("a stored event has its own payload and subject")
        return self


class WebhookDeliveryTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    delivery_id: UUID


class DeliveriesToReplay(BaseModel):
    """All of it holds; what is left out holds of every delivery. Those made from `since` and before `until`; of those
    that were replayed before, the replays count."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID | None = None
    status: Ended = "dead_letter"
    event_type: TypeName | None = None
    since: Moment | None = None
    until: Moment | None = None


class DeliveryChoice(Choice[DeliveriesToReplay]):
    """Which deliveries: `ids`, of which every one must fit, or `where`, the oldest first. An empty `where` takes every
    dead letter. `dry_run` counts and changes nothing."""


class WebhookAttempt(BaseModel):
    """`outcome` is null while the attempt is under way, and `lost` when its worker was. `response_excerpt` is the
    beginning of what the other side answered; `error_class` says why it does not count as delivered."""

    attempt: int
    began_at: datetime
    ended_at: datetime | None
    outcome: Literal["delivered", "failed", "lost"] | None
    status_code: int | None
    latency_ms: float | None
    response_excerpt: str | None
    error_class: str | None


class WebhookDelivery(BaseModel):
    """`message_id` is the `webhook-id` of every attempt, and of every replay. `failed` waits for `next_attempt_at`;
    what is `held` waits for the recovery of its endpoint."""

    delivery_id: UUID
    endpoint_id: UUID
    event_id: UUID | None
    event_type: str
    subject_id: str | None
    message_id: str
    status: DeliveryStatus
    held: bool
    attempt_count: int
    failure_count: int
    next_attempt_at: datetime | None
    last_error_class: str | None
    parent_delivery_id: UUID | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    correlation_id: str


class WebhookDeliveryPage(BaseModel):
    data: list[WebhookDelivery]
    page_size: int
    next_cursor: str | None


class WebhookDeliveryDetail(WebhookDelivery):
    """`body` is what is signed, the same on every attempt."""

    body: str
    attempts: list[WebhookAttempt]


class WebhookAttempted(BaseModel):
    """The delivery after the attempt, and the attempt."""

    delivery: WebhookDelivery
    attempt: WebhookAttempt

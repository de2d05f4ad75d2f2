"""Endpoints as callers say and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datalane.contracts.one_time import ONE_TIME_SECRET
from datalane.contracts.storable import Text

EVERY_TYPE = "*"
MOST_TYPES = 100
"""Of one endpoint."""

EndpointStatus = Literal["enabled", "paused", "disabled"]
StatusReason = Literal["admin", "gone", "failures", "connector_revoked"]
Signing = Literal["hmac", "ed25519"]
Url = Annotated[Text, Field(min_length=1, max_length=2_000)]
Description = Annotated[Text, Field(max_length=500)]
EventTypeName = Annotated[Text, Field(max_length=200, pattern=r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+)$")]


def _distinct(types: list[str]) -> list[str]:
    if EVERY_TYPE in types and len(types) > 1:
        raise ValueError("must be the types by name, or * alone")
    return sorted(set(types))


EventTypes = Annotated[list[EventTypeName], Field(min_length=1, max_length=MOST_TYPES), AfterValidator(_distinct)]


class NewWebhookEndpoint(BaseModel):
    """`event_types` by name, or `*` for all but those of webhooks themselves. An `ordered` endpoint gets the events of
    one subject one after the other: one that fails holds back those behind it."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    event_types: EventTypes
    description: Description = ""
    signing: Signing = "hmac"
    ordered: bool = False
    connector_id: UUID | None = None


class WebhookEndpointChange(BaseModel):
    """What is left out stays. `version` is the one that was seen. A `connector_id` of null depends on none."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID
    version: Annotated[int, Field(ge=1, le=2**62)]
    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    connector_id: UUID | None = None


class WebhookEndpointTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID


class WebhookSecretRotation(BaseModel):
    """The secret before goes on signing for `overlap_hours`, by default a day; 0 ends it at once."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID
    overlap_hours: Annotated[int, Field(ge=0, le=24 * 30)] | None = None


class WebhookEndpoint(BaseModel):
    """`status_reason` says why nothing is delivered: an admin's wish, the answer 410 (`gone`), a long run of
    `failures` or the end of its connector. `public_keys` are for `ed25519`: that which signs, and while it is changed
    the one before."""

    endpoint_id: UUID
    url: str
    description: str
    event_types: list[str]
    signing: Signing
    ordered: bool
    connector_id: UUID | None
    status: EndpointStatus
    status_reason: StatusReason | None
    failing_since: datetime | None
    last_success_at: datetime | None
    public_keys: list[str]
    version: int
    created_at: datetime
    updated_at: datetime


class WebhookEndpointSecret(BaseModel):
    """The endpoint with its new secret, shown this once. With `ed25519` there is none to show: the public key
    verifies."""

    endpoint: WebhookEndpoint
    secret: str | None = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)


class WebhookEndpointPage(BaseModel):
    data: list[WebhookEndpoint]
    page_size: int
    next_cursor: str | None


class RemovedWebhookEndpoint(BaseModel):
    """`dead_letters` is how many of its deliveries had not been delivered."""

    endpoint_id: UUID
    dead_letters: int


class EndpointRecovery(BaseModel):
    """Deliver what was kept while the endpoint could not be sent to; `dry_run` counts."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID
    dry_run: bool = False


class RecoveredEndpoint(BaseModel):
    """`deliveries` are on their way, the last of them `seconds` from now; `remaining` are left to another call. Of a
    dry run, all are `remaining`."""

    endpoint_id: UUID
    deliveries: int
    remaining: int
    seconds: float

"""Connectors as callers see them, and what callers say of them. Credentials go in and never come out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from datalane.contracts.storable import Moment, Text

MOST_CREDENTIALS = 20
MOST_CREDENTIAL_CHARACTERS = 8_192

ConnectorStatus = Literal["connected", "degraded", "revoked"]
HealthOutcome = Literal["ok", "expired", "refresh_failed", "unreachable", "rejected", "revoked_by_provider"]
Reported = Literal["check", "refresh", "sync"]
"""What was done when the outcome was seen."""
CredentialName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ConnectorName = Annotated[Text, Field(min_length=1, max_length=200)]
Label = Annotated[Text, Field(min_length=1, max_length=200)]
Detail = Annotated[Text, Field(min_length=1, max_length=500)]


def _usable(secret: SecretStr) -> SecretStr:
    """The messages hold nothing of the secret."""
    text = secret.get_secret_value()
    if not 1 <= len(text) <= MOST_CREDENTIAL_CHARACTERS:
        raise ValueError(f"must have 1 to {MOST_CREDENTIAL_CHARACTERS:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must hold no lone surrogate") from None
    return secret


Credentials = Annotated[
    dict[CredentialName, Annotated[SecretStr, AfterValidator(_usable)]],
    Field(min_length=1, max_length=MOST_CREDENTIALS, repr=False),
]
"""Secrets by name."""


class ConnectorAuth(BaseModel):
    """A header of every call. `template` holds names of credentials in braces, as in `Bearer {token}`."""

    model_config = ConfigDict(extra="forbid")

    header: Annotated[str, Field(min_length=1, max_length=100)]
    template: Annotated[Text, Field(min_length=1, max_length=500)]


class NewConnector(BaseModel):
    """`credentials` are sealed and never shown. Calls of the lane go to paths under `base_url`, with the headers of
    `auth`."""

    model_config = ConfigDict(extra="forbid")

    name: ConnectorName
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    credentials: Credentials
    base_url: Annotated[Text, Field(min_length=1, max_length=2_000)] | None = None
    auth: Annotated[list[ConnectorAuth], Field(max_length=5)] = Field(default_factory=list)
    account_label: Label | None = None
    scopes: Annotated[list[Label], Field(max_length=100)] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    expires_at: Moment | None = None


class ConnectorRotation(BaseModel):
    """New credentials in the place of all that were there. `credential_version` is the one that you saw."""

    model_config = ConfigDict(extra="forbid")

    connector_id: UUID
    credential_version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    credentials: Credentials
    expires_at: Moment | None = None


class HealthReport(BaseModel):
    """What somebody saw of the connection, and when. `revoked_by_provider` revokes; everything else but `ok` degrades.
    Whether the credential can be had anew (`refreshable`) decides nothing and is told with the event."""

    model_config = ConfigDict(extra="forbid")

    connector_id: UUID
    outcome: HealthOutcome
    observed_at: Moment
    during: Reported = "check"
    refreshable: bool | None = None
    detail: Detail | None = None


class ConnectorTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    connector_id: UUID


class Connector(BaseModel):
    """`credential_names` say what is sealed. `outcome` is that of the newest report, made at `observed_at` while
    `outcome_of` was done; `expires_at` is when the credentials do."""

    connector_id: UUID
    name: str
    kind: str
    base_url: str | None
    auth: list[ConnectorAuth]
    account_label: str | None
    scopes: list[str]
    metadata: dict[str, Any]
    status: ConnectorStatus
    credential_version: int
    credential_names: list[str]
    expires_at: datetime | None
    rotated_at: datetime
    outcome: HealthOutcome | None
    outcome_of: str | None
    observed_at: datetime | None
    detail: str | None
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class ConnectorPage(BaseModel):
    data: list[Connector]
    page_size: int
    next_cursor: str | None


class PausedDependents(BaseModel):
    """What stopped with the connector, of one kind: how many, and the ids of the first hundred."""

    kind: str
    count: int
    ids: list[UUID]


class RevokedConnector(BaseModel):
    connector: Connector
    paused: list[PausedDependents]


class ReportedHealth(BaseModel):
    """`counted` is false for a report of an earlier moment than one that is known, or than the rotation."""

    connector: Connector
    counted: bool
    paused: list[PausedDependents]


class ConnectorChange(BaseModel):
    """One line of a connector's history. `status` and `credential_version` are as they were after it."""

    history_id: UUID
    connector_id: UUID
    what: Literal["registered", "rotated", "reported", "called", "revoked"]
    status: ConnectorStatus
    credential_version: int
    expires_at: datetime | None
    outcome: str | None
    outcome_of: str | None
    observed_at: datetime | None
    counted: bool
    detail: str | None
    recorded_at: datetime
    actor_id: UUID
    correlation_id: str


class ConnectorHistoryPage(BaseModel):
    data: list[ConnectorChange]
    page_size: int
    next_cursor: str | None

"""How a provider signs what it sends, described as data, and what callers say and see of inbound webhooks."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.one_time import ONE_TIME_SECRET
from datalane.integrations.connectors.schemas import CredentialName

_PLACES = re.compile(r"\{[^{}]*\}")

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]
JsonPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$")]
Preset = Literal["standard_webhooks", "stripe", "github"]
HeldStatus = Literal["held", "released", "dismissed"]
InboundStatus = Literal["open", "closed"]


class ValuePlace(BaseModel):
    """Where a value stands: in a header, or under keys of the JSON body (`data.id`)."""

    model_config = ConfigDict(extra="forbid")

    header: HeaderName | None = None
    json_path: JsonPath | None = None

    @model_validator(mode="after")
    def _in_one_place(self) -> ValuePlace:
        if (self.header is None) == (self.json_path is None):
            raise ValueError("say either header or json_path")
        return self


class SignatureRule(BaseModel):
    """How a delivery is checked.

    `header` holds the signatures, several of them between `separator`s, each behind `prefix`. What is signed is
    `signed`, with `{body}` for the bytes of the body, `{timestamp}` for the seconds since 1970 in `timestamp_header`,
    or behind `timestamp_prefix` in `header` itself, and `{id}` for the header of `event_id`. `key_encoding` says what
    the credential is: the secret itself, its base64 or hexadecimal form, or that of Standard Webhooks (`whsec_…`,
    `whpk_…`).
    """

    model_config = ConfigDict(extra="forbid")

    algorithm: Literal["hmac_sha256", "hmac_sha512", "ed25519"] = "hmac_sha256"
    encoding: Literal["hex", "base64"] = "hex"
    header: HeaderName
    separator: Literal[" ", ",", ";"] | None = None
    prefix: Annotated[str, Field(max_length=20, pattern=r"^[!-~]*$")] = ""
    signed: Annotated[str, Field(max_length=100, pattern=r"^[ -~]+$")] = "{body}"
    timestamp_header: HeaderName | None = None
    timestamp_prefix: Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[!-~]+$")] | None = None
    key_encoding: Literal["text", "base64", "hex", "standard"] = "text"
    event_id: ValuePlace
    event_type: ValuePlace | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> SignatureRule:
        places = _PLACES.findall(self.signed)
        if places.count("{body}") != 1 or not {*places} <= {"{body}", "{timestamp}", "{id}"}:
            raise ValueError("signed holds {body} once, and beside it {timestamp} and {id} only")
        if self.timestamp_header is not None and self.timestamp_prefix is not None:
            raise ValueError("say either timestamp_header or timestamp_prefix")
        if self.timestamp_prefix is not None and self.separator is None:
            raise ValueError("timestamp_prefix needs a separator")
        if self.has_timestamp != ("{timestamp}" in places):
            raise ValueError("a timestamp is read if it is signed, and signed if it is read")
        if "{id}" in places and self.event_id.header is None:
            raise ValueError("{id} is the header of event_id")
        return self

    @property
    def has_timestamp(self) -> bool:
        return self.timestamp_header is not None or self.timestamp_prefix is not None

    @property
    def signs_id(self) -> bool:
        return "{id}" in self.signed or self.event_id.json_path is not None


class OpenInbound(BaseModel):
    """Take webhooks of a connector: signed as a `preset` says, or a `rule`, with one of the credentials that `secrets`
    names. `keep_path` changes how they are checked and not where they come to."""

    model_config = ConfigDict(extra="forbid")

    connector_id: UUID
    preset: Preset | None = None
    rule: SignatureRule | None = None
    secrets: Annotated[list[CredentialName], Field(min_length=1, max_length=5)]
    keep_path: bool = False

    @model_validator(mode="after")
    def _said_once(self) -> OpenInbound:
        if (self.preset is None) == (self.rule is None):
            raise ValueError("say either preset or rule")
        return self


class InboundTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    connector_id: UUID


class InboundWebhook(BaseModel):
    """`secret_names` are the credentials of the connector that may have signed."""

    connector_id: UUID
    preset: str | None
    rule: SignatureRule
    secret_names: list[str]
    status: InboundStatus
    created_at: datetime
    updated_at: datetime
    updated_by_actor_id: UUID


class OpenedInbound(InboundWebhook):
    """`path` is shown this once; it is null when it was kept, and when an idempotent answer is repeated."""

    path: str | None = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)


class InboundPage(BaseModel):
    data: list[InboundWebhook]
    page_size: int
    next_cursor: str | None


class InboundReceipt(BaseModel):
    """What became of a delivery."""

    ingestion_status: Literal["accepted", "duplicate", "duplicate_suspected"]


class HeldTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    held_id: UUID


class HeldDelivery(BaseModel):
    """A delivery whose signed bytes came already, as `like_delivery_id`."""

    held_id: UUID
    connector_id: UUID
    delivery_id: str
    like_delivery_id: str
    status: HeldStatus
    received_at: datetime
    decided_at: datetime | None
    decided_by_actor_id: UUID | None


class ReleasedDelivery(BaseModel):
    held: HeldDelivery
    event_id: UUID
    ingestion_status: Literal["accepted", "duplicate"]


class HeldPage(BaseModel):
    data: list[HeldDelivery]
    page_size: int
    next_cursor: str | None

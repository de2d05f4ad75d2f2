"""Versions of prompts, models, output schemas and prices as callers see them, and what callers say of them."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from datalane.contracts.storable import Label, Moment, Text

MOST_TEMPLATE_BYTES = 64 * 1024
_AMOUNT = re.compile(r"\d{1,10}(\.\d{1,10})?", re.ASCII)
_EXACT_DIGITS = 15
"""Digits that a JSON number keeps however it is read."""


def _fits(template: str) -> str:
    size = len(template.encode())
    if size > MOST_TEMPLATE_BYTES:
        raise ValueError(f"has {size:,} bytes, the limit is {MOST_TEMPLATE_BYTES:,}")
    return template


def _read_amount(value: Any) -> Decimal:
    """Every digit as it was written. A number in JSON may have been rounded on its way."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number")
    text = value
    if isinstance(value, float):
        said = Decimal(repr(value))
        if len(said.as_tuple().digits) > _EXACT_DIGITS:
            raise ValueError("has more digits than a JSON number keeps; write it as text")
        text = format(said, "f")
    text = format(text, "f") if isinstance(text, Decimal) else str(text)
    if not _AMOUNT.fullmatch(text):
        raise ValueError("must be 0 or more, with at most 10 digits before the point and 10 after it")
    return Decimal(text)


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


Name = Annotated[Label, Field(min_length=1, max_length=200)]
Revision = Annotated[Label, Field(max_length=200)]
Template = Annotated[Text, Field(min_length=1, max_length=MOST_TEMPLATE_BYTES), AfterValidator(_fits)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217, in capitals")]
Amount = Annotated[
    Decimal, BeforeValidator(_read_amount, json_schema_input_type=str | float), PlainSerializer(_plain, return_type=str)
]
"""In a currency, for a million tokens. Answered as text, so that nothing is rounded."""


class NewPrompt(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    template: Template


class Prompt(BaseModel):
    """`sha256` is that of the template in UTF-8."""

    prompt_version_id: UUID
    name: str
    version: int
    sha256: str
    created_at: datetime
    created_by_actor_id: UUID


class PromptWithTemplate(Prompt):
    template: str


class RegisteredPrompt(Prompt):
    """`created` says whether this made the version, or it was there with the same template."""

    created: bool


class PromptPage(BaseModel):
    data: list[Prompt]
    page_size: int
    next_cursor: str | None


class NewAgentModel(BaseModel):
    """`revision` is the provider's word for what changed behind the model's name."""

    model_config = ConfigDict(extra="forbid")

    provider: Name
    model: Name
    revision: Revision = ""


class AgentModel(BaseModel):
    model_version_id: UUID
    provider: str
    model: str
    revision: str
    created_at: datetime
    created_by_actor_id: UUID


class RegisteredAgentModel(AgentModel):
    """`created` says whether this made the version, or it was there."""

    created: bool


class AgentModelPage(BaseModel):
    data: list[AgentModel]
    page_size: int
    next_cursor: str | None


class NewOutputSchema(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    json_schema: Annotated[dict[str, Any], Field(description="JSON Schema 2020-12; it refers to itself only")]


class OutputSchema(BaseModel):
    """`sha256` is that of the schema as the database writes it."""

    output_schema_version_id: UUID
    name: str
    version: int
    sha256: str
    created_at: datetime
    created_by_actor_id: UUID


class OutputSchemaWithText(OutputSchema):
    json_schema: dict[str, Any]


class RegisteredOutputSchema(OutputSchema):
    """`created` says whether this made the version, or it was there with the same schema."""

    created: bool


class OutputSchemaPage(BaseModel):
    data: list[OutputSchema]
    page_size: int
    next_cursor: str | None


class NewModelPrice(BaseModel):
    """What a million tokens cost from `effective_at`, by default from now. Without a price of their own, cached input
    costs as input and reasoning as output."""

    model_config = ConfigDict(extra="forbid")

    model_version_id: UUID
    currency: Currency
    input_per_million: Amount
    cached_input_per_million: Amount | None = None
    output_per_million: Amount
    reasoning_per_million: Amount | None = None
    effective_at: Moment | None = None


class ModelPrice(BaseModel):
    price_version_id: UUID
    model_version_id: UUID
    currency: str
    input_per_million: Amount
    cached_input_per_million: Amount | None
    output_per_million: Amount
    reasoning_per_million: Amount | None
    effective_at: datetime
    created_at: datetime
    created_by_actor_id: UUID


class ModelPricePage(BaseModel):
    data: list[ModelPrice]
    page_size: int
    next_cursor: str | None

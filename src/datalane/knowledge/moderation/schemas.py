"""What is said and told of moderated citations."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.storable import Text

Category = Annotated[Text, Field(min_length=1, max_length=100)]
Reason = Annotated[Text, Field(max_length=2_000)]
Reference = Annotated[Text, Field(min_length=1, max_length=200)]


class Outcome(StrEnum):
    SUPPRESSED = "suppressed"
    RESTORED = "restored"


class NewSuppression(BaseModel):
    """Why a citation is not to be shown. `reference` is the id of the outcome where it was moderated."""

    model_config = ConfigDict(extra="forbid")

    citation_id: UUID
    category: Category
    reason: Reason | None = None
    reference: Reference | None = None


class NewRestoration(BaseModel):
    """Why a suppressed citation may be shown again."""

    model_config = ConfigDict(extra="forbid")

    citation_id: UUID
    reason: Reason | None = None
    reference: Reference | None = None


class Moderation(BaseModel):
    """What was decided about a citation. `category` is null where it was restored."""

    moderation_id: UUID
    citation_id: UUID
    outcome: Outcome
    category: str | None
    reason: str | None
    reference: str | None
    created_at: datetime
    actor_id: UUID
    correlation_id: str


class ModerationList(BaseModel):
    data: list[Moderation]
    page_size: int
    next_cursor: str | None

"""Items as callers see them, and what callers say of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.work.schemas import OnConflict, Status, Thing, Version

Priority = Annotated[int, Field(ge=0, le=4, strict=True, description="0 (lowest) to 4 (highest)")]


class Item(Thing):
    item_id: UUID
    project_id: UUID | None
    priority: int
    assignee_id: UUID | None
    tags: list[str]
    metadata: dict[str, Any]


class NewItem(BaseModel):
    """The lane's limits (title, tags, metadata) are checked when it is stored; tags are kept once each, sorted."""

    model_config = ConfigDict(extra="forbid")

    title: str
    description: str = ""
    project_id: UUID | None = None
    status: Literal["draft", "active"] = "draft"
    priority: Priority = 0
    assignee_id: UUID | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class ItemChanges(BaseModel):
    """What is left out stays. `metadata` is a merge patch: its keys are set, and null takes one out."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    description: str | None = None
    project_id: UUID | None = None
    priority: Priority | None = None
    assignee_id: UUID | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None


class ItemUpdate(BaseModel):
    """`merge` applies the edit to the newest version when nobody else changed the same fields meanwhile."""

    model_config = ConfigDict(extra="forbid")

    item_id: UUID
    version: Version | None = None
    changes: ItemChanges
    on_conflict: OnConflict = "fail"


class ItemTransition(BaseModel):
    model_config = ConfigDict(extra="forbid")

    item_id: UUID
    version: Version | None = None
    status: Status


class ItemTarget(BaseModel):
    """An item to delete or to restore."""

    model_config = ConfigDict(extra="forbid")

    item_id: UUID
    version: Version | None = None


class RowError(BaseModel):
    """Why a row of a batch was refused: what the problem document of a single request would say."""

    code: str
    detail: str
    status: int
    errors: list[dict[str, Any]] = Field(default_factory=list)
    current: dict[str, Any] | None = None
    changed_fields: list[str] | None = None
    conflicting_fields: list[str] | None = None


class RowResult(BaseModel):
    """The outcome of the row `index`, from 0: the item as it is now, or the error."""

    index: int
    item: Item | None = None
    error: RowError | None = None


class BatchResult(BaseModel):
    """One result a row, in order. Rows that were refused changed nothing, the others are stored together."""

    results: list[RowResult]
    succeeded: int
    failed: int


class CreateItems(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[NewItem]


class UpdateItems(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[ItemUpdate]


class TransitionItems(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[ItemTransition]

"""Saved views as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from datalane.work.query.schemas import ItemQuery
from datalane.work.schemas import Version


class ViewFault(BaseModel):
    """What is wrong with the query of a view, and where in it."""

    field: str
    message: str
    code: str


class View(BaseModel):
    """A query of items under a name. One that is not `valid` cannot be run until it is mended: `errors` say why."""

    view_id: UUID
    name: str
    shared: bool
    query: dict[str, Any]
    valid: bool
    errors: list[ViewFault]
    version: int
    created_at: datetime
    updated_at: datetime
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class ViewPage(BaseModel):
    data: list[View]
    page_size: int
    next_cursor: str | None


class NewView(BaseModel):
    """`query` is what `POST /items/query` takes, without a cursor."""

    model_config = ConfigDict(extra="forbid")

    name: str
    query: ItemQuery


class ViewChanges(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    query: ItemQuery | None = None


class ViewTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    view_id: UUID
    version: Version | None = None


class ViewUpdate(ViewTarget):
    changes: ViewChanges

"""The timeline as callers see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel

EntityType = Literal["project", "item"]


class Thing(NamedTuple):
    """What has a timeline of its own."""

    entity_type: EntityType
    entity_id: UUID


class TimelineEntry(BaseModel):
    """What was done to a thing, which got `entity_version` by it. `changes` name fields, before and after."""

    entry_id: UUID
    entity_type: EntityType
    entity_id: UUID
    entity_version: int
    action: str
    summary: str
    changes: list[dict[str, Any]]
    actor_id: UUID
    correlation_id: str
    occurred_at: datetime


class TimelinePage(BaseModel):
    data: list[TimelineEntry]
    page_size: int
    next_cursor: str | None


class LiveEntry(TimelineEntry):
    """An entry that is followed. `position` is where to go on after it."""

    position: str

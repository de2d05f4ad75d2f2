"""What projects and items have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

Status = Literal["draft", "active", "archived"]
Version = Annotated[int, Field(ge=1, description="the version that you saw; `If-Match` may say it instead")]
OnConflict = Literal["fail", "merge"]


class Thing(BaseModel):
    """`version` counts its changes from 1; `deleted_at` is set while it is deleted."""

    title: str
    description: str
    status: Status
    version: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    deleted_at: datetime | None
    created_by_actor_id: UUID
    updated_by_actor_id: UUID

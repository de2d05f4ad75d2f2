"""Notes as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["open", "done"]


class Note(BaseModel):
    note_id: UUID
    text: str
    status: Status
    version: int
    created_at: datetime
    created_by_actor_id: UUID


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\x00]*$")]


class NoteMove(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note_id: UUID
    version: Annotated[int, Field(ge=1)]
    status: Literal["done", "open"]


class NotePage(BaseModel):
    data: list[Note]
    page_size: int
    next_cursor: str | None

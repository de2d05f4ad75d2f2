"""Replaying many: which of them, and what came of it. Over HTTP jobs, runs of rules and deliveries say it alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHOSEN = 1_000
"""Named in one request."""

W = TypeVar("W", bound=BaseModel)


class Choice(BaseModel, Generic[W]):
    """Some by `ids`, of which every one must fit, or those that match `where`, the oldest first.

    `dry_run` counts and changes nothing.
    """

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_CHOSEN)] | None = None
    where: W | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.where is None):
            raise ValueError("say ids or where, and not both")
        return self


class Replayed(BaseModel):
    """`matched` are as was asked. `replayed` of them are on their way again, as `ids`; `skipped` ones were changed by
    somebody else meanwhile. The others are left to another call: all of them, in a dry run."""

    matched: int
    replayed: int
    skipped: int
    ids: list[UUID]
    dry_run: bool

    @classmethod
    def counted(cls, matched: int) -> Self:
        """Of a dry run."""
        return cls(matched=matched, replayed=0, skipped=0, ids=[], dry_run=True)

    @classmethod
    def done(cls, matched: int, most: int, ids: Sequence[UUID]) -> Self:
        """Where a call takes up to `most` of those that matched when they were counted."""
        matched = max(matched, len(ids))
        skipped = max(0, min(matched, most) - len(ids))
        return cls(matched=matched, replayed=len(ids), skipped=skipped, ids=list(ids), dry_run=False)

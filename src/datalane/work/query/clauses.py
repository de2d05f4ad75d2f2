"""Pieces of a statement that all its parts need: its parameters, its order, and where its page begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

_SORTED_BY = {"updated_at": "timestamptz", "created_at": "timestamptz", "priority": "smallint"}

Position = tuple[datetime | int, UUID]
"""The last row of a page: the value that it is sorted by, and its id."""


class Parameters:
    """Values in the order of their numbers."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


@dataclass(frozen=True, slots=True)
class Order:
    column: str
    descending: bool

    @classmethod
    def of(cls, sort: str) -> Order:
        return cls(sort.removeprefix("-"), sort.startswith("-"))

    def by(self, table: str) -> str:
        way = "DESC" if self.descending else "ASC"
        return f"ORDER BY {table}.{self.column} {way}, {table}.item_id {way}"

    def after(self, table: str, values: Parameters, position: Position) -> str:
        than = "<" if self.descending else ">"
        reached = f"{values.add(position[0], _SORTED_BY[self.column])}, {values.add(position[1], 'uuid')}"
        return f"({table}.{self.column}, {table}.item_id) {than} ({reached})"

"""Values for rows that the catalog describes: by type, told apart by workspace and number.

A value depends on its column's name, not on its table, so that columns of one name fit together as they do in real
data; foreign keys tie together columns of different names. A job's `kind` and a pause's `kind` are the same word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from datalane.errors import ConfigurationError
from datalane.ops.isolation.catalog import WORKSPACE, Catalog, Column, Table

SIDES = ("a", "b")
MINE, THEIRS = SIDES
GUEST = 14
"""The row of the second workspace that is about the first one's actor: somebody may be a member of both."""
ACTOR, USER = "actor_id", "user_id"
"""Who acts is a user."""
_TEXT = {"text", "character varying", "citext"}
_WHOLE = {"integer", "bigint", "smallint"}
_NUMBERS = {*_WHOLE, "numeric", "double precision", "real"}
_LITERAL = re.compile(r"(?<!~ )'((?:[^']|'')*)'::(?:text|character varying|bpchar)")
"""A text that a check compares with; a regular expression is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose row: `side` is the workspace (`a` or `b`), `number` tells its rows apart, `links` where its links point."""

    side: str
    number: int
    links: int


class Values:
    """Candidates for each column, the most ordinary first."""

    def __init__(self, catalog: Catalog, moment: datetime) -> None:
        self.moment = moment
        self._uuids: dict[tuple[str, str, int], UUID] = {}
        self._links: dict[tuple[str, str], tuple[str, str]] = {}
        """From each linked column to the column it points at."""
        for table in catalog.tables:
            for link in table.links:
                for mine, theirs in link.beyond_workspace.items():
                    if (table.name, mine) != (link.target, theirs):
                        self._links.setdefault((table.name, mine), (link.target, theirs))
        self._catalog = catalog

    def workspace(self, side: str) -> UUID:
        return self.uuid("workspace", side, 0)

    def actor(self, side: str) -> UUID:
        """The user who acts in a workspace, its first."""
        return self.uuid(USER, side, 0)

    def uuid(self, label: str, side: str, number: int) -> UUID:
        """A version 7 UUID of now, so that it falls into a partition that exists."""
        if (label, side, number) == (USER, THEIRS, GUEST):
            side, number = MINE, 0
        known = self._uuids.get((label, side, number))
        if known is None:
            known = self._uuids[label, side, number] = self._uuid(label, side, number)
        return known

    def _uuid(self, label: str, side: str, number: int) -> UUID:
        digest = hashlib.sha256(f"{label}-{side}{number}".encode()).digest()
        milliseconds = int(self.moment.timestamp() * 1000).to_bytes(6, "big")
        body = bytearray(milliseconds + digest[:10])
        body[6], body[8] = 0x70 | (body[6] & 0x0F), 0x80 | (body[8] & 0x3F)
        return UUID(bytes=bytes(body))

    def candidates(self, table: Table, column: Column, place: Place) -> list[str | None]:
        """Literals to try, for a column that a row must fill or a check speaks of."""
        if column.name == WORKSPACE:
            return [str(self.workspace(place.side))]
        label = self._label(table.name, column.name)
        number = place.links if label != column.name or (table.name, column.name) in self._links else place.number
        words = self._words(table, column.name) if column.type in _TEXT else []
        found: list[str | None] = [*words] if words else list(self._typed(column.type, label, place.side, number))
        if column.type in _WHOLE:
            if self._tells_rows_apart(table, column):
                spoken_of = any(column.name in check.columns for check in table.checks)
                found = [str(2 * number + SIDES.index(place.side) + 1), *(found if spoken_of else [])]
            found += self._lengths(table, column.name, place)
        if column.type in _TEXT:
            found += self._capitals(table, column.name)
        if column.type == "bytea":
            found += self._sized(table, column.name, label, place.side, number)
        return found if column.required else [*found, None]

    def _tells_rows_apart(self, table: Table, column: Column) -> bool:
        """Whether it stands in a key, its own table's or that of the one it points at."""
        target, theirs = self._links.get((table.name, column.name), (table.name, column.name))
        sides = ((table, column.name), (self._catalog.relations[target], theirs))
        return any(key.unique and each in key.columns for side, each in sides for key in side.keys)

    def by_name(self, label: str, type_name: str, side: str, number: int) -> str:
        """A value for an argument of this name."""
        return next(self._typed(type_name, USER if label == ACTOR else label, side, number))

    def has_words(self, table: Table, column: Column) -> bool:
        """Whether a check lists what the column may hold."""
        return column.type in _TEXT and bool(self._words(table, column.name))

    def pointed_at(self, table: Table) -> set[str]:
        """Columns that other tables link to: they need a value that is known, though a default would fill them."""
        return {theirs for target, theirs in self._links.values() if target == table.name}

    def _label(self, table: str, column: str) -> str:
        seen = (table, column)
        for _ in range(len(self._links)):
            if seen not in self._links:
                break
            seen = self._links[seen]
        return USER if seen[1] == ACTOR else seen[1]

    def _words(self, table: Table, column: str) -> list[str]:
        """What the checks on this column compare it with; first what the columns that are linked to it may hold."""
        words = self._own_words(table.name, column)
        target = self._links.get((table.name, column))
        if not words and target:
            return self._words(self._catalog.relations[target[0]], target[1])
        for mine, theirs in self._links.items():
            if theirs == (table.name, column):
                linked = self._own_words(*mine)
                words = [word for word in words if word in linked] + [word for word in words if word not in linked]
        return words

    def _own_words(self, table: str, column: str) -> list[str]:
        found = []
        for check in self._catalog.relations[table].checks:
            if check.columns == (column,):
                found += [word for word in _LITERAL.findall(check.says) if word not in found]
        return found

    def _lengths(self, table: Table, column: str, place: Place) -> Iterator[str]:
        """Lengths of the texts that a check compares this number with."""
        for check in table.checks:
            if column in check.columns and "length(" in check.says:
                for other in table.columns:
                    if other.name in check.columns and other.type == "text":
                        for text in self.candidates(table, other, place):
                            yield str(len(text or ""))

    def _capitals(self, table: Table, column: str) -> Iterator[str]:
        """Texts of the length that a check asks for, such as a currency."""
        for check in table.checks:
            if check.columns == (column,):
                for length in re.findall(rf"length\({column}\) = (\d{{1,3}})\b", check.says):
                    yield "A" * int(length)

    def _sized(self, table: Table, column: str, label: str, side: str, number: int) -> Iterator[str]:
        """Bytes as many as a check asks for."""
        for check in table.checks:
            if column in check.columns and "octet_length(" in check.says:
                for size in map(int, re.findall(r"\b\d{1,4}\b", check.says)):
                    yield "\\x" + hashlib.shake_128(f"{label}-{side}{number}".encode()).hexdigest(size)

    def _typed(self, type_name: str, label: str, side: str, number: int) -> Iterator[str]:
        text = f"{label.replace('_', '-')}-{side}{number}"
        if type_name.endswith("[]"):
            yield "{}"
            if type_name.removesuffix("[]") in _NUMBERS:
                yield "{0}"
        elif type_name == "uuid":
            yield str(self.uuid(label, side, number))
        elif type_name in _TEXT:
            yield text
        elif type_name in _NUMBERS:
            yield from ("1", "0")
        elif type_name == "boolean":
            yield from ("false", "true")
        elif type_name == "bytea":
            yield "\\x" + hashlib.sha256(text.encode()).hexdigest()
        elif type_name in {"json", "jsonb"}:
            yield f'{{"label": "{text}"}}'
        elif type_name.startswith("timestamp") or type_name == "date":
            yield (self.moment + timedelta(hours=1)).isoformat()
            yield (self.moment - timedelta(hours=1)).isoformat()
        elif type_name == "interval":
            yield "1 hour"
        elif type_name == "vector":
            yield "[1,0]"
        elif type_name == "xid8":
            yield "1"
        elif type_name == "inet":
            yield "192.0.2.1"
        else:
            raise ConfigurationError(f"the isolation proof knows no value of type {type_name} (for {label})")

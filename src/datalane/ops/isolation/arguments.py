"""Arguments for verbs, from rows that are there: by the name and type of each argument."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.ops.isolation.catalog import WORKSPACE, Argument, Catalog, Verb
from datalane.ops.isolation.seed import ROWS, Seeds
from datalane.ops.isolation.session import Session, quoted
from datalane.ops.isolation.values import MINE, SIDES, THEIRS

_TOKEN = re.compile(r"[\w.@-]+")
_SHORT = 6
"""Values shorter than this are numbers and words of checks, which say nothing of whose they are."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call, and the same one with an id that names nothing: nobody must be able to tell them apart."""

    sql: str
    twin: str | None = None


@dataclass
class Stock:
    """The stored rows, by side: values by column, ids that name rows, and what only the other workspace's rows hold."""

    seeds: Seeds
    columns: dict[str, dict[tuple[str, str], list[str]]] = field(default_factory=dict)
    ids: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """The tables in whose keys each id was found."""
    reach: Mapping[int, frozenset[str]] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    _found: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def calls(self, verb: Verb, side: str) -> Iterator[Call]:
        """Calls with this side's ids wherever an id can stand: those of every table that the verb reaches."""
        named = [one for one in verb.arguments if one.type in {"uuid", "uuid[]"}]
        if all(one.optional for one in named):
            for number in range(1 if named else ROWS):
                yield Call(self._call(verb, side, number, None))
        if named:
            ids = self._ids(verb, side)
            for number, each in enumerate(ids):
                nobodys = str(self.seeds.values.uuid("nobody", side, number % ROWS))
                twin = self._call(verb, side, number % ROWS, [nobodys])
                yield Call(self._call(verb, side, number % ROWS, [each]), twin)
            if any(one.type == "uuid[]" for one in named):
                yield Call(self._call(verb, side, 0, ids))

    def _ids(self, verb: Verb, side: str) -> list[str]:
        reached = self.reach[verb.oid]
        found = [each for each, tables in self.ids[side].items() if tables & reached]
        return found or list(self.ids[side])

    def foreign(self, answer: tuple[tuple[str | None, ...], ...]) -> set[str]:
        """What an answer tells of the other workspace's rows."""
        return {token for row in answer for cell in row for token in _TOKEN.findall(cell or "")} & self.marks

    def _call(self, verb: Verb, side: str, number: int, ids: list[str] | None) -> str:
        given = []
        for argument in verb.arguments:
            value = self._value(argument, side, number, ids)
            if value is not None:
                given.append(f"{argument.name} => {value}" if argument.name else value)
        return f"SELECT * FROM {verb.name}({', '.join(given)})"

    def _value(self, argument: Argument, side: str, number: int, ids: list[str] | None) -> str | None:
        if argument.type == "uuid":
            return f"{quoted(ids[0])}::uuid" if ids else None
        base = argument.type.removesuffix("[]")
        if base == "uuid":
            return f"ARRAY[{', '.join(map(quoted, ids))}]::uuid[]" if ids else None
        asked = (argument.name, base, side)
        if asked not in self._found:
            self._found[asked] = self._stored(*asked)
        found = self._found[asked]
        if not found and argument.optional:
            return None
        if "." in base:
            return f"NULL::{argument.type}"
        values = self.seeds.values
        text = found[number % len(found)] if found else values.by_name(_one(argument.name), base, side, number)
        if base == argument.type:
            return f"{quoted(text)}::{base}"
        return f"ARRAY[{', '.join([quoted(text)] * len(ids or [text]))}]::{base}[]"

    def _stored(self, label: str, type_name: str, side: str) -> list[str]:
        columns = self.columns[side]
        for one in (label, _one(label)):
            if (one, type_name) in columns:
                return columns[one, type_name]
        tail = f"_{_one(label)}"
        longer = [key for key in columns if key[0].endswith(tail) and key[1] == type_name]
        return columns[longer[0]] if longer else []


def take_stock(session: Session, catalog: Catalog, seeds: Seeds) -> Stock:
    stock = Stock(seeds, reach=catalog.reach)
    everybodys = {str(seeds.workspace(MINE))}
    marks = {str(seeds.workspace(THEIRS))}
    for side in SIDES:
        columns: dict[tuple[str, str], list[str]] = {}
        ids: dict[str, set[str]] = {}
        for table in catalog.tables:
            rows = seeds.rows.get(table.name, {}).get(side, [])
            if table.has_workspace:
                rows = session.read(
                    f"SELECT coalesce(json_agg(t ORDER BY t::text), '[]') FROM {table.sql} AS t "
                    f"WHERE workspace_id = '{seeds.workspace(side)}'"
                )
            named = {each for key in table.keys if key.unique for each in key.columns}
            for column in table.columns:
                values = [_text(row[column.name]) for row in rows if row.get(column.name) is not None]
                if column.name == WORKSPACE or not values:
                    continue
                columns.setdefault((column.name, column.type), values)
                if not table.has_workspace or side == MINE:
                    everybodys.update(values)
                else:
                    marks.update(value for value in values if len(value) >= _SHORT and _TOKEN.fullmatch(value))
                if column.name in named and column.type == "uuid" and table.has_workspace:
                    for value in values:
                        ids.setdefault(value, set()).add(table.name)
        ids.pop(str(seeds.actor(MINE)), None)
        stock.columns[side], stock.ids[side] = columns, ids
    # Times and the like are the same on both sides, and users belong to no workspace.
    stock.marks = frozenset(mark for mark in marks - everybodys if "-b" in mark or _is_uuid(mark))
    return stock


def _one(label: str) -> str:
    """`ids` -> `id`, `priorities` -> `priority`."""
    return re.sub(r"ies$", "y", label) if label.endswith("ies") else label.removesuffix("s")


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list):
        import orjson

        return orjson.dumps(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False

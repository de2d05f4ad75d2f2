"""How two states of a JSON Schema differ, and which differences break somebody.

| direction  | who reads                           | breaking is                                          |
|------------|-------------------------------------|------------------------------------------------------|
| `request`  | the lane reads what consumers send  | accepting less                                       |
| `response` | consumers read what the lane sends  | promising less: a new value, a new null, a lost field |
| `event`    | both: consumers, and stored history | either                                               |

A field that is gone breaks in every direction, also where a schema would let it pass unread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from datalane.contracts.containment import find_gaps
from datalane.contracts.field_changes import FieldChange, find_field_changes
from datalane.contracts.gaps import Gap
from datalane.contracts.json_schema import Node


class Direction(StrEnum):
    REQUEST = "request"
    RESPONSE = "response"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference at `path` (`$.lines[].price`). `before` and `after` are what the schemas say there."""

    path: str
    kind: str
    breaking: bool
    before: Any = None
    after: Any = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stay the same as long as the difference does."""
        told = [self.path, self.kind, self.before, self.after]
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:16]

    def describe(self) -> str:
        """In words, without the path."""
        words = self.kind.replace("_", " ")
        if self.before is None and self.after is None:
            return words
        return f"{words}: {_show(self.before)} → {_show(self.after)}"


def compare(
    old: Any,
    new: Any,
    direction: Direction,
    *,
    old_root: Mapping[str, Any] | None = None,
    new_root: Mapping[str, Any] | None = None,
    assumed: frozenset[str] = frozenset(),
) -> list[Difference]:
    """Every difference between two schemas, by path.

    The roots are the documents that references point into, the schemas themselves by default. References named in
    `assumed` lead to what is compared on its own. What cannot be proven compatible is breaking.
    """
    before = Node(old, _root(old, old_root))
    after = Node(new, _root(new, new_root))
    narrowed = find_gaps(before, after, assumed)
    widened = find_gaps(after, before, assumed)
    changes = find_field_changes(before, after, assumed)
    return sorted(_combine(narrowed, widened, changes, direction), key=lambda each: (each.path, each.kind))


def _root(schema: Any, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return given if given is not None else schema if isinstance(schema, Mapping) else {}


def _combine(
    narrowed: list[Gap], widened: list[Gap], changes: list[FieldChange], direction: Direction
) -> Iterable[Difference]:
    less = {(gap.path, gap.keyword): gap for gap in narrowed}
    more = {(gap.path, gap.keyword): gap for gap in widened}
    yield from _of_fields(less, more, changes, direction)
    for place in sorted(less.keys() | more.keys()):
        path, keyword = place
        accepts_less, promises_less = less.get(place), more.get(place)
        if keyword == "enum":
            yield from _of_values(path, accepts_less, promises_less, direction)
            continue
        breaking = _breaks(accepts_less is not None, promises_less is not None, direction)
        before, after = (
            (accepts_less.written, accepts_less.read)
            if accepts_less
            else (promises_less.read, promises_less.written)
            if promises_less
            else (None, None)
        )
        yield Difference(path, _kind(keyword, accepts_less, promises_less), breaking, before, after)


def _of_values(
    path: str, accepts_less: Gap | None, promises_less: Gap | None, direction: Direction
) -> Iterable[Difference]:
    """Values that went and values that came are told apart: they break different sides."""
    if accepts_less:
        gone = _values(accepts_less) if accepts_less.values else accepts_less.written
        left = None if accepts_less.values else accepts_less.read
        yield Difference(path, "enum_narrowed", _breaks(True, False, direction), gone, left)
    if promises_less:
        come = _values(promises_less) if promises_less.values else promises_less.written
        was = None if promises_less.values else promises_less.read
        yield Difference(path, "enum_widened", _breaks(False, True, direction), was, come)


def _of_fields(
    less: dict[tuple[str, str], Gap],
    more: dict[tuple[str, str], Gap],
    changes: list[FieldChange],
    direction: Direction,
) -> Iterable[Difference]:
    """Fields that came and went; the gaps that only say the same are taken out of `less` and `more`."""
    for change in changes:
        if change.kind in ("field_added", "field_removed", "field_renamed"):
            paths = [change.path, *([change.new_path] if change.new_path else [])]
            places = [(path, word) for path in paths for word in ("required", "properties")]
            fewer = _take(less, places)
            further = _take(more, places)
            breaking = change.kind != "field_added" or _breaks(fewer, further, direction)
            required = fewer and change.kind == "field_added" and change.after == "required"
            kind = "required_field_added" if required else change.kind
            yield Difference(change.path, kind, breaking, change.before, change.after)
        elif change.kind in ("other_fields_refused", "other_fields_allowed"):
            told = [(change.path, "additionalProperties"), (change.path, "unevaluatedProperties")]
            refused = change.kind == "other_fields_refused"
            if not any(place in less or place in more for place in told):
                yield Difference(change.path, change.kind, _breaks(refused, not refused, direction))
        else:
            yield Difference(change.path, change.kind, False, change.before, change.after)


def _take(gaps: dict[tuple[str, str], Gap], places: list[tuple[str, str]]) -> bool:
    """Take the gaps at `places` out; whether there were any."""
    return bool([gaps.pop(place) for place in places if place in gaps])


def _breaks(accepts_less: bool, promises_less: bool, direction: Direction) -> bool:
    return (accepts_less and direction is not Direction.RESPONSE) or (
        promises_less and direction is not Direction.REQUEST
    )


_WORDS = {
    ("required", "less"): "became_required",
    ("required", "more"): "became_optional",
    ("null", "less"): "no_longer_nullable",
    ("null", "more"): "newly_nullable",
    ("properties", "less"): "field_refused",
    ("properties", "more"): "field_allowed",
}


def _kind(keyword: str, accepts_less: Gap | None, promises_less: Gap | None) -> str:
    if accepts_less and promises_less:
        return f"{_snake(keyword)}_changed"
    sense = "less" if accepts_less else "more"
    return _WORDS.get((keyword, sense), f"{_snake(keyword)}_{'narrowed' if accepts_less else 'widened'}")


def _snake(keyword: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in keyword).replace("$", "")


def _values(gap: Gap) -> list[Any]:
    return sorted(gap.values, key=lambda value: orjson.dumps(value, default=str))


_SHOWN = 200


def _show(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

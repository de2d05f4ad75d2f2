"""Filters of metadata, read by the definitions of the workspace's fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from datalane.work.fields.definitions import FieldDefinition, Fields, FieldType
from datalane.work.query.faults import Fault, refused
from datalane.work.query.schemas import FieldFilter

_COLUMNS: Mapping[FieldType, tuple[str, str]] = {
    "text": ("text_value", "text"),
    "boolean": ("text_value", "text"),
    "number": ("number_value", "double precision"),
    "date": ("date_value", "timestamptz"),
}
"""Where the values of a type stand in item_fields, and the database's type."""
_NAMED = 20
"""Fields that an error names at most."""


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """What is asked of one indexed field: comparisons by name, with values as `column` (of type `kind`) has them."""

    field_id: UUID
    column: str
    kind: str
    asked: Sequence[tuple[str, Any]]


def field_conditions(filters: Mapping[str, FieldFilter], fields: Fields) -> list[FieldCondition]:
    """Raises `InvalidInput` naming each field that cannot be filtered by, and each value that is not of its type."""
    faults: list[Fault] = []
    found: list[FieldCondition] = []
    for key, asked in filters.items():
        definition = fields.by_key.get(key)
        unusable = _why_not(key, definition, fields)
        if unusable or definition is None:
            faults.append(unusable or _fault(key, "is not there", "unknown_field"))
            continue
        wrong = list(_wrong(key, definition, asked))
        faults.extend(wrong)
        if not wrong:
            column, kind = _COLUMNS[definition.type]
            compared = [(name, _as_stored(definition, name, value)) for name, value in asked]
            found.append(FieldCondition(definition.field_id, column, kind, compared))
    if faults:
        raise refused(faults)
    return found


def _why_not(key: str, definition: FieldDefinition | None, fields: Fields) -> Fault | None:
    if definition is not None and definition.is_ready:
        return None
    if definition is not None and definition.indexed:
        return _fault(key, "is being indexed; try again when its index is ready", "index_building")
    ready = [name for name, each in sorted(fields.by_key.items()) if each.is_ready]
    named = ", ".join(ready[:_NAMED]) + (", …" if len(ready) > _NAMED else "")
    which = f"these are: {named}" if ready else "no field of this workspace is"
    if definition is not None:
        return _fault(key, f"is not indexed, so it filters nothing; {which}", "not_indexed")
    if key in fields.renamed:
        return _fault(key, f"was renamed to {fields.renamed[key].key}; filter by that", "renamed_field")
    return _fault(key, f"is not defined as a field of items, so it is not indexed; {which}", "unknown_field")


def _wrong(key: str, definition: FieldDefinition, asked: FieldFilter) -> Iterator[Fault]:
    for name, value in asked:
        if definition.type == "boolean" and name not in {"eq", "in"}:
            yield _fault(key, "is true or false: compare with eq", "unknown_comparison", name)
            continue
        for each in value if name == "in" else [value]:
            try:
                definition.check(each)
            except ValueError as error:
                yield _fault(key, f"is a {definition.type}, so what it is compared with {error}", "wrong_type", name)
                break


def _as_stored(definition: FieldDefinition, name: str, value: Any) -> Any:
    if name == "in":
        return [_as_stored(definition, "eq", each) for each in value]
    indexed = definition.as_indexed(value)
    return next(each for each in (indexed.text, indexed.number, indexed.date) if each is not None)


def _fault(key: str, message: str, code: str, comparison: str | None = None) -> Fault:
    shown = key if len(key) <= 80 else f"{key[:80]}…"
    place = f"filters.metadata.{shown}" + (f".{comparison}" if comparison else "")
    return {"field": place, "message": message, "code": code}

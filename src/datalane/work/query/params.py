"""The same queries from a query string.

`status=active&status=draft` is one of both, `priority.gte=2` a comparison, `tags.any=red&tags.any=blue` a list,
`metadata.cost.gte=3` a field of metadata, `assignee_id=null` unassigned. What a value of metadata is, the definition of
its field says (`typed`), so until then it is text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from datalane.work.fields.definitions import FieldDefinition, Fields
from datalane.work.query.faults import Fault, faults_of, refused
from datalane.work.query.schemas import OPERATORS, FieldFilter, ItemQuery

_OF_THE_QUERY = ("sort", "page_size", "cursor")
_OF_ONE_VALUE = (*_OF_THE_QUERY, "text", "deleted")
_LISTS = ("in", "any", "all")
_WORDS: Mapping[str, Mapping[str, Any]] = {
    "deleted": {"true": True, "false": False},
    "assignee_id": {"null": None},
    "project_id": {"null": None},
}
_WHOLE = re.compile(r"-?[0-9]{1,15}")


def read_params(pairs: Iterable[tuple[str, str]]) -> ItemQuery:
    """The query of the parameters, with the values of metadata as text. Raises `InvalidInput` naming each fault."""
    faults: list[Fault] = []
    given = list(pairs)
    said, names = _gathered(given, faults), {name for name, _ in given}
    try:
        query = ItemQuery.model_validate(said)
    except ValidationError as error:
        faults += [{**fault, "field": _parameter(fault["field"], names)} for fault in faults_of(error)]
    if faults:
        raise refused(faults)
    return query


def typed(query: ItemQuery, fields: Fields) -> ItemQuery:
    """`query` with the values of metadata in the types of their fields; what cannot be read stays text."""
    if query.filters.metadata is None:
        return query
    metadata = {
        key: _typed(asked, fields.by_key[key]) if key in fields.by_key else asked
        for key, asked in query.filters.metadata.items()
    }
    return query.model_copy(update={"filters": query.filters.model_copy(update={"metadata": metadata})})


def _gathered(pairs: Iterable[tuple[str, str]], faults: list[Fault]) -> dict[str, Any]:
    """What `ItemQuery` reads, of parameters that contradict nothing."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    filters: dict[str, Any] = {}
    said: dict[str, Any] = {"filters": filters}
    for name, given in values.items():
        *path, comparison = _path(name)
        if path[0] in _OF_ONE_VALUE and comparison:
            faults.append(_fault(name, f"is no parameter; {path[0]} is compared with nothing", "unknown_parameter"))
        elif name == "metadata":
            faults.append(_fault(name, "is no parameter; name a field, as in metadata.cost", "unknown_parameter"))
        elif len(given) > 1 and comparison not in _LISTS and (comparison or name in _OF_ONE_VALUE):
            faults.append(_fault(name, "was given more than once and takes one value", "repeated_parameter"))
        elif name in _OF_ONE_VALUE:
            (said if name in _OF_THE_QUERY else filters)[name] = _read(name, given[0])
        elif not _compare(filters, path, comparison, [_read(path[0], value) for value in given]):
            faults.append(_fault(name, "says again what another parameter says", "repeated_parameter"))
    return said


def _compare(filters: dict[str, Any], path: list[str], comparison: str, values: list[Any]) -> bool:
    """Put a comparison where it belongs. False when there is one already."""
    *above, last = path
    for part in above:
        filters = filters.setdefault(part, {})
    name = comparison or ("in" if len(values) > 1 else "eq")
    compared = filters.setdefault(last, {})
    if name in compared:
        return False
    compared[name] = values if name in _LISTS else values[0]
    return True


def _parameter(place: str, names: Container[str]) -> str:
    """The parameter that said what stands at `place`: `status` says `status.eq`."""
    name = place.removeprefix("filters.")
    return f"query.{name if name in names else name.removesuffix('.eq')}"


def _fault(name: str, message: str, code: str) -> Fault:
    return {"field": f"query.{name[:80]}", "message": message, "code": code}


def _path(name: str) -> list[str]:
    """The names from the filter down, and the comparison, "" when there is none. A field's key may hold dots."""
    first, dot, rest = name.partition(".")
    if not dot:
        return [name, ""]
    if first != "metadata":
        return [first, rest]
    key, dot, last = rest.rpartition(".")
    return [first, key, last] if dot and last in {*OPERATORS, "in"} else [first, rest, ""]


def _read(name: str, value: str) -> Any:
    if name in {"priority", "page_size"} and _WHOLE.fullmatch(value):
        return int(value)
    return _WORDS.get(name, {}).get(value, value)


def _typed(asked: FieldFilter, definition: FieldDefinition) -> FieldFilter:
    return FieldFilter.model_validate(
        {
            name: [_of_type(each, definition) for each in value] if name == "in" else _of_type(value, definition)
            for name, value in asked
        }
    )


def _of_type(value: Any, definition: FieldDefinition) -> Any:
    if definition.type == "boolean":
        return {"true": True, "false": False}.get(value, value)
    if definition.type != "number":
        return value
    try:
        number = float(value)
        definition.check(number)
    except ValueError:
        return value
    return int(value) if _WHOLE.fullmatch(value) else number


def parameters() -> list[dict[str, Any]]:
    """The parameters as OpenAPI describes them; those of metadata have the names of the workspace's fields."""
    return [
        {"name": name, "in": "query", "required": False, "description": said, "schema": schema}
        for name, said, schema in _described()
    ]


def _described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    status = {"type": "string", "enum": ["draft", "active", "archived"]}
    uuid = {"type": "string", "format": "uuid"}
    nullable = {"anyOf": [uuid, {"type": "string", "const": "null"}]}
    level = {"type": "integer", "minimum": 0, "maximum": 4}
    yield "status", "one of these states", _several(status)
    yield "project_id", "in one of these projects, or `null`: in none", _several(nullable)
    yield "assignee_id", "of one of these users, or `null`: unassigned", _several(nullable)
    yield "created_by", "made by one of these actors", _several(uuid)
    yield "priority", "one of these priorities", _several(level)
    for name in ("gt", "gte", "lt", "lte"):
        yield f"priority.{name}", f"priority {OPERATORS[name]}", level
    for column in ("created_at", "updated_at"):
        for name in ("gt", "gte", "lt", "lte"):
            said = f"{column} {OPERATORS[name]} a date (midnight UTC) or a moment with its offset, in ISO 8601"
            yield f"{column}.{name}", said, {"type": "string"}
    yield "tags.any", "with at least one of these tags", _several({"type": "string"}, 50)
    yield "tags.all", "with each of these tags", _several({"type": "string"}, 50)
    yield "text", "words that must all occur in title or description", {"type": "string"}
    yield "deleted", "deleted items alone, instead of none", {"type": "boolean", "default": False}
    sorts = ["updated_at", "-updated_at", "created_at", "-created_at", "priority", "-priority"]
    yield "sort", "the order; `-` is downwards", {"type": "string", "enum": sorts, "default": "-updated_at"}
    yield "page_size", "rows of a page", {"type": "integer", "minimum": 1, "default": 25}
    yield "cursor", "`next_cursor` of the page before", {"type": "string"}


def _several(schema: dict[str, Any], most: int = 100) -> dict[str, Any]:
    return {"type": "array", "items": schema, "maxItems": most}

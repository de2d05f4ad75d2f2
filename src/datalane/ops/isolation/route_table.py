"""Routes as values: what each takes, what it needs, and every place where an id can stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from datalane.contracts.context import Role
from datalane.errors import ConfigurationError

CURSORS = frozenset({"cursor", "after"})
"""What parameters are called that say where a list or a stream goes on."""
FORM = "multipart/form-data"
JSON = "application/json"
_DEEPEST = 8


class Access(StrEnum):
    """Who may call a route: anybody, whoever is signed in, or who has its permission in a workspace."""

    PUBLIC = "public"
    ACCOUNT = "account"
    PERMISSION = "permission"


class Where(StrEnum):
    PATH = "path"
    QUERY = "query"
    FORM = "form"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an id or a cursor stands. `steps` into the body; `[]` is every entry of an array."""

    where: Where
    steps: tuple[str, ...]
    declared: bool = True

    @property
    def name(self) -> str:
        return next(step for step in reversed(self.steps) if step != "[]")

    @property
    def is_cursor(self) -> bool:
        return self.name in CURSORS

    def __str__(self) -> str:
        return f"{self.where} {'.'.join(self.steps).replace('.[]', '[]')}"


@dataclass(frozen=True)
class Call:
    """The variable parts of a request. A form goes as multipart with its file."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, Any] = field(default_factory=dict)
    file: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One operation. `described` is its OpenAPI operation with every reference resolved, empty for a hidden route.

    `may_be_public` says that the application lists it among the routes that answer anybody.
    """

    method: str
    path: str
    access: Access
    permission: str | None = None
    least: Role | None = None
    may_be_public: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return [one for one in self.described.get("parameters", ()) if one["in"] in {"path", "query"}]

    @property
    def in_path(self) -> list[str]:
        return [one["name"] for one in self.parameters if one["in"] == "path"]

    @property
    def form(self) -> Mapping[str, Any] | None:
        return self._content(FORM)

    @property
    def body(self) -> Mapping[str, Any] | None:
        return self._content(JSON)

    def _content(self, media_type: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = (
            self.described.get("requestBody", {}).get("content", {}).get(media_type, {}).get("schema")
        )
        return found

    def places(self) -> list[Place]:
        """Everywhere an id or a cursor can stand, and where a `workspace_id` could be slipped in."""
        found = [
            Place(Where(one["in"]), (one["name"],))
            for one in self.parameters
            if one["name"] in CURSORS or _is_id(one.get("schema", {}))
        ]
        slipped = [Place(Where.QUERY, ("workspace_id",), declared=False)]
        for where, schema in ((Where.FORM, self.form), (Where.BODY, self.body)):
            if schema is not None:
                found += [Place(where, steps) for steps in _ids(schema)]
                slipped.append(Place(where, ("workspace_id",), declared=False))
        return found + [one for one in slipped if replace(one, declared=True) not in found]

    def put(self, call: Call, place: Place, value: str) -> Call:
        """`call` with `value` standing in `place`. Raises `ConfigurationError` when nothing can be built around it."""
        (first, *_) = place.steps
        if place.where is Where.PATH:
            return replace(call, path={**call.path, first: value})
        if place.where is Where.QUERY:
            return replace(call, query={**call.query, first: value})
        if place.where is Where.FORM:
            return replace(call, form={**call.form, first: value})
        body = deepcopy(call.body) if call.body is not None else {}
        return replace(call, body=_put(body, self.body or {}, place.steps, value))


def resolve(document: Mapping[str, Any], schema: Any, depth: int = 0) -> Any:
    """`schema` with its references replaced by what they name; deeper than eight of them nothing is."""
    if isinstance(schema, list):
        return [resolve(document, one, depth) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    named = schema.get("$ref")
    if isinstance(named, str):
        if depth > _DEEPEST:
            return {}
        found: Any = document
        for step in named.removeprefix("#/").split("/"):
            found = found[step]
        return resolve(document, found, depth + 1)
    return {key: resolve(document, value, depth) for key, value in schema.items()}


def options(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The shapes that a value may have, null left out."""
    nested = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for one in nested:
        yield from options(one)
    if not nested and schema.get("type") != "null":
        yield schema


def minimal(schema: Mapping[str, Any], known: Mapping[str, Any], where: str = "body", name: str = "") -> Any:
    """The smallest valid value: `known` by name, else what the schema itself fixes.

    Raises `ConfigurationError` naming what is not known.
    """
    if name in known:
        return known[name]
    shape = next(options(schema), {})
    if "default" in schema:
        return schema["default"]
    if "const" in shape:
        return shape["const"]
    if shape.get("enum"):
        return shape["enum"][0]
    kind = shape.get("type")
    if kind == "object" or "properties" in shape:
        return {
            key: minimal(shape.get("properties", {}).get(key, {}), known, f"{where}.{key}", key)
            for key in shape.get("required", ())
        }
    if kind == "array":
        return [minimal(shape["items"], known, f"{where}[]", name)] if shape.get("minItems") else []
    if kind in {"integer", "number"}:
        return shape.get("minimum", 0)
    if kind == "boolean":
        return False
    raise ConfigurationError(f"no seed says what {where} is")


def _put(value: Any, schema: Mapping[str, Any], steps: Sequence[str], given: str) -> Any:
    if not steps:
        return given
    step, *rest = steps
    shape = next(options(schema), {})
    if step == "[]":
        items = shape.get("items", {})
        entries = value if isinstance(value, list) and value else [_around(items)]
        return [_put(entries[0], items, rest, given), *entries[1:]]
    inner = shape.get("properties", {}).get(step, {})
    members = dict(value) if isinstance(value, Mapping) else {}
    return {**members, step: _put(members.get(step), inner, rest, given)}


def _around(schema: Mapping[str, Any]) -> Any:
    """A new entry of an array, without the ids that will be put into it."""
    shape = next(options(schema), {})
    if "properties" not in shape:
        return None
    fixed = {key: one for key, one in shape["properties"].items() if key in shape.get("required", ())}
    return {key: minimal(one, {}, key, key) for key, one in fixed.items() if not _is_id(one)}


def _ids(schema: Mapping[str, Any], steps: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for shape in options(schema):
        if shape.get("format") == "uuid" and steps:
            yield steps
        for name, one in shape.get("properties", {}).items():
            yield from _ids(one, (*steps, name))
        if isinstance(shape.get("items"), Mapping):
            yield from _ids(shape["items"], (*steps, "[]"))


def _is_id(schema: Mapping[str, Any]) -> bool:
    """An id, or a list of them."""
    return any(
        shape.get("format") == "uuid" or (isinstance(shape.get("items"), Mapping) and _is_id(shape["items"]))
        for shape in options(schema)
    )

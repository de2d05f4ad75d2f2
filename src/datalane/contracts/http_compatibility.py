"""How two OpenAPI documents differ: operations, parameters, bodies, answers, and the components they are made of.

A component is compared once, in the directions in which the old document's operations use it; where an operation
refers to a component of the same name on both sides, the component's own comparison speaks for it. Parameters of a
path count by place, so that renaming one is no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from datalane.contracts.compatibility import Difference, Direction, compare
from datalane.contracts.json_schema import find

Document = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_COMPONENTS = "#/components/schemas/"
_RANKS = ("viewer", "member", "admin", "owner")


@dataclass(frozen=True, slots=True)
class HttpDifference:
    """`contract` is an operation (`POST /documents/upload`) or a component (`dto:Document`)."""

    contract: str
    direction: Direction
    difference: Difference


@dataclass(frozen=True, slots=True)
class Use:
    """Which operations use a component, and in which directions."""

    directions: frozenset[Direction]
    operations: frozenset[str]


def compare_http(old: Document, new: Document) -> list[HttpDifference]:
    shared = _components(old).keys() & _components(new).keys()
    assumed = frozenset(_COMPONENTS + name for name in shared)
    return [*_of_components(old, new, sorted(shared), assumed), *_Operations(old, new, assumed).differences()]


def component_uses(document: Document) -> dict[str, Use]:
    """How each component is used, by its name; one that no operation reaches is left out."""
    uses: dict[str, Use] = {}
    for operation, told in operations(document).items():
        for direction, schema in _schemas(told):
            for name in _reached(schema, document):
                known = uses.get(name, Use(frozenset(), frozenset()))
                uses[name] = Use(known.directions | {direction}, known.operations | {operation})
    return uses


def operations(document: Document) -> dict[str, Document]:
    """By `METHOD /path`, with the parameters of the path among those of the operation."""
    found: dict[str, Document] = {}
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                both = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                found[f"{method.upper()} {path}"] = {**item[method], "parameters": both}
    return found


def _components(document: Document) -> Mapping[str, Any]:
    schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
    return schemas


def _of_components(
    old: Document, new: Document, shared: list[str], assumed: frozenset[str]
) -> Iterator[HttpDifference]:
    uses = component_uses(old)
    for name in shared:
        before, after = _components(old)[name], _components(new)[name]
        directions = uses[name].directions if name in uses else ()
        for direction in sorted(directions):
            if before != after:
                found = compare(before, after, direction, old_root=old, new_root=new, assumed=assumed)
                yield from (HttpDifference(f"dto:{name}", direction, each) for each in found)


def _schemas(operation: Document) -> Iterator[tuple[Direction, Any]]:
    for parameter in operation.get("parameters", ()):
        yield Direction.REQUEST, parameter.get("schema", True)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield Direction.REQUEST, media.get("schema", True)
    for response in operation.get("responses", {}).values():
        for media in response.get("content", {}).values():
            yield Direction.RESPONSE, media.get("schema", True)


def _reached(schema: Any, document: Document) -> set[str]:
    """The names of the components that a schema refers to, directly or through others."""
    names, waiting = set[str](), [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, Mapping):
            waiting.extend(each.values())
            pointer = each.get("$ref")
            if isinstance(pointer, str) and pointer.startswith(_COMPONENTS):
                name = pointer.removeprefix(_COMPONENTS)
                if name not in names:
                    names.add(name)
                    waiting.append(find(document, pointer))
    return names


class _Operations:
    def __init__(self, old: Document, new: Document, assumed: frozenset[str]) -> None:
        self._old, self._new, self._assumed = old, new, assumed

    def differences(self) -> Iterator[HttpDifference]:
        before = {_wire_name(name): (name, told) for name, told in operations(self._old).items()}
        after = {_wire_name(name): (name, told) for name, told in operations(self._new).items()}
        for wire, (name, old) in before.items():
            if wire in after:
                yield from self._of_operation(name, old, *after[wire])
            else:
                yield _said(name, Direction.REQUEST, "operation", "operation_removed", True)
        for wire, (name, _) in after.items():
            if wire not in before:
                yield _said(name, Direction.REQUEST, "operation", "operation_added", False)

    def _of_operation(self, name: str, old: Document, new_name: str, new: Document) -> Iterator[HttpDifference]:
        yield from _of_access(name, old, new)
        yield from self._of_parameters(name, _parameters(name, old), _parameters(new_name, new))
        yield from self._of_body(name, old.get("requestBody"), new.get("requestBody"))
        yield from self._of_responses(name, old.get("responses", {}), new.get("responses", {}))

    def _of_parameters(self, name: str, old: dict[str, Document], new: dict[str, Document]) -> Iterator[HttpDifference]:
        for place in sorted(old.keys() | new.keys()):
            before, after, path = old.get(place), new.get(place), f"request.{place}"
            if before is None or after is None:
                kind, breaking = "parameter_removed", True
                if after is not None:
                    breaking = bool(after.get("required"))
                    kind = "required_parameter_added" if breaking else "parameter_added"
                yield _said(name, Direction.REQUEST, path, kind, breaking)
                continue
            was, became = bool(before.get("required")), bool(after.get("required"))
            if was != became:
                kind = "became_required" if became else "became_optional"
                yield _said(name, Direction.REQUEST, path, kind, became, was, became)
            yield from _of_deprecation(name, path, before, after)
            yield from self._of_schemas(name, Direction.REQUEST, path, before, after)

    def _of_body(self, name: str, old: Document | None, new: Document | None) -> Iterator[HttpDifference]:
        path = "request.body"
        if old is None or new is None:
            if old is not new:
                breaking = new is None or bool(new.get("required"))
                kind = "request_body_removed" if new is None else "request_body_added"
                yield _said(name, Direction.REQUEST, path, kind, breaking)
            return
        was, became = bool(old.get("required")), bool(new.get("required"))
        if was != became:
            kind = "became_required" if became else "became_optional"
            yield _said(name, Direction.REQUEST, path, kind, became, was, became)
        yield from self._of_media(name, Direction.REQUEST, path, old.get("content", {}), new.get("content", {}))

    def _of_responses(self, name: str, old: Document, new: Document) -> Iterator[HttpDifference]:
        for status in sorted(old.keys() | new.keys()):
            path = f"response.{status}"
            if status not in new:
                yield _said(name, Direction.RESPONSE, path, "status_removed", True)
            elif status not in old:
                yield _said(name, Direction.RESPONSE, path, "status_added", False)
            else:
                before, after = old[status], new[status]
                yield from self._of_headers(name, path, before.get("headers", {}), after.get("headers", {}))
                contents = before.get("content", {}), after.get("content", {})
                yield from self._of_media(name, Direction.RESPONSE, path, *contents)

    def _of_headers(self, name: str, path: str, old: Document, new: Document) -> Iterator[HttpDifference]:
        before, after = ({each.lower(): told for each, told in side.items()} for side in (old, new))
        for header in sorted(before.keys() | after.keys()):
            place = f"{path}.header.{header}"
            if header not in after:
                yield _said(name, Direction.RESPONSE, place, "header_removed", True)
            elif header not in before:
                yield _said(name, Direction.RESPONSE, place, "header_added", False)
            else:
                yield from self._of_schemas(name, Direction.RESPONSE, place, before[header], after[header])

    def _of_media(
        self, name: str, direction: Direction, path: str, old: Document, new: Document
    ) -> Iterator[HttpDifference]:
        for media in sorted(old.keys() | new.keys()):
            if media not in new:
                yield _said(name, direction, path, "media_type_removed", True, media, None)
            elif media not in old:
                yield _said(name, direction, path, "media_type_added", False, None, media)
            else:
                yield from self._of_schemas(name, direction, path, old[media], new[media])

    def _of_schemas(
        self, name: str, direction: Direction, path: str, old: Document, new: Document
    ) -> Iterator[HttpDifference]:
        before, after = old.get("schema", True), new.get("schema", True)
        found = compare(before, after, direction, old_root=self._old, new_root=self._new, assumed=self._assumed)
        for each in found:
            yield HttpDifference(name, direction, replace(each, path=path + each.path.removeprefix("$")))


def _wire_name(operation: str) -> str:
    return re.sub(r"{[^}]*}", "{}", operation)


def _parameters(operation: str, told: Document) -> dict[str, Document]:
    """By where they stand: `query.page_size`, `header.x-workspace-id`, `path.1`."""
    in_path = re.findall(r"{([^}:]*)[^}]*}", operation)
    found = {}
    for parameter in told.get("parameters", ()):
        place, name = parameter.get("in"), parameter.get("name", "")
        if place == "path" and name in in_path:
            name = str(in_path.index(name) + 1)
        found[f"{place}.{name.lower() if place == 'header' else name}"] = parameter
    return found


def _of_access(name: str, old: Document, new: Document) -> Iterator[HttpDifference]:
    if bool(old.get("security")) != bool(new.get("security")):
        needed = bool(new.get("security"))
        kind = "authentication_required" if needed else "authentication_dropped"
        yield _said(name, Direction.REQUEST, "operation", kind, needed)
    was, became = old.get("x-role"), new.get("x-role")
    if was in _RANKS and became in _RANKS and was != became:
        raised = _RANKS.index(became) > _RANKS.index(was)
        kind = "role_raised" if raised else "role_lowered"
        yield _said(name, Direction.REQUEST, "operation", kind, raised, was, became)
    yield from _of_deprecation(name, "operation", old, new)


def _of_deprecation(name: str, path: str, old: Document, new: Document) -> Iterator[HttpDifference]:
    if bool(old.get("deprecated")) != bool(new.get("deprecated")):
        kind = "deprecated" if new.get("deprecated") else "undeprecated"
        yield _said(name, Direction.REQUEST, path, kind, False)


def _said(
    contract: str,
    direction: Direction,
    path: str,
    kind: str,
    breaking: bool,
    before: Any = None,
    after: Any = None,
) -> HttpDifference:
    return HttpDifference(contract, direction, Difference(path, kind, breaking, before, after))

"""Fields that came, went, were renamed, or whose default or deprecation changed: what a handoff tells people.

None of these needs a proof; whether they break somebody is decided in `compatibility`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datalane.contracts.json_schema import Node


@dataclass(frozen=True, slots=True)
class FieldChange:
    """`kind` is field_added, field_removed, field_renamed (`new_path` is where it went), other_fields_refused,
    other_fields_allowed, default_changed, deprecated or undeprecated."""

    path: str
    kind: str
    before: Any = None
    after: Any = None
    new_path: str | None = None


@dataclass(frozen=True, slots=True)
class _Field:
    schemas: tuple[Node, ...]
    required: bool

    @property
    def presence(self) -> str:
        return "required" if self.required else "optional"

    @property
    def text(self) -> tuple[bytes, ...]:
        return tuple(schema.text for schema in self.schemas)


def find_field_changes(old: Node, new: Node, assumed: frozenset[str] = frozenset()) -> list[FieldChange]:
    """References named in `assumed` are not followed. Each pair of references is followed once."""
    return list(_changes((old,), (new,), "$", assumed, frozenset()))


def _changes(
    old: tuple[Node, ...], new: tuple[Node, ...], path: str, assumed: frozenset[str], above: frozenset[Any]
) -> Iterator[FieldChange]:
    yield from _annotations(old, new, path)
    pair = (tuple(node.text for node in old), tuple(node.text for node in new))
    names = {node.reference for node in old}
    if pair in above or (names == {node.reference for node in new} and names <= assumed):
        return
    above |= {pair}
    yield from _openness(old, new, path)
    before, after = _fields(old), _fields(new)
    yield from _comings_and_goings(before, after, path)
    for name in sorted(before.keys() & after.keys()):
        yield from _changes(before[name].schemas, after[name].schemas, path + name, assumed, above)


def _annotations(old: tuple[Node, ...], new: tuple[Node, ...], path: str) -> Iterator[FieldChange]:
    before, after = _told(old, "default"), _told(new, "default")
    if before != after:
        yield FieldChange(path, "default_changed", before, after)
    was, became = _told(old, "deprecated") == [True], _told(new, "deprecated") == [True]
    if was != became:
        yield FieldChange(path, "deprecated" if became else "undeprecated")


def _openness(old: tuple[Node, ...], new: tuple[Node, ...], path: str) -> Iterator[FieldChange]:
    """A schema that is silent on other fields lets them pass; one that refuses them says so."""
    if not (any(node.lists_fields for node in old) and any(node.lists_fields for node in new)):
        return
    was, became = _refuses_others(old), _refuses_others(new)
    if was != became:
        yield FieldChange(path, "other_fields_refused" if became else "other_fields_allowed")


def _refuses_others(nodes: tuple[Node, ...]) -> bool:
    return any(
        each.schema.get(word) is False
        for node in nodes
        for each in node.in_place()
        for word in ("additionalProperties", "unevaluatedProperties")
    )


def _told(nodes: tuple[Node, ...], word: str) -> list[Any] | None:
    """What the schemas of one value say, behind references too; None when nothing."""
    told = [
        each.schema[word]
        for node in nodes
        for each in node.members_with_annotations()
        if isinstance(each.schema, Mapping) and word in each.schema
    ]
    return told[:1] or None


def _fields(nodes: tuple[Node, ...]) -> dict[str, _Field]:
    """The children of a value: `.name`, `.*` for fields without a name, `[]` and `[0]` for items."""
    found: dict[str, list[Node]] = {}
    required = set[str]()
    for node in (each for start in nodes for each in start.in_place()):
        schema = node.schema
        required |= {f".{name}" for name in schema.get("required", ())}
        for name, child in schema.get("properties", {}).items():
            found.setdefault(f".{name}", []).append(node.at(child))
        for name, child in _unnamed(schema):
            found.setdefault(name, []).append(node.at(child))
    return {name: _Field(tuple(schemas), name in required) for name, schemas in found.items()}


def _unnamed(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield ".*", schema["additionalProperties"]
    if isinstance(schema.get("items"), Mapping):
        yield "[]", schema["items"]
    for place, child in enumerate(schema.get("prefixItems", ())):
        yield f"[{place}]", child


def _comings_and_goings(before: dict[str, _Field], after: dict[str, _Field], path: str) -> Iterator[FieldChange]:
    gone = [name for name in sorted(before.keys() - after.keys()) if _is_named(name)]
    come = [name for name in sorted(after.keys() - before.keys()) if _is_named(name)]
    for old_name, new_name in _renamed(before, after, gone, come):
        gone.remove(old_name)
        come.remove(new_name)
        yield FieldChange(path + old_name, "field_renamed", old_name[1:], new_name[1:], path + new_name)
    for name in gone:
        yield FieldChange(path + name, "field_removed", before[name].presence)
    for name in come:
        yield FieldChange(path + name, "field_added", None, after[name].presence)


def _is_named(name: str) -> bool:
    return name.startswith(".") and name != ".*"


def _renamed(
    before: dict[str, _Field], after: dict[str, _Field], gone: list[str], come: list[str]
) -> list[tuple[str, str]]:
    """One field gone and one come with the very same schema: most likely the same field."""
    if len(gone) != 1 or len(come) != 1:
        return []
    old, new = before[gone[0]], after[come[0]]
    return [(gone[0], come[0])] if old.text == new.text and old.required == new.required else []

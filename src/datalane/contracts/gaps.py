"""Gaps between what a writer sends and a reader takes, and how they are named.

The proof is asked keyword by keyword, field by field and value by value, until it says what is in the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datalane.contracts.json_schema import Node
from datalane.contracts.schema_proof import proves

_GROUPS = (
    ("contains", "minContains", "maxContains"),
    ("if", "then", "else"),
    ("items", "prefixItems", "unevaluatedItems"),
)
_FIELDS = ("properties", "patternProperties", "additionalProperties")


@dataclass(frozen=True, slots=True)
class Gap:
    """What the writer sends at `path` (`$.lines[].price`) and the reader refuses.

    `keyword` says why, `written` and `read` are what the two say about it; `values` are single values in the way.
    """

    path: str
    keyword: str
    written: Any = None
    read: Any = None
    values: tuple[Any, ...] = ()


def name_unmet(writer: Node, written: Node, read: Node, path: str) -> list[Gap]:
    """The keywords of `read` that `written` does not meet."""
    if proves(written, read):
        return []
    words, gaps = read.keywords, list[Gap]()
    told = _told(writer)
    for group in _grouped(words):
        part = read.at({word: words[word] for word in group})
        if proves(written, part):
            continue
        word = group[0]
        if word == "required":
            missing = [name for name in words[word] if not proves(written, read.at({"required": [name]}))]
            gaps += [Gap(f"{path}.{name}", "required", False, True) for name in missing]
        elif word in _FIELDS:
            gaps += _unwelcome(writer, read, path)
        elif word == "type":
            gaps.append(Gap(path, "type", kinds_of(writer), kinds_of(read)))
        else:
            gaps.append(Gap(path, word, told.get(word), words[word]))
    return gaps or [Gap(path, "schema", writer.schema, read.schema)]


def _grouped(words: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Keywords that mean something together stay together; `unevaluatedProperties` means something with all others."""
    if "unevaluatedProperties" in words:
        return [("unevaluatedProperties", *sorted(words.keys() - {"unevaluatedProperties"}))]
    groups, left = list[tuple[str, ...]](), dict(words)
    for group in (_FIELDS, *_GROUPS):
        here = tuple(word for word in group if word in left)
        if here:
            groups.append(here)
            for word in here:
                del left[word]
    return [*((word,) for word in sorted(left)), *groups]


def _unwelcome(writer: Node, read: Node, path: str) -> list[Gap]:
    """The fields that the writer sends and the reader does not allow, by name where they have one."""
    words = read.keywords
    allowed = words.get("properties", {})
    names = {name for member in writer.in_place() for name in member.keywords.get("properties", {})}
    if words.get("additionalProperties") is False and "patternProperties" not in words:
        refused = sorted(names - {name for name, each in allowed.items() if each is not False})
    else:
        refused = sorted(name for name in names if allowed.get(name) is False)
    if refused:
        return [Gap(f"{path}.{name}", "properties", True, False) for name in refused]
    return [Gap(path, "additionalProperties", _told(writer).get("additionalProperties"), words.get(_FIELDS[2]))]


def _told(node: Node) -> dict[str, Any]:
    """What a schema and the members of its `allOf` say."""
    told: dict[str, Any] = {}
    for member in node.members():
        told |= member.keywords
    return told


def values_of(node: Node) -> tuple[Any, ...] | None:
    """The values of a finite schema, None for any other."""
    words = node.keywords
    if "const" in words:
        return (words["const"],)
    if isinstance(words.get("enum"), list):
        return tuple(words["enum"])
    return (True, False) if words.get("type") == "boolean" else None


def name_refused_values(values: tuple[Any, ...], writer: Node, reader: Node, path: str) -> list[Gap]:
    """One by one; what other keywords of the writer rule out does not count."""
    others = {word: value for word, value in writer.keywords.items() if word not in ("const", "enum")}
    refused = tuple(value for value in values if not proves(writer.at({**others, "const": value}), reader))
    if not refused:
        return []
    kinds = set(all_kinds(reader.variants()[0]))
    if kinds and not any(kinds_meet({_kind(value)}, kinds) for value in refused):
        if refused == (None,):
            return [Gap(path, "null")]
        return [Gap(path, "type", sorted({_kind(value) for value in refused}), sorted(kinds))]
    return [Gap(path, "enum", values=refused)]


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def kinds_of(node: Node) -> list[str]:
    """The types that a schema names; empty when it names none."""
    words = _told(node)
    kinds = words.get("type")
    if kinds is None:
        return sorted({_kind(value) for value in values_of(node) or ()})
    return sorted(kinds) if isinstance(kinds, list) else [kinds]


def all_kinds(nodes: list[Node]) -> list[str]:
    """The types that any of them names."""
    return sorted({kind for node in nodes for kind in kinds_of(node)})


def kinds_meet(some: set[str], others: set[str]) -> bool:
    """Whether a value may be of both; an integer is a number."""
    return (
        bool(some & others) or ("integer" in some and "number" in others) or ("number" in some and "integer" in others)
    )


def share_no_kind(gap: Gap) -> bool:
    """Whether the two have no type in common, so that comparing children would tell nothing."""
    return bool(gap.written) and not kinds_meet(set(gap.written), set(gap.read or ()))

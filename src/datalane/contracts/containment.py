"""Whether everything one schema lets through passes another, and if not, where.

The proof is jsonschema-rs's: its canonical forms answer yes, no or unknown, and only yes counts. Where it does not say
yes the two are taken apart, field by field and item by item, to name what is in the way. Taking apart also proves what
refers to itself: a pair that is met again below itself is taken as proven, which is sound because instances are finite.
So no gap means proven, and what cannot be proven is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import jsonschema_rs
import orjson
from jsonschema_rs import canonical

from datalane.contracts.json_schema import Node

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


def find_gaps(writer: Node, reader: Node, assumed: frozenset[str] = frozenset()) -> list[Gap]:
    """Why `reader` does not take everything that `writer` declares; empty when it provably does.

    References named in `assumed` are taken as compatible with themselves: they are compared on their own.
    """
    found = {(gap.path, gap.keyword): gap for gap in _Walk(assumed).gaps(writer, reader, "$")}
    return [found[place] for place in sorted(found)]


def proves(writer: Node, reader: Node) -> bool:
    """Whether everything that `writer` declares provably passes `reader`."""
    return writer.text == reader.text or _covers(reader.text, writer.declared_text)


class _Walk:
    """Takes two schemas apart. `_above` are the pairs that the present one is part of."""

    def __init__(self, assumed: frozenset[str]) -> None:
        self._assumed = assumed
        self._above: set[tuple[bytes, bytes]] = set()

    def gaps(self, writer: Node, reader: Node, path: str) -> list[Gap]:
        """Of two values: the whole, a field's, an item's."""
        if self._is_assumed(writer, reader) or proves(writer, reader):
            return []
        pair = (writer.text, reader.text)
        if pair in self._above:
            return []
        self._above.add(pair)
        try:
            return self._of_variants(writer, reader, path)
        finally:
            self._above.discard(pair)

    def _is_assumed(self, writer: Node, reader: Node) -> bool:
        name = writer.reference or writer.via
        return name is not None and name in self._assumed and name == (reader.reference or reader.via)

    def _of_variants(self, writer: Node, reader: Node, path: str) -> list[Gap]:
        written, _ = writer.variants()
        read, exclusive = reader.variants()
        if len(written) == 1 and len(read) == 1:
            if self._is_assumed(written[0], read[0]):
                return []
            return self._of_plain(written[0], read[0], path)
        if exclusive and not _exclude_each_other(read):
            return [Gap(path, "oneOf", writer.schema, reader.schema)]
        kinds = (_all_kinds(written), _all_kinds(read))
        return [gap for variant in written for gap in self._of_variant(variant, reader, read, path, kinds)]

    def _of_variant(
        self, variant: Node, reader: Node, read: list[Node], path: str, kinds: tuple[list[str], list[str]]
    ) -> list[Gap]:
        if proves(variant, reader) or any(self._is_assumed(variant, each) for each in read):
            return []
        values = _values(variant)
        if values is not None:
            return _refused_values(values, variant, reader, path)
        match = _most_alike(variant, read)
        if match is None:
            if variant.keywords.get("type") == "null":
                return [Gap(path, "null")]
            return [Gap(path, "type", *kinds)]
        return self._of_plain(variant, match, path)

    def _of_plain(self, writer: Node, reader: Node, path: str) -> list[Gap]:
        """Of two schemas that are no unions. What is left when all parts fit is proven by the parts."""
        if proves(writer, reader):
            return []
        values = _values(writer)
        if values is not None:
            return _refused_values(values, writer, reader, path)
        apart = _Parts(writer, reader)
        gaps = apart.gaps_beside_children(path)
        if any(gap.keyword == "type" and gap.path == path and _are_apart(gap) for gap in gaps):
            return gaps
        for name, written, read in apart.children():
            gaps += self.gaps(written, read, path + name)
        return gaps


class _Parts:
    """Two schemas taken apart: the schemas of their children (fields, items), and what remains without them.

    Everything the writer sends passes the reader when what remains does and every child does, because the writer's
    schema is within its remainder and the reader's is its remainder with its children.
    """

    def __init__(self, writer: Node, reader: Node) -> None:
        self._writer, self._reader = writer, reader
        self._written, self._read = writer.members(), reader.members()
        self._free = not writer.lists_fields or writer.is_conditional

    def gaps_beside_children(self, path: str) -> list[Gap]:
        written = self._remainder_of_writer()
        return [gap for member in self._read for gap in _named(self._writer, written, _bare(member), path)]

    def _remainder_of_writer(self) -> Node:
        bare: dict[str, Any] = {"allOf": [_bare(member).schema for member in self._written]}
        return self._writer.at(bare)

    def children(self) -> Iterator[tuple[str, Node, Node]]:
        """Path, what the writer sends there, what the reader takes there."""
        for member in self._read:
            yield from self._fields(member)
            yield from self._items(member)

    def _fields(self, member: Node) -> Iterator[tuple[str, Node, Node]]:
        words = member.keywords
        listed = words.get("properties", {})
        for name, read in listed.items():
            written = self._field(name)
            if written is not None and isinstance(read, Mapping):
                yield f".{name}", written, member.at(read)
        rest = words.get("additionalProperties")
        if not isinstance(rest, Mapping) or "patternProperties" in words:
            return
        for name in sorted({name for each in self._written for name in _mentioned(each)}):
            if name not in listed and (written := self._field(name)) is not None:
                yield f".{name}", written, member.at(rest)
        unnamed = self._unnamed()
        if unnamed is not None:
            yield ".*", unnamed, member.at(rest)

    def _field(self, name: str) -> Node | None:
        """What the writer sends as `name`; None when it does not."""
        opinions, open_to_it = list[Any](), self._free
        for member in self._written:
            words = member.keywords
            if name in words.get("properties", {}):
                opinions.append(words["properties"][name])
            elif "patternProperties" in words:
                open_to_it = True
            elif "additionalProperties" in words:
                opinions.append(words["additionalProperties"])
            elif words.get("unevaluatedProperties", False) is not False or name in words.get("required", ()):
                open_to_it = True
        if any(opinion is False for opinion in opinions) or not (opinions or open_to_it):
            return None
        return self._all(opinions)

    def _unnamed(self) -> Node | None:
        """What the writer sends in fields that it does not name; None when there are none."""
        opinions, open_to_it = list[Any](), self._free
        for member in self._written:
            words = member.keywords
            if "patternProperties" in words or words.get("unevaluatedProperties", False) is not False:
                open_to_it = True
            elif "additionalProperties" in words:
                opinions.append(words["additionalProperties"])
        if any(opinion is False for opinion in opinions) or not (opinions or open_to_it):
            return None
        return self._all(opinions)

    def _items(self, member: Node) -> Iterator[tuple[str, Node, Node]]:
        words = member.keywords
        if "items" not in words and "prefixItems" not in words:
            return
        first = words.get("prefixItems", [])
        written_first = max((len(each.keywords.get("prefixItems", [])) for each in self._written), default=0)
        for place in range(max(len(first), written_first)):
            read = first[place] if place < len(first) else words.get("items")
            written = self._item(place)
            if written is not None and isinstance(read, Mapping):
                yield f"[{place}]", written, member.at(read)
        rest, written = words.get("items"), self._item(None)
        if isinstance(rest, Mapping) and written is not None:
            yield "[]", written, member.at(rest)

    def _item(self, place: int | None) -> Node | None:
        """What the writer sends at `place`, or beyond all places it names; None when nothing."""
        opinions = []
        for member in self._written:
            first = member.keywords.get("prefixItems", [])
            named = place is not None and place < len(first)
            opinions.append(first[place] if named and place is not None else member.keywords.get("items", True))
        return None if any(opinion is False for opinion in opinions) else self._all(opinions)

    def _all(self, opinions: Sequence[Any]) -> Node:
        told = [opinion for opinion in opinions if opinion is not True]
        return self._writer.at(told[0] if len(told) == 1 else {"allOf": told} if told else True)


def _mentioned(member: Node) -> set[str]:
    words = member.keywords
    return {*words.get("properties", {}), *words.get("required", ())}


def _bare(member: Node) -> Node:
    """Without what `_Parts.children` compares. Patterns of names are left to the proof, with what depends on them."""
    words = dict(member.keywords)
    if isinstance(words.get("properties"), Mapping):
        words["properties"] = {name: _open(each) for name, each in words["properties"].items()}
    if "patternProperties" not in words and "additionalProperties" in words:
        words["additionalProperties"] = _open(words["additionalProperties"])
    if "prefixItems" in words:
        words["prefixItems"] = [_open(each) for each in words["prefixItems"]]
    if "items" in words:
        words["items"] = _open(words["items"])
    return member.at(words)


def _open(schema: Any) -> Any:
    return True if isinstance(schema, Mapping) else schema


def _named(writer: Node, written: Node, read: Node, path: str) -> list[Gap]:
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
            gaps.append(Gap(path, "type", _kinds(writer), _kinds(read)))
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


def _values(node: Node) -> tuple[Any, ...] | None:
    """The values of a finite schema, None for any other."""
    words = node.keywords
    if "const" in words:
        return (words["const"],)
    if isinstance(words.get("enum"), list):
        return tuple(words["enum"])
    return (True, False) if words.get("type") == "boolean" else None


def _refused_values(values: tuple[Any, ...], writer: Node, reader: Node, path: str) -> list[Gap]:
    """One by one; what other keywords of the writer rule out does not count."""
    others = {word: value for word, value in writer.keywords.items() if word not in ("const", "enum")}
    refused = tuple(value for value in values if not proves(writer.at({**others, "const": value}), reader))
    if not refused:
        return []
    kinds = set(_all_kinds(reader.variants()[0]))
    if kinds and not any(_meet({_kind(value)}, kinds) for value in refused):
        if refused == (None,):
            return [Gap(path, "null")]
        return [Gap(path, "type", sorted({_kind(value) for value in refused}), sorted(kinds))]
    return [Gap(path, "enum", values=refused)]


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _kinds(node: Node) -> list[str]:
    """The types that a schema names; empty when it names none."""
    words = _told(node)
    kinds = words.get("type")
    if kinds is None:
        return sorted({_kind(value) for value in _values(node) or ()})
    return sorted(kinds) if isinstance(kinds, list) else [kinds]


def _all_kinds(nodes: list[Node]) -> list[str]:
    return sorted({kind for node in nodes for kind in _kinds(node)})


def _most_alike(variant: Node, read: list[Node]) -> Node | None:
    """The reader's variant to compare with: behind the same reference, else of the same type and the most like it."""
    same = [each for each in read if variant.via is not None and each.via == variant.via]
    if same:
        return same[0]
    kinds = set(_kinds(variant))
    alike = [each for each in read if not kinds or not _kinds(each) or _meet(kinds, set(_kinds(each)))]
    fields = variant.keywords.get("properties", {})
    marks = {name: each["const"] for name, each in fields.items() if isinstance(each, Mapping) and "const" in each}

    def likeness(other: Node) -> tuple[int, int]:
        theirs = other.keywords.get("properties", {})
        agreed = sum(
            isinstance(theirs.get(name), Mapping) and theirs[name].get("const") == mark for name, mark in marks.items()
        )
        return agreed, len(fields.keys() & theirs.keys())

    return max(alike, key=likeness, default=None)


def _meet(some: set[str], others: set[str]) -> bool:
    return (
        bool(some & others) or ("integer" in some and "number" in others) or ("number" in some and "integer" in others)
    )


def _are_apart(gap: Gap) -> bool:
    """Whether the two have no type in common, so that comparing children would tell nothing."""
    return bool(gap.written) and not _meet(set(gap.written), set(gap.read or ()))


def _exclude_each_other(nodes: list[Node]) -> bool:
    return all(_disjoint(one.text, other.text) for one, other in combinations(nodes, 2))


_REFUSALS = (
    ValueError,
    TypeError,
    jsonschema_rs.ReferencingError,
    canonical.CanonicalizationError,
    canonical.IncompatibleOperands,
    canonical.UnsupportedOperand,
    canonical.UnsupportedResult,
)


@lru_cache(maxsize=4096)
def _canonical(text: bytes) -> jsonschema_rs.CanonicalSchema | None:
    """None for what has no canonical form."""
    try:
        return jsonschema_rs.canonicalize(
            orjson.loads(text), draft=jsonschema_rs.Draft202012, validate_formats=True, offline=True
        )
    except _REFUSALS:
        return None


@lru_cache(maxsize=8192)
def _covers(reader: bytes, writer: bytes) -> bool:
    outer, inner = _canonical(reader), _canonical(writer)
    if outer is None or inner is None:
        return False
    try:
        return outer.covers(inner) is canonical.Containment.YES
    except _REFUSALS:
        return False


@lru_cache(maxsize=8192)
def _disjoint(one: bytes, other: bytes) -> bool:
    left, right = _canonical(one), _canonical(other)
    if left is None or right is None:
        return False
    try:
        return left.intersect(right).satisfiability() is canonical.Satisfiability.NO
    except _REFUSALS:
        return False

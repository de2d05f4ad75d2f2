"""Whether everything one schema lets through passes another, and if not, where.

Where the proof (`schema_proof`) does not say yes the two are taken apart, field by field and item by item, to name what
is in the way. Taking apart also proves what refers to itself: a pair that is met again below itself is taken as proven,
which is sound because instances are finite. So no gap means proven, and what cannot be proven is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datalane.contracts.gaps import (
    Gap,
    all_kinds,
    kinds_meet,
    kinds_of,
    name_refused_values,
    name_unmet,
    share_no_kind,
    values_of,
)
from datalane.contracts.json_schema import Node
from datalane.contracts.schema_proof import exclude_each_other, proves


def find_gaps(writer: Node, reader: Node, assumed: frozenset[str] = frozenset()) -> list[Gap]:
    """Why `reader` does not take everything that `writer` declares; empty when it provably does.

    References named in `assumed` are taken as compatible with themselves: they are compared on their own.
    """
    found = {(gap.path, gap.keyword): gap for gap in _Walk(assumed).gaps(writer, reader, "$")}
    return [found[place] for place in sorted(found)]


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
        if exclusive and not exclude_each_other(read):
            return [Gap(path, "oneOf", writer.schema, reader.schema)]
        kinds = (all_kinds(written), all_kinds(read))
        return [gap for variant in written for gap in self._of_variant(variant, reader, read, path, kinds)]

    def _of_variant(
        self, variant: Node, reader: Node, read: list[Node], path: str, kinds: tuple[list[str], list[str]]
    ) -> list[Gap]:
        if proves(variant, reader) or any(self._is_assumed(variant, each) for each in read):
            return []
        values = values_of(variant)
        if values is not None:
            return name_refused_values(values, variant, reader, path)
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
        values = values_of(writer)
        if values is not None:
            return name_refused_values(values, writer, reader, path)
        apart = _Parts(writer, reader)
        gaps = apart.gaps_beside_children(path)
        if any(gap.keyword == "type" and gap.path == path and share_no_kind(gap) for gap in gaps):
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
        return [gap for member in self._read for gap in name_unmet(self._writer, written, _bare(member), path)]

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


def _most_alike(variant: Node, read: list[Node]) -> Node | None:
    """The reader's variant to compare with: behind the same reference, else of the same type and the most like it."""
    same = [each for each in read if variant.via is not None and each.via == variant.via]
    if same:
        return same[0]
    kinds = set(kinds_of(variant))
    alike = [each for each in read if not kinds or not kinds_of(each) or kinds_meet(kinds, set(kinds_of(each)))]
    fields = variant.keywords.get("properties", {})
    marks = {name: each["const"] for name, each in fields.items() if isinstance(each, Mapping) and "const" in each}

    def likeness(other: Node) -> tuple[int, int]:
        theirs = other.keywords.get("properties", {})
        agreed = sum(
            isinstance(theirs.get(name), Mapping) and theirs[name].get("const") == mark for name, mark in marks.items()
        )
        return agreed, len(fields.keys() & theirs.keys())

    return max(alike, key=likeness, default=None)

"""JSON Schema as a value to compare: references, variants, and the set of instances that a writer sends.

A schema that lists `properties` and says nothing about others is read in two ways. For a reader, other fields are
welcome and ignored. For a writer it declares what is sent: the listed and the required fields, no others. `Node.text`
with `declared=True` is the writer's view. An explicit `additionalProperties` is taken at its word on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

_ONE = frozenset(
    {"additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_MANY = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_CHILDREN = frozenset(
    {"properties", "patternProperties", "additionalProperties", "items", "prefixItems", "contains"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_IN_PLACE = ("allOf", "anyOf", "oneOf")
_CONDITIONS = frozenset({"if", "then", "else", "dependentSchemas", "$dynamicRef"})
_SAYS_NOTHING = frozenset(
    {"title", "description", "examples", "example", "default", "deprecated", "readOnly", "writeOnly", "$comment"}
    | {"$id", "$schema", "$anchor", "$defs", "definitions", "discriminator", "externalDocs", "xml"}
    | {"contentMediaType", "contentEncoding", "contentSchema"}
)


@dataclass(frozen=True)
class Node:
    """A schema inside its document, which its references point into. `via` is the reference it was found behind."""

    schema: Any
    root: Mapping[str, Any]
    via: str | None = None

    @property
    def keywords(self) -> dict[str, Any]:
        """What restricts instances; annotations are left out. `true` has none, `false` is `{"not": {}}`."""
        if isinstance(self.schema, bool):
            return {} if self.schema else {"not": {}}
        return {word: value for word, value in self.schema.items() if _restricts(word)}

    @property
    def reference(self) -> str | None:
        """The pointer of a schema that is nothing but a reference into its own document."""
        words = self.keywords
        pointer = words.get("$ref")
        return pointer if len(words) == 1 and isinstance(pointer, str) and pointer.startswith("#") else None

    def at(self, schema: Any) -> Node:
        return Node(schema, self.root)

    def members(self) -> list[Node]:
        """This schema without `allOf`, and the members of that: an instance matches each of them."""
        found, waiting, seen = list[Node](), [self], set[str]()
        while waiting:
            node = waiting.pop()
            words = dict(node.keywords)
            waiting.extend(node.at(each) for each in words.pop("allOf", []))
            pointer = words.get("$ref")
            target = find(self.root, pointer) if isinstance(pointer, str) else None
            if target is not None:
                del words["$ref"]
                if pointer not in seen:
                    seen.add(str(pointer))
                    waiting.append(node.at(target))
            found.append(node.at(words))
        return found

    def members_with_annotations(self) -> list[Node]:
        """This schema, what it refers to and the members of `allOf`, outermost first, as they are written."""
        found, waiting, seen = list[Node](), [self], set[str]()
        while waiting:
            node = waiting.pop(0)
            found.append(node)
            if not isinstance(node.schema, Mapping):
                continue
            waiting.extend(node.at(each) for each in node.schema.get("allOf", ()))
            pointer = node.schema.get("$ref")
            target = find(self.root, pointer) if isinstance(pointer, str) and pointer not in seen else None
            if target is not None:
                seen.add(str(pointer))
                waiting.append(node.at(target))
        return found

    def variants(self) -> tuple[list[Node], bool]:
        """Schemas of which an instance matches one or more, and whether it must be exactly one (`oneOf`)."""
        found, exclusive = list[Node](), False
        for node, one_of in _spread(self, frozenset()):
            found.append(node)
            exclusive = exclusive or one_of
        return found, exclusive and len(found) > 1

    def in_place(self) -> list[Node]:
        """Every schema that applies to the same instance, behind references and combinations."""
        found, waiting, seen = list[Node](), [self], set[str]()
        while waiting:
            node = waiting.pop()
            if not isinstance(node.schema, Mapping):
                continue
            found.append(node)
            waiting.extend(node.at(each) for word in _IN_PLACE for each in node.schema.get(word, ()))
            waiting.extend(node.at(node.schema[word]) for word in ("if", "then", "else") if word in node.schema)
            waiting.extend(node.at(each) for each in node.schema.get("dependentSchemas", {}).values())
            pointer = node.schema.get("$ref")
            if isinstance(pointer, str) and pointer not in seen:
                seen.add(pointer)
                target = find(self.root, pointer)
                waiting.extend([] if target is None else [node.at(target)])
        return found

    @property
    def lists_fields(self) -> bool:
        return any("properties" in node.schema for node in self.in_place())

    @property
    def is_conditional(self) -> bool:
        """Whether what an instance may hold depends on what else it holds."""
        return any(
            _CONDITIONS & node.schema.keys() or any(word in node.schema for word in ("anyOf", "oneOf"))
            for node in self.in_place()
        )

    @cached_property
    def text(self) -> bytes:
        """As canonical JSON with everything that its references reach: equal texts mean equal schemas."""
        return _dump(_Bundle(self.root, declared=False).of(self.schema))

    @cached_property
    def declared_text(self) -> bytes:
        """The same for a writer: with the fields that it declares, and no others."""
        return _dump(_Bundle(self.root, declared=True).of(self.schema))


def find(root: Any, pointer: str) -> Any:
    """What a JSON pointer (`#/a/b`) names, None when nothing."""
    if not pointer.startswith("#"):
        return None
    found = root
    for part in pointer[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _restricts(word: str) -> bool:
    return word not in _SAYS_NOTHING and not word.startswith("x-")


def _spread(node: Node, seen: frozenset[str]) -> Iterator[tuple[Node, bool]]:
    """The variants of `node`, each with whether it stands under a `oneOf`."""
    while (pointer := node.reference) is not None and pointer not in seen:
        target = find(node.root, pointer)
        if target is None:
            break
        seen, node = seen | {pointer}, Node(target, node.root, pointer)
    words = node.keywords
    for word in ("anyOf", "oneOf"):
        if set(words) == {word}:
            for each in words[word]:
                for variant, one_of in _spread(node.at(each), seen):
                    yield variant, one_of or word == "oneOf"
            return
    kinds = words.get("type")
    if isinstance(kinds, list) and len(kinds) > 1:
        for kind in kinds:
            yield Node({**words, "type": kind}, node.root, node.via), False
        return
    yield node, False


class _Bundle:
    """One schema with the definitions that it reaches, and nothing else of its document."""

    def __init__(self, root: Mapping[str, Any], declared: bool) -> None:
        self._root = root
        self._declared = declared
        self._definitions: dict[str, Any] = {}

    def of(self, schema: Any) -> Any:
        whole = self._value(schema)
        if not self._definitions:
            return whole
        return {"allOf": [whole], "$defs": self._definitions}

    def _value(self, schema: Any) -> Any:
        """A schema where a value begins: the root, a field, an item. A writer of a union sends one of its variants."""
        if not self._declared or not isinstance(schema, Mapping):
            return self._schema(schema)
        node = Node(schema, self._root)
        words = node.keywords
        if node.reference is not None:
            return {"$ref": self._refer(node.reference, self._value)}
        for word in ("anyOf", "oneOf"):
            if set(words) == {word}:
                return {word: [self._value(each) for each in words[word]]}
        written = self._schema(schema)
        if "unevaluatedProperties" in written:
            return written
        if not node.lists_fields or any(_CONDITIONS & each.schema.keys() for each in node.in_place()):
            return written
        return {**written, "unevaluatedProperties": False}

    def _schema(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        written = {}
        for word, value in schema.items():
            if not _restricts(word):
                continue
            step = self._value if word in _CHILDREN else self._schema
            if word in _ONE:
                written[word] = step(value)
            elif word in _MANY:
                written[word] = [step(each) for each in value]
            elif word in _NAMED:
                written[word] = {name: step(each) for name, each in value.items()}
            elif word == "$ref":
                written[word] = self._refer(value, self._schema)
            elif word in ("required", "type") and isinstance(value, list):
                written[word] = sorted(value)
            else:
                written[word] = value
        if self._declared:
            _declare_required(written)
        return written

    def _refer(self, pointer: str, write: Callable[[Any], Any]) -> str:
        """The place of a definition, which `write` puts there once: as a value of its own or as a part of one."""
        target = find(self._root, pointer)
        if target is None:
            return pointer
        name = pointer.replace("/", ".").replace("~", "-").replace("%", "-").lstrip("#")
        if write == self._value:
            name += ".value"
        if name not in self._definitions:
            self._definitions[name] = True
            self._definitions[name] = write(target)
        return f"#/$defs/{name}"


def _declare_required(written: dict[str, Any]) -> None:
    """A required field is declared, also where no property says what it looks like."""
    if "additionalProperties" in written:
        return
    missing = [name for name in written.get("required", ()) if name not in written.get("properties", {})]
    if missing and "properties" in written:
        written["properties"] = {**written["properties"], **dict.fromkeys(missing, True)}


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)

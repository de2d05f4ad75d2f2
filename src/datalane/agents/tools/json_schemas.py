"""JSON Schemas that workspaces write: checked when they are published, compiled once, and bounded in what they cost.

A schema of somebody else runs in a process that serves everybody. So what a check may cost is known before it is
published: a schema refers to itself alone and never in a circle, and its patterns are matched in linear time (no
look-around, no back-references). Its weight is about the number of its subschemas with all references written out;
weight times the bytes of a value bounds the time of a check, at most some 20 ns for each, and what faults hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema_rs
import orjson

from datalane.agents.tools.policy import Fault
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOST_WEIGHT = 2_000
"""Of a schema."""
DEEPEST = 100
"""Subschemas inside one another, references followed."""
MOST_WORK = 10_000_000
"""Weight times bytes of one check."""
TOLD_WORK = 500_000
"""Up to here each fault is told. The library makes all of them at once, each with a copy of what it is about."""
_PATTERN_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
"""KiB of a compiled pattern, whose worst time goes by its size."""
_WEIGHT_PER_KIB = 7
_BYTES_PER_WEIGHT = 16
_UNEVALUATED_FACTOR = 3
"""The library asks what is inside of `unevaluatedProperties` again for each of them: 2.6 times as often a level."""
_ONE = frozenset(
    [
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_VALUES = ("enum", "const", "required", "dependentRequired", "not", "format")
"""What is gone through, or copied into a fault, whole."""
_TOO_HEAVY = "costs too much to check: it has too many subschemas, patterns and values, references written out"
_SHOWN_FAULTS = 10
_SHOWN_CHARACTERS = 200


class _Refused(Exception):
    pass


class _Measure(NamedTuple):
    weight: float
    height: int


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    validator: Any
    weight: float


def compile_schema(schema: Mapping[str, Any], name: str, limits: Limits) -> CompiledSchema:
    """Raises `LimitExceeded` for a schema that is too large or too deep, `InvalidInput` naming the field `name` for one
    that is none, refers to another document or to itself in a circle, or costs too much to check."""
    encode_within(schema, name, limits.tool_schema, limits.tool_schema_depth)
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise _invalid(name, f"must be written in JSON Schema 2020-12 ({DIALECT})")
    try:
        weight = _Walk(schema).weigh()
        options = _pattern_options(_PATTERN_SIZES[-1])
        validator = jsonschema_rs.Draft202012Validator(dict(schema), pattern_options=options, offline=True)
    except jsonschema_rs.ValidationError as error:
        where = ".".join([name, *map(str, error.instance_path)])
        raise _invalid(_shortened(where), f"is no JSON Schema: {_shortened(error.message)}") from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise _invalid(name, f"is no JSON Schema: {_shortened(str(error))}") from None
    except _Refused as error:
        raise _invalid(name, str(error)) from None
    return CompiledSchema(validator, weight)


def find_faults(schema: CompiledSchema, value: Any, name: str, limits: Limits) -> tuple[Fault, ...]:
    """What is wrong with a value, at most ten faults of it; none for one that fits."""
    try:
        size = len(encode_within(value, name, limits.tool_values, limits.tool_schema_depth).encode())
    except (InvalidInput, LimitExceeded) as error:
        return (Fault("", str(error)),)
    work = schema.weight * size
    if work > MOST_WORK:
        return (Fault("", f"{name}, {size:,} bytes, are too large for what their schema costs to check"),)
    if schema.validator.is_valid(value):
        return ()
    if work > TOLD_WORK:
        return (Fault("", f"{name} do not fit their schema, and are too large to say where"),)
    return tuple(
        Fault(_shortened("/".join(map(str, fault.instance_path))), _shortened(fault.message))
        for fault, _ in zip(schema.validator.iter_errors(value), range(_SHOWN_FAULTS), strict=False)
    )


@dataclass
class Validators:
    """Compiled schemas, the last used ones up to a weight. Whoever uses two schemas has two keys for them."""

    most: float
    _kept: OrderedDict[Hashable, CompiledSchema] = field(default_factory=OrderedDict)
    _weight: float = 0
    _lock: Lock = field(default_factory=Lock)

    def get(self, key: Hashable, schema: Mapping[str, Any], name: str, limits: Limits) -> CompiledSchema:
        """Raises as `compile_schema`."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        compiled = compile_schema(schema, name, limits)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = compiled
                self._weight += compiled.weight
            while self._weight > self.most:
                self._weight -= self._kept.popitem(last=False)[1].weight
        return compiled

    def __len__(self) -> int:
        return len(self._kept)


class _Walk:
    """Every subschema once, in the places where 2020-12 has them and where a reference points."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._known: dict[int, _Measure] = {}
        self._inside: set[int] = set()
        self._patterns: dict[str, float] = {}

    def weigh(self) -> float:
        """Raises `_Refused`."""
        weight = self._measure(self.root, 0).weight
        if weight > MOST_WEIGHT:
            raise _Refused(_TOO_HEAVY)
        return weight

    def _measure(self, node: Any, depth: int) -> _Measure:
        if not isinstance(node, Mapping):
            return _Measure(1, 1)
        if id(node) in self._inside:
            raise _Refused("refers to itself in a circle; write out as many levels as there may be")
        if id(node) not in self._known:
            self._inside.add(id(node))
            self._known[id(node)] = self._add_up(node, depth)
            self._inside.remove(id(node))
        return self._known[id(node)]

    def _add_up(self, node: Mapping[str, Any], depth: int) -> _Measure:
        if "$id" in node and node is not self.root:
            raise _Refused("may have an $id only at its top")
        if "$dynamicRef" in node or "$recursiveRef" in node:
            raise _Refused("may refer to its own parts by $ref alone")
        for definition in _defined(node):
            self._measured(definition, depth)
        parts = [self._measured(part, depth) for part in self._parts(node)]
        height = 1 + max((part.height for part in parts), default=0)
        if height > DEEPEST:
            raise _Refused(f"is more than {DEEPEST} subschemas deep, references followed")
        factor = _UNEVALUATED_FACTOR if "unevaluatedProperties" in node or "unevaluatedItems" in node else 1
        return _Measure(self._own_weight(node) + factor * sum(part.weight for part in parts), height)

    def _own_weight(self, node: Mapping[str, Any]) -> float:
        values = sum(len(orjson.dumps(node[keyword])) for keyword in _VALUES if keyword in node)
        patterns = [node["pattern"]] if "pattern" in node else []
        if isinstance(node.get("patternProperties"), Mapping):
            patterns += node["patternProperties"]
        return 1 + values / _BYTES_PER_WEIGHT + sum(map(self._weigh_pattern, patterns))

    def _weigh_pattern(self, pattern: Any) -> float:
        if pattern not in self._patterns:
            if sum(self._patterns.values()) > MOST_WEIGHT:
                raise _Refused(_TOO_HEAVY)
            self._patterns[pattern] = _WEIGHT_PER_KIB * _size_of_pattern(pattern)
        return self._patterns[pattern]

    def _measured(self, node: Any, depth: int) -> _Measure:
        if depth >= DEEPEST:
            raise _Refused(f"is more than {DEEPEST} subschemas deep, references followed")
        return self._measure(node, depth + 1)

    def _parts(self, node: Mapping[str, Any]) -> Iterator[Any]:
        if "$ref" in node:
            yield self._follow(node["$ref"])
        for keyword, value in node.items():
            if keyword in _ONE:
                yield value
            elif keyword in _LISTS and isinstance(value, list):
                yield from value
            elif keyword in _MAPS and isinstance(value, Mapping):
                yield from value.values()

    def _follow(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _Refused("may refer to its own parts alone, as #/$defs/name: nothing is fetched")
        found: Any = self.root
        try:
            for step in unquote(reference).split("/")[1:]:
                key = step.replace("~1", "/").replace("~0", "~")
                found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _Refused("refers to a part that is not there") from None
        return found


def _defined(node: Mapping[str, Any]) -> Iterator[Any]:
    """What is only there to be referred to: it costs nothing by itself."""
    for keyword in _DEFINITIONS:
        value = node.get(keyword)
        if isinstance(value, Mapping):
            yield from value.values()


def _size_of_pattern(pattern: Any) -> int:
    """KiB. Raises `jsonschema_rs.ValidationError` for what is no pattern or a larger one."""
    for size in _PATTERN_SIZES[:-1]:
        with suppress(jsonschema_rs.ValidationError):
            jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=_pattern_options(size))
            return size
    jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=_pattern_options(_PATTERN_SIZES[-1]))
    return _PATTERN_SIZES[-1]


def _pattern_options(size: int) -> jsonschema_rs.RegexOptions:
    return jsonschema_rs.RegexOptions(size_limit=size * 1024, dfa_size_limit=64 * 1024)


def _invalid(where: str, message: str) -> InvalidInput:
    return InvalidInput(f"{where} {message}", [{"field": where, "message": message, "code": "invalid_schema"}])


def _shortened(message: str) -> str:
    """It holds the value that is wrong, however large."""
    return message if len(message) <= _SHOWN_CHARACTERS else f"{message[:_SHOWN_CHARACTERS]}…"

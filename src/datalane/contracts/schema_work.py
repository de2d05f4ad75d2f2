"""How much work it is to check a value by a schema, before it is done.

A schema of a few lines can ask for more steps than there are atoms: `allOf` of twice the same reference, forty levels
deep, or a recursive `anyOf` whose branches all go on. The library that checks has no bound of its own, so the work is
counted first: each schema at each place of the value, as often as it is come to, weighed by how much there is to
compare. A step is at most some 30 ns. Mostly there are fewer, since the library stops at the first fault.

Schemas are nodes. An edge leads from a schema to those that look at the same value (`$ref`, `allOf`, `if`, ...) or at a
part of it (`properties`, `items`, ...). Edges of the first kind are folded into the node that they begin at.

What weighs more than it looks, in version 0.60 of the library: numbers are compared as fractions, which takes 1 µs and
with an exponent of -300 up to 40 µs; arrays of up to 15 are unique when each differs from each; below `unevaluated…`
each level costs up to three times the one inside it, to compile and to check.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from datalane.contracts.json_schema import find
from datalane.errors import InvalidInput, LimitExceeded

LARGEST_PATTERNS = 256
"""KiB of all patterns when compiled."""
_HERE = ("not", "if", "then", "else")
_HERE_MANY = ("allOf", "anyOf", "oneOf")
_PARTS = ("items", "additionalProperties", "contains", "unevaluatedItems", "unevaluatedProperties")
_UNEVALUATED = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_LIGHT = frozenset(
    {"title", "description", "examples", "default", "$comment", "$schema", "$id", "format", "uniqueItems"}
    | {f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items", "Properties", "Contains")}
)
"""What takes one step, or none, whatever it says."""
_LONGEST_CHAIN = 64
"""References and combinations that lead on without going into a value: the library descends them one by one."""
_MOST_FOLDED = 50_000
_MOST_OWN = 1_000_000
_MOST_COUNTED = 300_000
_CHARACTERS_PER_STEP = 32
_NUMBER = 64
_UNIQUE_PER_BYTE = 1_500
_PATTERN_KIB = (2, 4, 8, 16, 32, 64, 128, LARGEST_PATTERNS)
_STEPS_PER_KIB = 7
_FLAGS = re.compile(r"(?<!\\)(?:\\\\)*\(\?(?!P<)[a-zA-Z-]")

_META = jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"}, offline=True)

Key = int
"""Of a node: the identity of its schema, which is kept as long as the graph."""


@dataclass(slots=True)
class _Node:
    """`own` is what it compares itself, `text` what its patterns do with each byte, `unique` how often it asks for
    unique items. `parts` go into every part of a value, `members` into one of that name, `names` into the names of its
    members. The numbers say how often. `branches` says that `anyOf` or `oneOf` is among it."""

    own: int = 1
    text: int = 0
    unique: int = 0
    here: Counter[Key] = field(default_factory=Counter)
    parts: Counter[Key] = field(default_factory=Counter)
    names: Counter[Key] = field(default_factory=Counter)
    members: dict[str, Counter[Key]] = field(default_factory=dict)
    branches: bool = False

    @property
    def edges(self) -> list[Counter[Key]]:
        """Those into parts of a value."""
        return [self.parts, self.names, *self.members.values()]

    @property
    def most_per_byte(self) -> int:
        return self.own + self.text + self.unique * _UNIQUE_PER_BYTE

    def fold(self, other: _Node, times: int) -> int:
        """Take over what `other` does with the same value. Answers how many entries that were."""
        self.own += times * other.own
        self.text += times * other.text
        self.unique += times * other.unique
        self.branches |= other.branches
        pairs = [(self.parts, other.parts), (self.names, other.names)]
        pairs += [(self.members.setdefault(name, Counter()), keys) for name, keys in other.members.items()]
        for mine, theirs in pairs:
            for key, count in theirs.items():
                mine[key] += times * count
        return 1 + sum(len(theirs) for _, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Steps:
    """At most so many in `all`, and below one `anyOf` or `oneOf` at one place of the value in `branching`."""

    all: int
    branching: int


class SchemaWork:
    """The work that a schema asks for.

    Raises `jsonschema_rs.ValidationError` for what is no schema, `InvalidInput` for a reference that leads nowhere,
    beyond the schema, or back to itself without going into a value, for another base or dialect inside, and for what is
    no pattern, `LimitExceeded` for a schema that is too entangled to count and for patterns that are too large.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._start = id(schema)
        self._nodes: dict[Key, _Node] = {}
        self._again = 1
        self._targets: list[Any] = [schema]
        self.patterns: dict[str, int] = {}
        """Their sizes when compiled, in KiB."""
        while self._targets:
            target = self._targets.pop()
            if id(target) not in self._nodes:  # the whole, and what stands where no schema is looked for
                _META.validate(target)
                self._read(target)
        self._fold()
        self.whole = self._expanded()
        """Steps for each byte of a value if every schema looks at it; None where that has no end, by recursion."""

    def steps(self, value: Any) -> Steps:
        """Raises `LimitExceeded` where even counting them takes too long."""
        count = _Count(self._nodes)
        return Steps(count.of(self._start, value), count.branching)

    def _read(self, schema: Any) -> None:
        waiting = [schema]
        while waiting:
            at = waiting.pop()
            if id(at) in self._nodes:
                continue
            node = self._nodes[id(at)] = _Node()
            if not isinstance(at, Mapping):
                continue
            self._check_words(at)
            for word, value in at.items():
                found = self._add(node, word, value)
                waiting += found
                node.own += 1 if found and word != "not" else _own_size(word, value)

    def _check_words(self, schema: Mapping[str, Any]) -> None:
        inner = ("$id", "$schema") if schema is not self._root else ()
        for word in ("$dynamicRef", "$recursiveRef", *inner):
            if word in schema:
                raise InvalidInput(f"{word} is not taken here: a schema is one document that refers to itself by $ref")
        if _UNEVALUATED & schema.keys():
            self._again = 3

    def _add(self, node: _Node, word: str, value: Any) -> list[Any]:
        """The schemas under a keyword, which become edges of the node."""
        found: list[Any] = []
        if word == "$ref":
            target = self._target(value)
            self._targets.append(target)
            node.here[id(target)] += 1
        elif word in _HERE or word in _HERE_MANY or word == "dependentSchemas":
            found = [value] if word in _HERE else _listed(value)
            node.branches |= word in {"anyOf", "oneOf"}
            node.here.update(map(id, found))
        elif word in _PARTS or word == "prefixItems" or word == "patternProperties":
            found = [value] if word in _PARTS else _listed(value)
            for _ in range(3 if word == "contains" else 1):  # it is asked again for what is not evaluated
                node.parts.update(map(id, found))
            if word == "patternProperties":
                node.own += _size([*value])
                node.text += 2 * sum(map(self._weigh_pattern, value))
        elif word == "propertyNames":
            found = [value]
            node.names[id(value)] += 1
        elif word == "properties":
            found = _listed(value)
            for name, each in value.items():
                node.members.setdefault(name, Counter())[id(each)] += 1
        elif word in ("$defs", "definitions"):
            found = _listed(value)
        elif word == "pattern":
            node.text += self._weigh_pattern(value)
        elif word == "uniqueItems":
            node.unique += value is True
        return found

    def _weigh_pattern(self, pattern: str) -> int:
        """Steps for each byte."""
        if pattern not in self.patterns:
            self.patterns[pattern] = _measure_pattern(pattern)
            if sum(self.patterns.values()) > LARGEST_PATTERNS:
                raise LimitExceeded(f"its patterns are more than {LARGEST_PATTERNS} KiB when compiled")
        return self.patterns[pattern] * _STEPS_PER_KIB

    def _target(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise InvalidInput(f"the reference {reference[:200]!r} leads beyond the schema; nothing is fetched")
        found = find(self._root, unquote(reference))
        if found is None:
            raise InvalidInput(f"the reference {reference[:200]!r} leads nowhere")
        if not isinstance(found, Mapping | bool):
            raise InvalidInput(f"the reference {reference[:200]!r} leads to what is no schema")
        return found

    def _fold(self) -> None:
        """Innermost first, so that what is folded in is complete."""
        chains, folded = dict[Key, int](), 0
        try:
            order = list(TopologicalSorter({key: node.here.keys() for key, node in self._nodes.items()}).static_order())
        except CycleError as error:
            raise InvalidInput("a reference of the schema leads back to itself without going into a value") from error
        for key in order:
            node = self._nodes[key]
            chains[key] = 1 + max((chains[each] for each in node.here), default=0)
            if chains[key] > _LONGEST_CHAIN:
                raise LimitExceeded(f"it has more than {_LONGEST_CHAIN} references or combinations in a row")
            for each, times in node.here.items():
                folded += node.fold(self._nodes[each], self._again * times)
                if folded > _MOST_FOLDED:
                    break
            if folded > _MOST_FOLDED or node.own > _MOST_OWN:
                raise LimitExceeded("it is too entangled, or too large: too much of it looks at the same value")

    def _expanded(self) -> int | None:
        try:
            graph = {key: {each for keys in node.edges for each in keys} for key, node in self._nodes.items()}
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            return None
        total = dict[Key, int]()
        for key in order:
            node = self._nodes[key]
            inside = sum(times * total[each] for keys in node.edges for each, times in keys.items())
            total[key] = node.most_per_byte + inside
        return total[self._start]


@dataclass(slots=True)
class _Count:
    nodes: Mapping[Key, _Node]
    left: int = _MOST_COUNTED
    branching: int = 0
    known: dict[tuple[Key, int], int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def of(self, key: Key, value: Any) -> int:
        self._spend(1)
        node = self.nodes[key]
        if isinstance(value, dict | list):
            asked = (key, id(value))
            if asked not in self.known:
                inside = self._in_object(node, value) if isinstance(value, dict) else self._in_array(node, value)
                self.known[asked] = self._here(node, value) + inside
            steps = self.known[asked]
        elif isinstance(value, str):
            steps = node.own * (1 + len(value) // _CHARACTERS_PER_STEP)
            steps += node.text * len(value.encode()) if node.text else 0
        else:
            steps = node.own * (1 + _exponent(value) // 128)
        if node.branches and steps > self.branching:
            self.branching = steps
        return steps

    def _here(self, node: _Node, value: dict[str, Any] | list[Any]) -> int:
        """Steps at a container itself."""
        if isinstance(value, dict):
            bytes_of_names = sum(map(len, map(str.encode, value)))
            return node.own * (1 + len(value) + bytes_of_names // _CHARACTERS_PER_STEP) + node.text * bytes_of_names
        steps = node.own * (1 + len(value))
        if node.unique:
            compared = (1 + len(value) // 2) if len(value) <= 15 else 1
            steps += node.unique * compared * self._size(value)
        return steps

    def _in_array(self, node: _Node, value: list[Any]) -> int:
        return sum(times * sum(self.of(key, part) for part in value) for key, times in node.parts.items())

    def _in_object(self, node: _Node, value: dict[str, Any]) -> int:
        steps = 0
        for name, part in value.items():
            self._spend(1)
            for key, times in node.parts.items():
                steps += times * self.of(key, part)
            for key, times in node.members[name].items() if name in node.members else ():
                steps += times * self.of(key, part)
            for key, times in node.names.items():
                steps += times * self.of(key, name)
        return steps

    def _size(self, value: Any) -> int:
        """As `_size`, remembered: arrays inside one another ask for it again and again."""
        if not isinstance(value, list):
            self._spend(1)
            return _size(value)
        if id(value) not in self.sizes:
            self.sizes[id(value)] = 1 + sum(map(self._size, value))
        return self.sizes[id(value)]

    def _spend(self, counted: int) -> None:
        self.left -= counted
        if self.left < 0:
            raise LimitExceeded("it is too large to be checked by this schema")


def _own_size(word: str, value: Any) -> int:
    """Steps of a keyword itself."""
    if word in _LIGHT or word in ("$defs", "definitions") or (word in _BOUNDS and isinstance(value, int)):
        return 1
    return _size(value) * (4 if word == "multipleOf" else 1)


def _size(value: Any) -> int:
    """Values in a value; numbers and long texts by what comparing them takes."""
    total, waiting = 0, [value]
    while waiting:
        at = waiting.pop()
        total += 1
        if isinstance(at, dict):
            waiting += [*at, *at.values()]
        elif isinstance(at, list):
            waiting += at
        elif isinstance(at, str):
            total += len(at) // _CHARACTERS_PER_STEP
        elif at is not None and not isinstance(at, bool):
            total += _NUMBER * (1 + _exponent(at) // 50)
    return total


def _exponent(value: Any) -> int:
    """Binary digits before or behind the point, about."""
    return abs(math.frexp(value)[1]) if isinstance(value, int | float) else 0


def _listed(value: Any) -> list[Any]:
    return list(value.values() if isinstance(value, Mapping) else value)


def _measure_pattern(pattern: str) -> int:
    """KiB of it when compiled: its worst time goes by that, for each byte. Raises `InvalidInput`."""
    if _FLAGS.search(pattern):  # to fold the cases of one class of Unicode takes 3 ms
        raise InvalidInput(f"{pattern[:200]!r} sets flags, as (?i) does, which patterns of JSON Schema do not have")
    for size in _PATTERN_KIB:
        with suppress(jsonschema_rs.ValidationError):
            jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=pattern_options(size))
            return size
    raise InvalidInput(
        f"{pattern[:200]!r} is no pattern that runs in linear time (lookaround, references back), or more than "
        f"{LARGEST_PATTERNS} KiB when compiled"
    )


def pattern_options(size: int = LARGEST_PATTERNS) -> jsonschema_rs.RegexOptions:
    """Linear time, up to `size` KiB, and little memory for what is remembered of the texts."""
    return jsonschema_rs.RegexOptions(size_limit=size * 1024, dfa_size_limit=64 * 1024)

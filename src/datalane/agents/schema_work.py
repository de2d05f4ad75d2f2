"""How much work it is to check an output by a schema, before it is done.

A schema of a few lines can ask for more steps than there are atoms: `allOf` of twice the same reference, forty levels
deep, or a recursive `anyOf` whose branches all go on. The library that checks has no bound of its own, so the work is
counted first: each schema at each place of the output, as often as it is come to, weighed by how much there is to
compare. That is never less than what the library does, and mostly more, since that stops at the first fault.

Schemas are nodes. An edge leads from a schema to those that look at the same value (`$ref`, `allOf`, `if`, ...) or at a
part of it (`properties`, `items`, ...). Edges of the first kind are folded into the node that they begin at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

from datalane.contracts.json_schema import find
from datalane.errors import InvalidInput, LimitExceeded

_HERE = ("not", "if", "then", "else")
_HERE_MANY = ("allOf", "anyOf", "oneOf")
_PARTS = ("items", "additionalProperties", "contains", "unevaluatedItems", "unevaluatedProperties")
_ONLY_SAID = frozenset({"$defs", "definitions", "title", "description", "examples", "default", "$comment"})
_UNEVALUATED = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_LONGEST_CHAIN = 64
"""References and combinations that lead on without going into a value: the library descends them one by one."""
_MOST_FOLDED = 50_000
_MOST_COUNTED = 1_500_000
_CHARACTERS_PER_STEP = 32

Key = int
"""Of a node: the identity of its schema, which is kept as long as the graph."""


@dataclass
class _Node:
    """`own` is what it compares itself. `parts` go into every part of a value, `members` into one of that name, `names`
    into the names of its members. The numbers say how often. `branches` says that `anyOf` or `oneOf` is among it."""

    own: int = 1
    here: Counter[Key] = field(default_factory=Counter)
    parts: Counter[Key] = field(default_factory=Counter)
    names: Counter[Key] = field(default_factory=Counter)
    members: dict[str, Counter[Key]] = field(default_factory=dict)
    times: int = 1
    branches: bool = False

    @property
    def edges(self) -> list[Counter[Key]]:
        """Those into parts of a value."""
        return [self.parts, self.names, *self.members.values()]

    def fold(self, other: _Node, times: int) -> int:
        """Take over what `other` does with the same value. Answers how many entries that were."""
        self.own += times * other.own
        self.branches |= other.branches
        pairs = [(self.parts, other.parts), (self.names, other.names)]
        pairs += [(self.members.setdefault(name, Counter()), keys) for name, keys in other.members.items()]
        for mine, theirs in pairs:
            for key, count in theirs.items():
                mine[key] += times * count
        return 1 + sum(len(theirs) for _, theirs in pairs)

    def repeat(self) -> None:
        """Count everything as often as it is done."""
        self.own *= self.times
        for keys in self.edges:
            for key in keys:
                keys[key] *= self.times


@dataclass(frozen=True, slots=True)
class Steps:
    """At most so many in `all`, and below one `anyOf` or `oneOf` at one place of the output in `branching`."""

    all: int
    branching: int


class SchemaWork:
    """The work that a schema asks for.

    Raises `InvalidInput` for a reference that leads nowhere, beyond the schema, or back to itself without going into a
    value, `LimitExceeded` for a schema that is too entangled to count.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._start = id(schema)
        self._nodes: dict[Key, _Node] = {}
        self._read(schema)
        self._fold()
        self.whole = self._expanded()
        """Steps for one value if every schema looks at it; None where that has no end, as the schema is recursive."""

    def steps(self, output: Any) -> Steps:
        """Raises `LimitExceeded` where even counting them takes too long."""
        count = _Count(self._nodes)
        return Steps(count.of(self._start, output, {}), count.branching)

    def _read(self, schema: Any) -> None:
        waiting = [schema]
        while waiting:
            at = waiting.pop()
            if id(at) in self._nodes:
                continue
            node = self._nodes[id(at)] = _Node()
            if not isinstance(at, Mapping):
                continue
            for word, value in at.items():
                found = self._add(node, word, value)
                waiting += found
                node.own += 1 if found or word in _ONLY_SAID else _size(value)
            node.times = 2 if _UNEVALUATED & at.keys() else 1

    def _add(self, node: _Node, word: str, value: Any) -> list[Any]:
        """The schemas under a keyword, which become edges of the node."""
        if word == "$ref":
            found = [self._target(value)]
            node.here[id(found[0])] += 1
        elif word in _HERE or word in _HERE_MANY or word == "dependentSchemas":
            found = [value] if word in _HERE else list(value.values() if isinstance(value, Mapping) else value)
            node.branches |= word in {"anyOf", "oneOf"}
            node.here.update(map(id, found))
        elif word in _PARTS or word == "prefixItems" or word == "patternProperties":
            found = [value] if word in _PARTS else list(value.values() if isinstance(value, Mapping) else value)
            node.parts.update(map(id, found))
            node.own += _size([*value]) if word == "patternProperties" else 0
        elif word == "propertyNames":
            found = [value]
            node.names[id(value)] += 1
        elif word == "properties":
            found = list(value.values())
            for name, each in value.items():
                node.members.setdefault(name, Counter())[id(each)] += 1
        else:
            found = []
        return found

    def _target(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise InvalidInput(f"the reference {reference[:200]!r} leads beyond the schema")
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
                raise LimitExceeded(f"the schema has more than {_LONGEST_CHAIN} references or combinations in a row")
            for each, times in node.here.items():
                folded += node.fold(self._nodes[each], times)
                if folded > _MOST_FOLDED:
                    raise LimitExceeded("the schema is too entangled: too much of it looks at the same value")
            node.repeat()

    def _expanded(self) -> int | None:
        try:
            graph = {key: {each for keys in node.edges for each in keys} for key, node in self._nodes.items()}
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            return None
        total = dict[Key, int]()
        for key in order:
            node = self._nodes[key]
            total[key] = node.own + sum(times * total[each] for keys in node.edges for each, times in keys.items())
        return total[self._start]


@dataclass
class _Count:
    nodes: Mapping[Key, _Node]
    left: int = _MOST_COUNTED
    branching: int = 0

    def of(self, key: Key, value: Any, known: dict[tuple[Key, int], int]) -> int:
        node = self.nodes[key]
        if isinstance(value, dict | list):
            asked = (key, id(value))
            if asked not in known:
                known[asked] = node.own * (1 + len(value)) + sum(
                    times * self.of(each, part, known) for each, times, part in self._into(node, value)
                )
            steps = known[asked]
        else:
            steps = node.own * (1 + (len(value) // _CHARACTERS_PER_STEP if isinstance(value, str) else 0))
        if node.branches:
            self.branching = max(self.branching, steps)
        return steps

    def _into(self, node: _Node, value: dict[str, Any] | list[Any]) -> Iterator[tuple[Key, int, Any]]:
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in named:
            edges = [(node.parts, part)]
            if isinstance(name, str):
                edges += [(node.names, name), (node.members.get(name, Counter()), part)]
            for keys, each in edges:
                self.left -= 1 + len(keys)
                if self.left < 0:
                    raise LimitExceeded("the output is too large to be checked by this schema")
                for key, times in keys.items():
                    yield key, times, each


def _size(value: Any) -> int:
    """Values in a value, and long texts by their length."""
    total, waiting = 0, [value]
    while waiting:
        at = waiting.pop()
        total += 1 + (len(at) // _CHARACTERS_PER_STEP if isinstance(at, str) else 0)
        if isinstance(at, dict):
            waiting += [*at, *at.values()]
        elif isinstance(at, list):
            waiting += at
    return total

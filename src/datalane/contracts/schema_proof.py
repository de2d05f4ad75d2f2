"""What can be proven of schemas: that one takes all that another lets through, that several exclude each other.

The proof is jsonschema-rs's: its canonical forms answer yes, no or unknown, and only yes counts. They are experimental,
so this module alone calls them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import jsonschema_rs
import orjson
from jsonschema_rs import canonical

from datalane.contracts.json_schema import Node

_REFUSALS = (
    ValueError,
    TypeError,
    jsonschema_rs.ReferencingError,
    canonical.CanonicalizationError,
    canonical.IncompatibleOperands,
    canonical.UnsupportedOperand,
    canonical.UnsupportedResult,
)


def proves(writer: Node, reader: Node) -> bool:
    """Whether everything that `writer` declares provably passes `reader`."""
    return writer.text == reader.text or _covers(reader.text, writer.declared_text)


def exclude_each_other(nodes: list[Node]) -> bool:
    """Whether no value provably passes two of them."""
    return all(_disjoint(one.text, other.text) for one, other in combinations(nodes, 2))


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

"""Drift: what differs between a live database and the one that the migrations make.

Both are described the same way, as definitions by kind and name, and the descriptions are compared.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosql
import psycopg

from datalane.ops.guard.catalog.read import LANE_SCHEMAS
from datalane.ops.guard.rules import Fault, rule

KINDS = (
    "schemas",
    "tables",
    "columns",
    "constraints",
    "indexes",
    "policies",
    "grants",
    "functions",
    "views",
    "triggers",
    "types",
)
_ONE = {kind: kind.removesuffix("s") for kind in KINDS} | {"indexes": "index", "policies": "policy"}
_BY_SERVER = {"app.uuid7()"}
"""Functions whose body the first revision chooses by the server's version."""

Description = Mapping[str, Mapping[str, str]]
"""Kind → name → definition."""

_queries = aiosql.from_path(Path(__file__).with_name("drift.sql"), "psycopg")


def describe(connection: psycopg.Connection[Any], schemas: Sequence[str] = LANE_SCHEMAS) -> Description:
    """Everything that migrations make in `schemas`. Any login may ask."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = ''")
        return {kind: dict(getattr(_queries, f"list_{kind}")(connection, schemas=list(schemas))) for kind in KINDS}


@rule(
    "drift-missing",
    holds="everything that the migrations make is there",
    remedy="make it again as the owner, or go down and up over the revision that makes it",
    story="F1-E2-S1",
)
def check_missing(expected: Description, actual: Description) -> Iterator[Fault]:
    for kind, name in _pairs(expected, actual):
        yield Fault(name, f"the {_ONE[kind]} is missing")


@rule(
    "drift-unexpected",
    holds="nothing is there that the migrations did not make",
    remedy="drop it, or write the revision that makes it",
    story="F1-E2-S1",
)
def check_unexpected(expected: Description, actual: Description) -> Iterator[Fault]:
    for kind, name in _pairs(actual, expected):
        yield Fault(name, f"the {_ONE[kind]} is in no revision")


@rule(
    "drift-different",
    holds="everything is as the migrations made it",
    remedy="put it back as the owner, or write the revision that changes it",
    story="F1-E2-S1",
)
def check_different(expected: Description, actual: Description) -> Iterator[Fault]:
    for kind in KINDS:
        for name, definition in expected[kind].items():
            found = actual[kind].get(name, definition)
            if found != definition and name not in _BY_SERVER:
                yield Fault(name, f"the {_ONE[kind]} differs:\n{difference(definition, found)}")


def difference(expected: str, actual: str) -> str:
    """The lines that differ: `-` as migrated, `+` as found."""
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), lineterm="", n=1)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _pairs(these: Description, those: Description) -> Iterator[tuple[str, str]]:
    """What `these` has and `those` has not; the parts of a table that is itself missing are not told again."""
    tables = tuple(name + end for name in these["tables"].keys() - those["tables"].keys() for end in (".", " "))
    for kind in KINDS:
        for name in sorted(these[kind].keys() - those[kind].keys()):
            if kind == "tables" or not name.startswith(tables):
                yield kind, name

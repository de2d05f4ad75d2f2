"""Rules on the SQL in the package itself: its named queries and the strings of its Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.data import stars
from datalane.ops.guard.sql.script import Script, tokens

_STAR = re.compile(r"\b(SELECT|RETURNING)\s+\*")
_SET_CONFIG = re.compile(r"\bset_config\s*\(", re.IGNORECASE)


@rule(
    "source-no-star",
    holds="the package's own queries name their columns, so that a new column breaks no running worker",
    remedy="name the columns",
    story="F3-E1",
)
def check_queries(package: Path) -> Iterator[Fault]:
    for path, script in _queries(package):
        for _, token in stars(tokens(script.text)):
            yield Fault(path, "a star instead of columns", f"{path}:{script.line_at(token.place)}")
    for path, line in _said(package, _STAR):
        yield Fault(path, "a star instead of columns", f"{path}:{line}")


@rule(
    "source-no-set-config",
    holds="the package never calls set_config: only statements reach the workers of a sharded cluster",
    remedy="send SET LOCAL as a statement, as the door does",
    story="F2-E3",
)
def check_door(package: Path) -> Iterator[Fault]:
    for path, script in _queries(package):
        for token in tokens(script.text):
            if token.word == "SET_CONFIG":
                yield Fault(path, "set_config", f"{path}:{script.line_at(token.place)}")
    for path, line in _said(package, _SET_CONFIG):
        yield Fault(path, "set_config", f"{path}:{line}")


def _queries(package: Path) -> Iterator[tuple[str, Script]]:
    """The `.sql` files that are not revisions, nor the sources of one."""
    for path in sorted(package.rglob("*.sql")):
        place = path.relative_to(package)
        if not {"migrations", "verbs"} & set(place.parts):
            yield str(place), Script.read(path)


def _said(package: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    """File and line of the strings that match, docstrings and the checks themselves left out."""
    for path in sorted(package.rglob("*.py")):
        text, place = path.read_text(), path.relative_to(package)
        if place.parts[0] == "ops" or not pattern.search(text):
            continue
        tree = ast.parse(text)
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in docstrings:
                continue
            if isinstance(node.value, str) and pattern.search(node.value):
                yield str(place), node.lineno

"""Rules on names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.history import History
from datalane.ops.guard.sql.script import Node, Statement, enum_name, nodes, relation, strings

_SNAKE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAMED = {"CONSTR_CHECK": "CHECK", "CONSTR_UNIQUE": "UNIQUE", "CONSTR_EXCLUSION": "EXCLUDE"}


@rule(
    "sql-names",
    holds="tables, columns, constraints, indexes, policies, views and functions are named in snake_case, 63 characters "
    "at most",
    remedy="rename it to lower-case words with underscores",
    story="F1-E1-S3",
)
def check_names(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for statement in (one for script in each.up for one in script.statements):
            for what, target, name in _names(statement):
                if name and not _SNAKE.fullmatch(name):
                    yield Fault(target, f"the {what} {name!r} is not in snake_case", statement.place)


@rule(
    "sql-constraint-names",
    holds="CHECK, UNIQUE and EXCLUDE constraints have a name that says what holds",
    remedy="write CONSTRAINT total_is_positive CHECK (…)",
    story="F1-E1-S3",
)
def check_constraint_names(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for statement in (one for script in each.up for one in script.statements):
            if statement.kind not in {"create_stmt", "alter_table_stmt"}:
                continue
            for kind, node in nodes(statement.node):
                if kind == "Constraint" and not node.conname and (word := _NAMED.get(enum_name(node, "contype"))):
                    said = f"a {word} constraint without a name"
                    yield Fault(relation(statement.node.relation), said, statement.place)


def _names(statement: Statement) -> Iterator[tuple[str, str, str]]:
    """What it is, on what, and its name."""
    node = statement.node
    match statement.kind:
        case "create_stmt":
            yield "table", relation(node.relation), node.relation.relname
            yield from _inner_names(node, relation(node.relation))
        case "alter_table_stmt":
            yield from _inner_names(node, relation(node.relation))
        case "index_stmt":
            yield "index", relation(node.relation), node.idxname
        case "create_policy_stmt":
            yield "policy", relation(node.table), node.policy_name
        case "view_stmt":
            yield "view", relation(node.view), node.view.relname
        case "create_function_stmt":
            name = strings(node.funcname)
            yield "function", ".".join(name), name[-1]
        case "rename_stmt":
            yield "new name", relation(node.relation), node.newname


def _inner_names(node: Node, target: str) -> Iterator[tuple[str, str, str]]:
    for kind, inner in nodes(node):
        if kind == "ColumnDef":
            yield "column", target, inner.colname
        elif kind == "Constraint":
            yield "constraint", target, inner.conname

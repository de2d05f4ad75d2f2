"""Rules on data in revisions, and on statements that name no columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.functions import bodies
from datalane.ops.guard.sql.history import History
from datalane.ops.guard.sql.script import Node, Statement, Token, nodes, relation, strings, tokens

_WRITES = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "TruncateStmt": "TRUNCATE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "IntoClause": "SELECT INTO",
    "CallStmt": "CALL",
}
_FUNCTION = frozenset({"CreateFunctionStmt"})
_BEGINNINGS = {";", "BEGIN", "THEN", "ELSE", "LOOP", "$$", ""}
_WORDS = {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY"}


@rule(
    "sql-no-dml",
    holds="no revision writes rows: row-level security is forced, so it would touch none, and say nothing",
    remedy="make the backfill a job per workspace that goes through the door and states the rows it expects",
    story="F1-E2-S1",
)
def check_dml(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for statement in (one for script in (*each.up, *each.down) for one in script.statements):
            for word, target in _writes(statement):
                yield Fault(target, f"{word} in a revision", statement.place)


@rule(
    "sql-no-copy",
    holds="no COPY: COPY FROM fails behind the wall, COPY TO goes round the door",
    remedy="load with INSERT … SELECT FROM unnest(…) through the door",
    story="F2-E3",
)
def check_copy(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for script in (*each.up, *each.down):
            for statement in script.statements:
                if statement.kind == "copy_stmt":
                    yield Fault(relation(statement.node.relation), "COPY in a revision", statement.place)
            for body in bodies(script):
                if "COPY" in _begun(tokens(body.text)):
                    yield Fault(body.name, "COPY in a function", body.place)


@rule(
    "sql-no-star",
    holds="columns are named: no SELECT * and no RETURNING *, so that a new column breaks no running worker",
    remedy="name the columns; a row variable of PL/pgSQL may take alias.*",
    story="F3-E1",
)
def check_stars(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for script in (*each.up, *each.down):
            for statement in script.statements:
                for kind, _ in nodes(statement.node):
                    if kind == "A_Star":
                        yield Fault(_target(statement), "a star instead of columns", statement.place)
            for body in bodies(script):
                for shown, _ in stars(tokens(body.text), qualified=body.language != "plpgsql"):
                    yield Fault(body.name, f"{shown} instead of columns", body.place)


@rule(
    "sql-no-set-config",
    holds="no set_config: settings made by it do not reach the workers of a sharded cluster",
    remedy="send SET LOCAL as a statement, as the door does",
    story="F2-E3",
)
def check_set_config(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for script in (*each.up, *each.down):
            for statement in script.statements:
                for kind, node in nodes(statement.node):
                    if kind == "FuncCall" and strings(node.funcname)[-1] == "set_config":
                        yield Fault(_target(statement), "set_config", statement.place)
            for body in bodies(script):
                if "SET_CONFIG" in {token.word for token in tokens(body.text)}:
                    yield Fault(body.name, "set_config", body.place)


def stars(found: Sequence[Token], qualified: bool = True) -> Iterator[tuple[str, Token]]:
    """The stars that stand for columns; with `qualified` false only bare ones, not `alias.*`."""
    for before, token in pairwise(found):
        if token.text != "*":
            continue
        if before.word in {"SELECT", "RETURNING", "DISTINCT", "ALL", ","} or (qualified and before.text == "."):
            yield (f"{before.text}*" if before.text == "." else f"{before.word} *"), token


def _writes(statement: Statement) -> Iterator[tuple[str, str]]:
    """What it writes to: a word for the deed and its target."""
    if statement.kind == "do_stmt":
        for body in bodies(statement.script):
            if body.statement is statement:
                for word in _begun(tokens(body.text)):
                    yield f"{word} in a DO block", _target(statement)
        return
    for kind, node in nodes(statement.node, below=_FUNCTION):
        if kind == "IntoClause" and statement.kind == "create_table_as_stmt":
            continue
        if kind in _WRITES:
            yield _WRITES[kind], relation(node.relation) if _has_relation(node) else _target(statement)
        elif kind == "FuncCall" and statement.kind == "select_stmt" and _is_verb(node):
            yield f"the call of {'.'.join(strings(node.funcname))}", _target(statement)


def _is_verb(call: Node) -> bool:
    """Whether it calls a verb of the lane, which may write; `app` holds what changes the schema only."""
    name = strings(call.funcname)
    return len(name) > 1 and name[0] not in {"app", "pg_catalog"}


def _has_relation(node: Node) -> bool:
    return "relation" in node.DESCRIPTOR.fields_by_name and bool(node.HasField("relation"))


def _begun(found: Sequence[Token]) -> Iterator[str]:
    """The writing statements of a body, also those in the strings that it executes."""
    before = ""
    for token in found:
        if token.word in _WORDS and before in _BEGINNINGS:
            yield token.word
        elif token.text[:1] in {"'", "$"}:
            inner = token.text.lstrip("'$ \n").partition(" ")[0].upper()
            if inner in _WORDS:
                yield inner
        before = token.word


def _target(statement: Statement) -> str:
    """What a statement is about, for a message."""
    node = statement.node
    for attribute in ("relation", "view", "table"):
        if attribute in node.DESCRIPTOR.fields_by_name and hasattr(getattr(node, attribute), "relname"):
            return relation(getattr(node, attribute))
    for attribute in ("funcname",):
        if attribute in node.DESCRIPTOR.fields_by_name:
            return ".".join(strings(getattr(node, attribute)))
    return statement.script.path.name

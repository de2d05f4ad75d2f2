"""Rules on the tables that revisions make: their class, their keys, their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datalane.contracts.authorization import CLASS_RULES
from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.history import WORKSPACE, History, protections
from datalane.ops.guard.sql.script import enum_name, relation, strings


@rule(
    "sql-parses",
    holds="every script is SQL that PostgreSQL can parse",
    remedy="mend the statement",
    story="F1-E2-S1",
    waivable=False,
)
def check_parses(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for script in (*each.up, *each.down):
            if script.error is not None:
                yield Fault(script.path.name, f"it cannot be parsed: {script.error}", script.path.name)


@rule(
    "sql-table-class",
    holds="every new table declares a known policy class in the revision that makes it",
    remedy="add SELECT app.protect('schema.table', 'tenant') after the table, or another class",
    story="F2-E3",
)
def check_class(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        statements = [statement for script in each.up for statement in script.statements]
        declared = {one.target: one for statement in statements for one in protections(statement)}
        for one in declared.values():
            if one.policy_class not in CLASS_RULES:
                yield Fault(one.target, f"{one.policy_class!r} is no policy class", one.place)
        for table in history.made_in(each):
            if not table.partition and table.name not in declared:
                yield Fault(table.name, "no policy class is declared", table.place)


@rule(
    "sql-table-schema",
    holds="every new table names its schema",
    remedy="write CREATE TABLE schema.table",
    story="F1-E1-S3",
)
def check_schema(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for table in history.made_in(each):
            if "." not in table.name:
                yield Fault(table.name, "no schema; it would land wherever the search path leads", table.place)


@rule(
    "sql-workspace-column",
    holds="every table of tenants' rows has workspace_id uuid NOT NULL",
    remedy="add workspace_id uuid NOT NULL, or declare the table global if its rows belong to no workspace",
    story="F2-E3",
)
def check_workspace(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for table in history.tables.values():
        if table.partition or not table.tenant:
            continue
        if WORKSPACE not in table.columns:
            yield Fault(table.name, "no column workspace_id", table.place)
        elif table.columns[WORKSPACE] != "uuid":
            yield Fault(table.name, f"workspace_id is {table.columns[WORKSPACE]}, not uuid", table.place)
        elif WORKSPACE not in table.required:
            yield Fault(table.name, "workspace_id may be null", table.place)


@rule(
    "sql-keys",
    holds="primary keys, unique constraints and unique indexes of tenants' rows begin with workspace_id",
    remedy="begin the key with workspace_id; a key without it tells one workspace what another has, "
    "and cannot be sharded",
    story="F2-E3",
)
def check_keys(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for table in history.tables.values():
        for key in table.keys if table.tenant else ():
            if key.columns[:1] != (WORKSPACE,):
                shown = f"{key.kind} {key.name or ''}".strip()
                yield Fault(table.name, f"the {shown} on ({', '.join(key.columns)})", key.place)


@rule(
    "sql-foreign-keys",
    holds="a foreign key from tenants' rows to tenants' rows holds workspace_id on both sides",
    remedy="write FOREIGN KEY (workspace_id, x_id) REFERENCES other (workspace_id, id), so that no row can point into "
    "another workspace",
    story="F2-E3",
)
def check_foreign_keys(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for table in history.tables.values():
        for key in table.foreign_keys if table.tenant else ():
            references = key.references or history.primary_key(key.target)
            paired = dict(zip(key.columns, references, strict=False))
            if history.is_tenant(key.target) and paired.get(WORKSPACE) != WORKSPACE:
                said = f"the foreign key ({', '.join(key.columns)}) to {key.target} does not hold the workspace"
                yield Fault(table.name, said, key.place)


@rule(
    "sql-no-enum",
    holds="no enum types: their comparison is not leakproof, so an index on one is out of reach behind the wall",
    remedy="use text with a named CHECK constraint",
    story="F2-E3",
)
def check_enums(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for each in revisions:
        for statement in (one for script in each.up for one in script.statements):
            if statement.kind in {"create_enum_stmt", "alter_enum_stmt"}:
                yield Fault(".".join(strings(statement.node.type_name)), "it is an enum type", statement.place)


@rule(
    "sql-wall-stays",
    holds="no revision lowers the wall: row-level security stays enabled and forced",
    remedy="leave row-level security on; give a role that needs more a policy of its own",
    story="F2-E3",
)
def check_wall(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    lowered = {"AT_DisableRowSecurity": "DISABLE", "AT_NoForceRowSecurity": "NO FORCE"}
    for each in revisions:
        for statement in (one for script in each.up for one in script.statements):
            for command in statement.node.cmds if statement.kind == "alter_table_stmt" else ():
                if word := lowered.get(enum_name(command.alter_table_cmd, "subtype")):
                    target = relation(statement.node.relation)
                    yield Fault(target, f"{word} ROW LEVEL SECURITY", statement.place)

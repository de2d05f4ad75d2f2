"""Rules on policies, triggers and views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.history import History
from datalane.ops.guard.sql.script import Statement, enum_name, nodes, relation


@rule(
    "sql-policy-subquery",
    holds="no policy holds a subquery: it ruins row estimates, and sharded clusters refuse it",
    remedy="compare with app.workspace_id(), app.actor_id() or app.actor_rank()",
    story="F2-E3",
)
def check_subqueries(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for statement in _statements(revisions):
        if statement.kind in {"create_policy_stmt", "alter_policy_stmt"} and any(
            kind == "SubLink" for kind, _ in nodes(statement.node)
        ):
            said = f"the policy {statement.node.policy_name} holds a subquery"
            yield Fault(relation(statement.node.table), said, statement.place)


@rule(
    "sql-no-trigger",
    holds="no trigger and no rewrite rule on a table of tenants' rows; invariants live in constraints and verbs",
    remedy="put the invariant into a constraint, or the effect into the verb that writes the row",
    story="F2-E3",
)
def check_triggers(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for statement in _statements(revisions):
        node = statement.node
        if statement.kind == "create_trig_stmt" and history.is_tenant(relation(node.relation)):
            yield Fault(relation(node.relation), f"the trigger {node.trigname}", statement.place)
        elif statement.kind == "rule_stmt" and history.is_tenant(relation(node.relation)):
            yield Fault(relation(node.relation), f"the rewrite rule {node.rulename}", statement.place)
        elif statement.kind == "create_event_trig_stmt":
            yield Fault(node.trigname, "it is an event trigger, which fires for every table", statement.place)


@rule(
    "sql-view-invoker",
    holds="a view runs with its caller's rights, so that the wall stands behind it too; none is materialised",
    remedy="write CREATE VIEW … WITH (security_invoker = true) AS …",
    story="F2-E3",
)
def check_views(revisions: Sequence[Revision], history: History) -> Iterator[Fault]:
    for statement in _statements(revisions):
        node = statement.node
        if statement.kind == "view_stmt" and not _runs_as_invoker(statement):
            yield Fault(relation(node.view), "the view runs with its owner's rights", statement.place)
        elif statement.kind == "create_table_as_stmt" and enum_name(node, "objtype") == "OBJECT_MATVIEW":
            said = "a materialised view has no row-level security"
            remedy = "make it a table with a policy class that a job fills, workspace by workspace"
            yield Fault(relation(node.into.rel), said, statement.place, remedy)


def _runs_as_invoker(statement: Statement) -> bool:
    for each in statement.node.options:
        if each.def_elem.defname == "security_invoker":
            argument = each.def_elem.arg
            said = argument.string.sval or ("on" if argument.integer.ival or not argument.WhichOneof("node") else "off")
            return said.lower() in {"on", "true", "yes", "1"}
    return False


def _statements(revisions: Sequence[Revision]) -> Iterator[Statement]:
    for each in revisions:
        for script in each.up:
            yield from script.statements

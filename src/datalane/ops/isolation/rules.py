"""What can be read off the catalog without trying: the shape that a class gives a table, and the roles' rights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from datalane.contracts.authorization import CLASS_RULES
from datalane.contracts.context import Role
from datalane.db.roles import Roles
from datalane.ops.isolation.catalog import WORKSPACE, Catalog, DatabaseRole, Grant, Policy, Table
from datalane.ops.isolation.oracle import ADMINS_KINDS, COMMANDS, READ_BY_ALL, Oracle

OWN = f"({WORKSPACE} = app.workspace_id())"
_KIND_IS_OPEN = f"((app.actor_rank() >= {Role.ADMIN.rank}) OR (kind <> ALL (datalane.admins_kinds())))"
_PRIVILEGES = frozenset(command.upper() for command in COMMANDS)


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is `catalog` or `lint`; `subject` the table, verb or role."""

    kind: str
    subject: str
    says: str

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "subject": self.subject, "says": self.says}


def table_faults(catalog: Catalog, oracle: Oracle, tables: Iterable[Table]) -> Iterator[Fault]:
    """Everything that is wrong with these tables, partitions and views."""
    for table in tables:
        if table.is_view:
            told = _view(table, catalog.roles)
        elif table.parent is not None:
            told = _partition(table)
        else:
            told = _table(catalog, oracle, table)
        for says in told:
            yield Fault("catalog", table.name, says)


def role_faults(roles: Roles, found: Iterable[DatabaseRole]) -> Iterator[Fault]:
    """Rights that a role should not have. They belong to the whole cluster."""
    steps = {roles.login: {*roles.doors}, roles.maintenance: {roles.owner, roles.definer}}
    for role in found:
        told = [
            says
            for says, wrong in (
                ("is a superuser", role.superuser),
                ("bypasses row-level security", role.bypasses),
                ("inherits what its roles may", role.inherits),
                ("makes roles", role.makes_roles),
                ("makes databases", role.makes_databases),
                ("logs in", role.logs_in and role.name not in roles.logins),
            )
            if wrong
        ]
        for membership in role.member_of:
            if membership.role not in steps.get(role.name, set()):
                told.append(f"may step into {membership.role}")
            elif membership.inherits or membership.administers:
                told.append(f"inherits or hands on {membership.role}")
        if role.name not in {roles.owner, roles.definer}:
            told += [f"creates things in the schema {schema}" for schema in role.creates_in]
        for says in told:
            yield Fault("catalog", role.name, says)


def _table(catalog: Catalog, oracle: Oracle, table: Table) -> Iterator[str]:
    if table.policy_class not in CLASS_RULES:
        yield f"it declares no policy class; run SELECT app.protect('{table.name}', '…') in its migration"
    if table.kind == "f":
        yield "it is a foreign table, which no policy holds"
    if table.owner != catalog.roles.owner:
        yield f"it belongs to {table.owner}, not to {catalog.roles.owner}"
    yield from _security(table)
    yield from _grants(catalog.roles, oracle, table)
    yield from _policies(catalog.roles, oracle, table)
    if table.policy_class != "global":
        yield from _keys(catalog, table)


def _security(table: Table) -> Iterator[str]:
    if not table.secured:
        yield "row-level security is not enabled"
    if not table.forced:
        yield "row-level security is not forced, so that it does not hold its owner"


def _partition(table: Table) -> Iterator[str]:
    yield from _security(table)
    for grant in table.grants:
        yield f"{grant.role} holds {grant.privilege} on the partition itself"


def _view(table: Table, roles: Roles) -> Iterator[str]:
    if table.kind == "m":
        yield "it is materialized, and no policy holds what it has stored"
    elif "security_invoker=true" not in table.options:
        yield "it asks with its owner's rights; make it WITH (security_invoker = true)"
    for grant in table.grants:
        if grant not in {Grant(roles.app, "SELECT")}:
            yield f"{grant.role} holds {grant.privilege}"


def _grants(roles: Roles, oracle: Oracle, table: Table) -> Iterator[str]:
    due = {command.upper() for command in COMMANDS if oracle.least(table, command)}
    expected = {roles.app: due, roles.backup: {"SELECT"}}
    if table.name in READ_BY_ALL:
        for role in (roles.login, roles.app, roles.maintenance):
            expected[role] = expected.get(role, set()) | {"SELECT"}
    for role, privileges in expected.items():
        for missing in sorted(privileges - table.granted(role)):
            yield f"{role} lacks {missing}"
    for grant in sorted(table.grants, key=str):
        if grant.role == roles.definer:
            fine = grant.privilege in _PRIVILEGES
        elif grant.column is not None:
            fine = grant.role == roles.operator and grant.privilege == "SELECT"
        else:
            fine = grant.privilege in expected.get(grant.role, set())
        if not fine:
            where = f" on its column {grant.column}" if grant.column else ""
            yield f"{grant.role} holds {grant.privilege}{where}, which its class does not give"


def _policies(roles: Roles, oracle: Oracle, table: Table) -> Iterator[str]:
    required = {True: _due_policies(roles, oracle, table), False: _due_narrowing(roles, table)}
    for permissive, shapes in required.items():
        found = {_shape(policy) for policy in table.policies if policy.permissive is permissive}
        for shape in sorted(shapes - found, key=str):
            yield f"no policy like this: {_told(shape)}"
    for policy in table.policies:
        if _shape(policy) not in required[policy.permissive]:
            yield f"the policy {policy.name} is none of its class: {_told(_shape(policy))}"


Shape = tuple[tuple[str, ...], str, str | None, str | None]
"""Roles, command, USING, WITH CHECK."""


def _due_policies(roles: Roles, oracle: Oracle, table: Table) -> set[Shape]:
    app = (roles.app,)
    required: set[Shape] = {((roles.backup,), "select", "true", None)}
    if table.policy_class == "self":
        mine = f"({OWN} AND (actor_id = app.actor_id()))"
        required.add((app, "all", mine, mine))
    else:
        for command, role in CLASS_RULES.get(table.policy_class or "", {}).items():
            required.add(_due(app, command, role.rank))
        for command in COMMANDS:
            wider = oracle.widened(table, command)
            if wider is not None:
                required.add(_due(app, command, wider.rank))
    if any(grant.role == roles.definer for grant in table.grants):
        required.add(((roles.definer,), "all", "true", "true"))
    if any(grant.role == roles.operator for grant in table.grants):
        required.add(((roles.operator,), "select", "true", None))
    if table.name in READ_BY_ALL:
        required.add((tuple(sorted((roles.login, roles.app, roles.maintenance))), "select", "true", None))
        required.add(((roles.owner,), "all", "true", "true"))
    return required


def _due_narrowing(roles: Roles, table: Table) -> set[Shape]:
    """Policies that take from what those of the class give."""
    if table.name not in ADMINS_KINDS:
        return set()
    app = (roles.app,)
    return {(app, "insert", None, _KIND_IS_OPEN), (app, "update", _KIND_IS_OPEN, _KIND_IS_OPEN)}


def _due(roles: tuple[str, ...], command: str, rank: int) -> Shape:
    says = OWN if rank <= 1 else f"({OWN} AND (app.actor_rank() >= {rank}))"
    return (
        roles,
        command,
        None if command == "insert" else says,
        says if command in {"insert", "update"} else None,
    )


def _shape(policy: Policy) -> Shape:
    return tuple(sorted(policy.roles)), policy.command, policy.using, policy.check


def _told(shape: Shape) -> str:
    roles, command, using, check = shape
    parts = [f"for {command} to {', '.join(roles)}"]
    parts += [f"using {using}"] if using else []
    parts += [f"with check {check}"] if check else []
    return " ".join(parts)


def _keys(catalog: Catalog, table: Table) -> Iterator[str]:
    workspace = next((column for column in table.columns if column.name == WORKSPACE), None)
    if workspace is None or workspace.type != "uuid" or not workspace.required:
        yield "it has no column workspace_id uuid NOT NULL"
        return
    if not any(key.columns[:1] == (WORKSPACE,) for key in table.keys):
        yield "no index begins with workspace_id"
    for key in table.keys:
        if key.unique and key.columns[:1] != (WORKSPACE,):
            yield f"the unique key {key.name} does not begin with workspace_id, so it tells of other workspaces' rows"
    for link in table.links:
        target = catalog.relations.get(link.target)
        pairs = dict(zip(link.columns, link.target_columns, strict=True))
        if target is not None and target.has_workspace and pairs.get(WORKSPACE) != WORKSPACE:
            yield f"the foreign key {link.name} to {link.target} does not hold the workspace"
    for trigger in table.triggers:
        yield f"it has the trigger {trigger}"

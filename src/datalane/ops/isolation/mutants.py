"""Faults to put into a database, generated from its catalog: for every policy, grant, key, link, view and role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from datalane.ops.isolation.catalog import WORKSPACE, Catalog, Link, Policy, Table
from datalane.ops.isolation.oracle import Oracle
from datalane.ops.isolation.session import name
from datalane.ops.isolation.tables import PROBES

EVERY_PROBE = tuple(PROBES)
_BY_PRIVILEGE = {
    "SELECT": ("select", "copy", "view"),
    "INSERT": ("insert", "returning", "on conflict"),
    "UPDATE": ("update", "move workspace"),
    "DELETE": ("delete",),
    "TRUNCATE": ("truncate",),
}
"""The probes that use a privilege. No probe uses the others: only a rule sees them."""
_UNUSED = ("REFERENCES", "TRIGGER")
_OWN = f"{WORKSPACE} = app.workspace_id()"
_RANK = re.compile(r" AND \(app\.actor_rank\(\) >= (\d)\)")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `sql` is run by the superuser in a transaction that is rolled back.

    `tables` and `verbs` are those whose cells are tried, by `probes`; through `doors` only, where the fault is about
    one, and by `actors` only, where it is the same for all. `lowest_first`: begin with the actors of low rank.
    """

    kind: str
    subject: str
    says: str
    sql: str
    tables: tuple[str, ...] = ()
    probes: tuple[str, ...] = EVERY_PROBE
    verbs: tuple[str, ...] = ()
    doors: frozenset[str] | None = None
    actors: tuple[str, ...] | None = None
    lowest_first: bool = False

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.says}"


def table_mutants(catalog: Catalog, oracle: Oracle) -> Iterator[Mutant]:
    for table in catalog.tables:
        yield from _of_security(table)
        yield from _of_policies(catalog, table)
        yield from _of_grants(catalog, table)
        if table.has_workspace:
            yield from _of_keys(table)
            yield from _of_links(catalog, oracle, table)
        for partition in catalog.partitions(table):
            yield from _of_partition(catalog, table, partition)
    for view in catalog.views:
        yield from _of_view(catalog, view)


def role_mutants(catalog: Catalog) -> Iterator[Mutant]:
    """Rights of roles. A table of class `tenant` stands for all."""
    roles = catalog.roles
    shown = next((table.name for table in catalog.tables if table.policy_class == "tenant"), catalog.tables[0].name)
    steps = [
        *((role, f"ALTER ROLE {role} {right}") for role in roles.all for right in ("BYPASSRLS", "SUPERUSER")),
        *((role, f"ALTER ROLE {role} {right}") for role in roles.all for right in ("INHERIT", "CREATEROLE")),
        *((role, f"ALTER ROLE {role} LOGIN") for role in roles.all if role not in roles.logins),
        *(
            (role, f"GRANT {step} TO {role} WITH INHERIT {inherit}")
            for role in (roles.login, *roles.doors)
            for step in (roles.owner, roles.definer, roles.backup, roles.maintenance, *roles.doors)
            for inherit in ("TRUE", "FALSE")
            if role != step and not (role == roles.login and step in roles.doors and inherit == "FALSE")
        ),
        *(
            (role, f"GRANT CREATE ON SCHEMA {schema} TO {role}")
            for role in (roles.login, *roles.doors)
            for schema in sorted({table.schema for table in catalog.tables})
        ),
    ]
    for role, sql in steps:
        # Rights that are stepped into are used by nobody who does not step.
        silent = sql.endswith(("INHERIT FALSE", "LOGIN", "CREATEROLE")) or " CREATE ON " in sql
        used = () if silent or role not in {roles.login, *roles.doors} else (shown,)
        yield Mutant("role", role, sql, sql, used)


def _of_security(table: Table) -> Iterator[Mutant]:
    mutant = Mutant("security", table.name, "", "", (table.name,))
    yield replace(mutant, says="row-level security off", sql=f"ALTER TABLE {table.sql} DISABLE ROW LEVEL SECURITY")
    # Nobody who can be tried owns a table.
    unseen = replace(mutant, tables=())
    yield replace(
        unseen, says="row-level security not forced", sql=f"ALTER TABLE {table.sql} NO FORCE ROW LEVEL SECURITY"
    )
    yield replace(unseen, says="no policy class", sql=f"COMMENT ON TABLE {table.sql} IS NULL")


def _of_partition(catalog: Catalog, table: Table, partition: Table) -> Iterator[Mutant]:
    app = catalog.roles.app
    mutant = Mutant("partition", partition.name, "", "")
    for says, sql in (
        ("row-level security off", f"ALTER TABLE {partition.sql} DISABLE ROW LEVEL SECURITY"),
        ("row-level security not forced", f"ALTER TABLE {partition.sql} NO FORCE ROW LEVEL SECURITY"),
    ):
        yield replace(mutant, says=says, sql=sql)
    for privilege in ("SELECT", "DELETE"):
        yield replace(
            mutant,
            says=f"{privilege} granted to {app}",
            sql=f"GRANT {privilege} ON {partition.sql} TO {app}",
            tables=(table.name,),
            probes=("partition direct",),
        )


def _of_policies(catalog: Catalog, table: Table) -> Iterator[Mutant]:
    app = catalog.roles.app
    for policy in table.policies:
        on = f"{name(policy.name)} ON {table.sql}"
        ours = app in policy.roles
        mutant = Mutant("policy", table.name, "", "", (table.name,) if ours else ())
        yield replace(mutant, says=f"policy {policy.name} dropped", sql=f"DROP POLICY {on}")
        yield replace(
            mutant, says=f"policy {policy.name} for everybody", sql=f"ALTER POLICY {on} TO PUBLIC", tables=(table.name,)
        )
        if ours:
            for says, using, check in _changed(policy):
                clauses = [f"USING ({using})"] if using else []
                clauses += [f"WITH CHECK ({check})"] if check else []
                sql = f"ALTER POLICY {on} {' '.join(clauses)}"
                yield replace(mutant, says=f"policy {policy.name} {says}", sql=sql)
    yield Mutant(
        "policy",
        table.name,
        "one policy too many",
        f"CREATE POLICY too_many ON {table.sql} TO {app} USING (true) WITH CHECK (true)",
        (table.name,),
    )


def _changed(policy: Policy) -> Iterator[tuple[str, str | None, str | None]]:
    """What it says instead, USING and WITH CHECK."""
    using, check = policy.using, policy.check
    if using and using != "true":
        yield "using true", "true", check
    if check and check != "true":
        yield "with check true", using, "true"
    changes = [("on a wrong column", _OWN, f"{WORKSPACE} = app.actor_id()"), ("without the workspace", _OWN, "true")]
    changes += [("without the actor", "actor_id = app.actor_id()", "true")]
    for says, old, new in changes:
        if old in f"{using}{check}":
            yield says, using and using.replace(old, new), check and check.replace(old, new)
    rank = _RANK.search(f"{using}{check}")
    if rank:
        yield "without its rank", using and _RANK.sub("", using), check and _RANK.sub("", check)
        lower = f" AND (app.actor_rank() >= {int(rank[1]) - 1})"
        yield "with a lower rank", using and _RANK.sub(lower, using), check and _RANK.sub(lower, check)


def _of_grants(catalog: Catalog, table: Table) -> Iterator[Mutant]:
    roles = catalog.roles
    for role in (roles.app, roles.login, roles.worker, roles.signin, roles.operator, "PUBLIC"):
        held = table.granted(role)
        for privilege in (*_BY_PRIVILEGE, *(_UNUSED if role == roles.app else ())):
            if privilege in held:
                continue
            seen = privilege in _BY_PRIVILEGE and role != roles.operator
            yield Mutant(
                "grant",
                table.name,
                f"{privilege} granted to {role}",
                f"GRANT {privilege} ON {table.sql} TO {role}",
                (table.name,) if seen else (),
                _BY_PRIVILEGE.get(privilege, ()),
                doors=None if role == "PUBLIC" else frozenset({role}),
            )
        if role == roles.app:
            for privilege in sorted(held & set(_BY_PRIVILEGE)):
                yield Mutant(
                    "grant",
                    table.name,
                    f"{privilege} taken from {role}",
                    f"REVOKE {privilege} ON {table.sql} FROM {role}",
                    (table.name,),
                    _BY_PRIVILEGE[privilege],
                )
    column = next(iter(table.columns)).name
    if not table.granted(roles.app):
        sql = f"GRANT SELECT ({name(column)}) ON {table.sql} TO {roles.app}"
        says = f"SELECT of {column} granted to {roles.app}"
        yield Mutant("grant", table.name, says, sql, (table.name,), ("select",), doors=frozenset({roles.app}))


def _of_keys(table: Table) -> Iterator[Mutant]:
    for key in table.keys:
        if key.unique and key.columns[:1] == (WORKSPACE,) and key.beyond_workspace:
            columns = ", ".join(map(name, key.beyond_workspace))
            where = f" WHERE {key.where}" if key.where else ""
            made = f"CREATE UNIQUE INDEX mutant_key ON {table.sql} ({columns}){where}"
            yield Mutant(
                "key",
                table.name,
                f"the key {key.name} without the workspace",
                f"{_without_shared(table, key.beyond_workspace)}; {made}",
                (table.name,),
                ("unique key",),
            )


def _of_links(catalog: Catalog, oracle: Oracle, table: Table) -> Iterator[Mutant]:
    for link in table.links:
        target = catalog.relations.get(link.target)
        if target is None or not target.has_workspace or not link.beyond_workspace:
            continue
        yield Mutant(
            "link", table.name, f"the foreign key {link.name} by id only", _by_id(table, link, target), (table.name,),
            ("foreign key",),
        )  # fmt: skip
        if oracle.least(table, "insert"):
            yield Mutant(
                "link",
                table.name,
                f"the foreign key {link.name} dropped",
                f"ALTER TABLE {table.sql} DROP CONSTRAINT {name(link.name)}",
                (table.name,),
                ("foreign key",),
            )


def _by_id(table: Table, link: Link, target: Table) -> str:
    mine, theirs = (", ".join(map(name, columns)) for columns in zip(*link.beyond_workspace.items(), strict=True))
    return (
        f"{_without_shared(target, link.beyond_workspace.values())}; "
        f"ALTER TABLE {table.sql} DROP CONSTRAINT {name(link.name)}; "
        f"ALTER TABLE {target.sql} ADD CONSTRAINT mutant_key UNIQUE ({theirs}); "
        f"ALTER TABLE {table.sql} ADD CONSTRAINT mutant_link FOREIGN KEY ({mine}) REFERENCES {target.sql} ({theirs})"
    )


def _without_shared(table: Table, columns: Iterable[str]) -> str:
    """Remove rows whose like another workspace has too, such as somebody's second membership: no key could be made."""
    same = " AND ".join(f"earlier.{name(column)} = later.{name(column)}" for column in columns)
    return (
        "SET LOCAL session_replication_role = replica; "
        f"DELETE FROM {table.sql} AS later USING {table.sql} AS earlier "
        f"WHERE later.{WORKSPACE} > earlier.{WORKSPACE} AND {same}; "
        "SET LOCAL session_replication_role = origin"
    )


def _of_view(catalog: Catalog, view: Table) -> Iterator[Mutant]:
    tables = tuple(table.name for table in catalog.tables if table.name in view.reads)
    mutant = Mutant("view", view.name, "", "", tables[:1], ("view",))
    yield replace(
        mutant, says="asks with its owner's rights", sql=f"ALTER VIEW {view.sql} SET (security_invoker = false)"
    )
    for role in (catalog.roles.login, catalog.roles.worker, catalog.roles.signin, "PUBLIC"):
        # What the view reads stays closed to them, so nobody gets a row.
        sql = f"GRANT SELECT ON {view.sql} TO {role}"
        yield replace(mutant, says=f"SELECT granted to {role}", sql=sql, tables=())

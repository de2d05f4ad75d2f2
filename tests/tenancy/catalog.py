"""The database's own list of what must be behind the wall, and rows for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context, Role
from datalane.db.roles import Roles
from datalane.ops.isolation.catalog_reader import read_catalog
from datalane.ops.isolation.seed import seed
from datalane.ops.isolation.session import Session
from datalane.ops.isolation.values import SIDES

TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, obj_description(c.oid, 'pg_class') AS comment,
       c.relkind::text AS kind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('app', 'datalane') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
ORDER BY 1
"""
GLOBAL = {
    "app.schema_version",
    "datalane.attempt_buckets",
    "datalane.event_handlers",
    "datalane.event_types",
    "datalane.plan_quotas",
    "datalane.plans",
    "datalane.job_kinds",
    "datalane.role_matrix",
    "datalane.sessions",
    "datalane.tracked_events",
    "datalane.user_identities",
    "datalane.users",
}
"""Not tenant data: the whole allow-list."""
VISIBLE = {"tenant", "managed", "append", "decided", "log", "self"}

VERBS = """
SELECT format('%I.%I', n.nspname, p.proname) AS name, p.prosecdef AS definer,
       array_to_string(ARRAY(
           SELECT format('NULL::%s.%I', t.typnamespace::regnamespace, t.typname)
           FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place) JOIN pg_type t ON t.oid = a.type
           ORDER BY a.place), ', ') AS blanks,
       (SELECT coalesce(array_agg(r.rolname::text), '{}') FROM pg_roles r
        WHERE r.rolname LIKE 'datalane%' AND r.oid <> p.proowner AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
           AS callers
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('app', 'datalane')
ORDER BY 1
"""


@dataclass(frozen=True)
class Table:
    name: str
    policy_class: str
    """One of app.protect's classes, or `view`."""


@dataclass(frozen=True)
class Verb:
    name: str
    definer: bool
    """Whether it runs with more rights than its caller."""
    blanks: str
    """Arguments of the right types, all of them null."""
    callers: frozenset[str]
    """The lane's roles that may call it, its owner left out."""

    @property
    def call(self) -> str:
        return f"SELECT {self.name}({self.blanks})"


async def verbs(connection: asyncpg.Connection) -> list[Verb]:
    """Every function of the lane."""
    return [
        Verb(row["name"], row["definer"], row["blanks"], frozenset(row["callers"]))
        for row in await connection.fetch(VERBS)
    ]


async def tables(connection: asyncpg.Connection) -> list[Table]:
    found = []
    for name, comment, kind in await connection.fetch(TABLES):
        declared = (comment or "").removeprefix("policy class: ")
        found.append(Table(name, "view" if kind == "v" else declared))
    return found


def two_workspaces(superuser_url: str) -> tuple[Context, Context]:
    """The owners of two workspaces that have rows in every table, as the isolation proof makes them."""
    with Session.opened(superuser_url) as session:
        seeds = seed(session, read_catalog(session, Roles()), datetime.now(UTC), rows=2)
    assert seeds.unfilled == {}
    one, two = (Context(seeds.workspace(side), seeds.actor(side), Role.OWNER) for side in SIDES)
    return one, two


async def counted(connection: asyncpg.Connection, table: str, workspace_id: UUID | None = None) -> int:
    """Rows in sight, all or those of one workspace."""
    where, arguments = ("WHERE workspace_id = $1", [workspace_id]) if workspace_id else ("", [])
    return int(await connection.fetchval(f"SELECT count(*) FROM {table} {where}", *arguments))

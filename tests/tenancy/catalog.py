"""The database's own list of what must be behind the wall, and rows for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import asyncpg
from tests.integration.engine.lab import START, Lab, ranked

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.audit import record
from datalane.engine.events import publish
from datalane.engine.jobs import pause
from datalane.identity import accounts
from datalane.identity.schemas import NewAccount
from datalane.settings import SessionSettings

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
    "datalane.job_kinds",
    "datalane.role_matrix",
    "datalane.sessions",
    "datalane.users",
}
"""Not tenant data: the whole allow-list."""
VISIBLE = {"tenant", "append", "log", "self"}

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


async def a_workspace(lab: Lab, email: str) -> Context:
    """A workspace with at least one row in every table that its members may see."""
    session = await accounts.sign_up(
        lab.database,
        NewAccount(email=email, password="correct horse battery", name="Ada", workspace_name="Engines"),
        sessions=SessionSettings(),
        correlation_id="seeding",
    )
    assert session.workspace_id is not None
    owner = Context(session.workspace_id, session.user_id, Role.OWNER)
    await _use_the_engine(lab, owner)
    await _fill_the_rest(lab.database, owner)
    return owner


async def _use_the_engine(lab: Lab, owner: Context) -> None:
    async with lab.database.transaction(owner) as tx:
        await publish(tx, "thing.happened", {}, source_event_id="a")
        await record(tx, "thing.done", "thing", "1", after={"done": True})
    await lab.enqueue(owner, 3)
    done, failing, *_ = [job for job in await lab.claim() if job.workspace_id == owner.workspace_id]
    await lab.finish(done)
    await lab.fail(failing)
    async with lab.database.transaction(ranked(owner, Role.ADMIN)) as tx:
        await pause(tx, "paused")


async def _fill_the_rest(database: Database, owner: Context) -> None:
    """Raw rows in the tables that members write themselves: whatever the catalog says must not be null."""
    async with database.transaction(owner) as tx:
        writable = [one.name for one in await tables(tx.connection) if one.policy_class in {"tenant", "append", "self"}]
        waiting = [name for name in writable if not await tx.fetchval(f"SELECT count(*) FROM {name}")]
        for _ in range(len(waiting)):
            for name in list(waiting):
                try:
                    async with tx.savepoint():
                        await _add_row(tx.connection, name, owner)
                except asyncpg.ForeignKeyViolationError:
                    continue
                waiting.remove(name)
    assert waiting == [], f"no row could be made for {waiting}"


async def _add_row(connection: asyncpg.Connection, table: str, owner: Context) -> None:
    columns = await connection.fetch(
        """SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type
           FROM pg_attribute a
           WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND a.attnotnull AND NOT a.atthasdef
             AND NOT a.attisdropped""",
        table,
    )
    values = {column["name"]: _value(column["name"], column["type"], owner) for column in columns}
    slots = ", ".join(f"${place}" for place, _ in enumerate(values, 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({slots})", *values.values())


def _value(name: str, type_name: str, owner: Context) -> Any:
    """A value that fits the type, and by its name the foreign keys and checks."""
    known: dict[str, Any] = {
        "workspace_id": owner.workspace_id,
        "actor_id": owner.actor_id,
        "evidence_type": "direct",
        "confidence_band": "high",
        "confidence_score": 0.5,
        "file_key": f"{owner.workspace_id}/{uuid5(owner.workspace_id, 'version_id')}",
        "embedding": b"\x00\x01\x00\x00\x3f\x80\x00\x00",
    }
    if name in known:
        return known[name]
    if type_name == "uuid":
        return uuid5(owner.workspace_id, name)
    if type_name in {"integer", "bigint", "smallint"}:
        return 0 if "start" in name else 1
    by_type: dict[str, Any] = {
        "text": "x",
        "bytea": bytes(32),
        "jsonb": {},
        "boolean": False,
        "timestamp with time zone": START,
    }
    return [] if type_name.endswith("[]") else by_type[type_name]


async def counted(connection: asyncpg.Connection, table: str, workspace_id: UUID | None = None) -> int:
    """Rows in sight, all or those of one workspace."""
    where, arguments = ("WHERE workspace_id = $1", [workspace_id]) if workspace_id else ("", [])
    return int(await connection.fetchval(f"SELECT count(*) FROM {table} {where}", *arguments))

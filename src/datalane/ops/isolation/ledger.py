"""All rows of the database: what changed since a moment, and back to that moment.

A transaction that wrote anything took a transaction id, so when no id was taken nothing needs to be looked at. Else
rows that were written since have an id that is as new, and rows that are gone are missed in the count: only tables with
either are compared, and only such rows are put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from datalane.errors import DatalaneError
from datalane.kit.ids import SYSTEM_ACTOR

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'uuid'::regtype) AS ids,
       EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped) AS tenant
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'proof') AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
_GRANTED = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND NOT c.relispartition AND EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped)
  AND has_table_privilege($1, c.oid, 'SELECT')
ORDER BY 1
"""
_RELATIONS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'proof')
"""
_SNAPSHOT = "SELECT pg_current_snapshot()::text"
_NEXT = "SELECT pg_current_xact_id()::text::bigint"
_SETTLED = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_SETTLING_SECONDS = 120
_WRITTEN_SINCE = "xmin::text::bigint >= {}"
"""Ids do not begin anew in a scratch cluster. Who was still writing at the moment is taken for written since."""


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of `table` came, went or changed; `workspace_id` says whose, None in a table without workspaces."""

    table: str
    workspace_id: UUID | None


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: str
    ids: Sequence[str]
    tenant: bool
    kept: str

    def put_back(self, moment: int) -> str:
        """Remove what was written since, then add what is missing: rows by their text, those alike by number."""
        text, among_alike = f"ROW({self.columns})::text", f"row_number() OVER (PARTITION BY ROW({self.columns})::text)"
        return (
            f"DELETE FROM {self.name} WHERE {_WRITTEN_SINCE.format(moment)}; "
            f"INSERT INTO {self.name} ({self.columns}) OVERRIDING SYSTEM VALUE SELECT {self.columns} FROM "
            f'(SELECT {self.columns}, {text} AS "its text", {among_alike} AS "its number" FROM {self.kept}) AS kept '
            f'WHERE ("its text", "its number") NOT IN (SELECT {text}, {among_alike} FROM {self.name})'
        )


@dataclass
class Ledger:
    """Reads and writes as the superuser of a scratch cluster, past every policy."""

    connection: asyncpg.Connection
    tables: Sequence[_Table] = ()
    _digests: dict[Change, str] = field(default_factory=dict)
    _snapshot: str = ""
    _touched: str = ""
    """A query for the tables with rows that came or went since a snapshot."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, superuser_url: str) -> AsyncIterator[Ledger]:
        connection = await asyncpg.connect(superuser_url)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def keep(self) -> None:
        """From now on `changes` compares with this moment, and `restore` returns to it."""
        rows = await self.connection.fetch(_TABLES)
        self.tables = [
            _Table(row["name"], row["columns"], row["ids"], row["tenant"], f"proof.kept_{number}")
            for number, row in enumerate(rows)
        ]
        await self.connection.execute("DROP SCHEMA IF EXISTS proof CASCADE; CREATE SCHEMA proof")
        for table in self.tables:
            await self.connection.execute(f"CREATE TABLE {table.kept} AS SELECT {table.columns} FROM {table.name}")
        self._touched = " UNION ALL ".join([await self._touched_one(table) for table in self.tables])
        self._digests = await self._digest(self.tables)
        self._snapshot = await self.connection.fetchval(_SNAPSHOT)

    async def forget(self) -> None:
        await self.connection.execute("DROP SCHEMA IF EXISTS proof CASCADE")

    async def changes(self) -> frozenset[Change]:
        """What differs from the kept moment, if one was kept."""
        if not self._snapshot:
            return frozenset()
        snapshot = await self.connection.fetchval(_SNAPSHOT)
        if snapshot == self._snapshot:
            return frozenset()
        touched = {row["name"] for row in await self.connection.fetch(self._touched, _oldest(self._snapshot))}
        known = {change: digest for change, digest in self._digests.items() if change.table in touched}
        found = await self._digest([table for table in self.tables if table.name in touched])
        changed = frozenset(key for key in found.keys() | known.keys() if found.get(key) != known.get(key))
        if not changed:
            self._snapshot = snapshot
        return changed

    async def restore(self, changes: Iterable[Change]) -> None:
        """Put the tables of `changes` back as they were."""
        named = {change.table for change in changes}
        if not named:
            return
        statements = [table.put_back(_oldest(self._snapshot)) for table in self.tables if table.name in named]
        await self.connection.execute(
            f"BEGIN; SET LOCAL session_replication_role = replica; {'; '.join(statements)}; COMMIT"
        )
        self._snapshot = await self.connection.fetchval(_SNAPSHOT)

    async def settle(self) -> None:
        """Wait until every transaction of the server that is under way has ended.

        Before that a live stream holds back what came after such a one. Raises `DatalaneError` after two minutes.
        """
        bound = await self.connection.fetchval(_NEXT)
        try:
            async with asyncio.timeout(_SETTLING_SECONDS):
                while await self.connection.fetchval(_SETTLED) < bound:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise DatalaneError(
                f"the isolation proof waited {_SETTLING_SECONDS} s for a transaction of its server that does not end"
            ) from None

    async def ids_of(self, workspace_id: UUID) -> frozenset[str]:
        """Every id in the rows of a workspace, its own included; not that of the lane itself, which acts in all."""
        tables = [table for table in self.tables if table.tenant]
        parts = [
            f"SELECT unnest(ARRAY[{', '.join(table.ids)}]) FROM {table.name} WHERE workspace_id = $1"
            for table in tables
        ]
        rows = await self.connection.fetch(" UNION ".join(parts), workspace_id)
        return frozenset(str(row[0]) for row in rows if row[0] not in {None, SYSTEM_ACTOR})

    async def relations(self) -> frozenset[str]:
        """Tables and views with a column `workspace_id`."""
        return frozenset(row["name"] for row in await self.connection.fetch(_RELATIONS))

    @asynccontextmanager
    async def policies_opened(self, role: str, tables: Iterable[str] | None = None) -> AsyncIterator[None]:
        """For the time of the block, rows of these tables (of all that `role` may read) are held by no policy."""
        known = [row["name"] for row in await self.connection.fetch(_GRANTED, role)]
        opened = [name for name in known if tables is None or name in set(tables)]
        for name in opened:
            await self.connection.execute(
                f"CREATE POLICY proof_opened ON {name} TO {role} USING (true) WITH CHECK (true)"
            )
        try:
            yield
        finally:
            for name in opened:
                await self.connection.execute(f"DROP POLICY proof_opened ON {name}")

    async def _touched_one(self, table: _Table) -> str:
        rows = await self.connection.fetchval(f"SELECT count(*) FROM {table.name}")
        return (
            f"SELECT '{table.name}' AS name FROM {table.name} "
            f"HAVING count(*) <> {rows} OR bool_or({_WRITTEN_SINCE.format('$1::bigint')})"
        )

    async def _digest(self, tables: Sequence[_Table]) -> dict[Change, str]:
        parts = [
            f"SELECT '{table.name}' AS name, {'workspace_id' if table.tenant else 'NULL::uuid'} AS workspace_id, "
            f"md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) AS digest FROM {table.name} t GROUP BY 2"
            for table in tables
        ]
        rows = await self.connection.fetch(" UNION ALL ".join(parts)) if parts else []
        return {Change(row["name"], row["workspace_id"]): row["digest"] for row in rows}


def _oldest(snapshot: str) -> int:
    """All transactions before this id had ended."""
    return int(snapshot.split(":")[0])

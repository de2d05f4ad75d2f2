"""One migrated database with 200,000 documents of 1,000 workspaces, behind the wall and beside it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from bench.server import Server
from datalane.contracts.context import Context, Role
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare

WALL, PLAIN = "datalane.documents", "public.plain_documents"
WORKSPACES = [uuid.uuid5(uuid.NAMESPACE_DNS, f"ws{n}.bench") for n in range(1_000)]
DOCUMENTS_EACH = 200
PAGE = 25

_COLUMNS = "document_id, title, source_uri, metadata, tags, latest_ordinal, created_at, updated_at, created_by_actor_id"
_FILL = f"""
INSERT INTO {WALL} (workspace_id, document_id, title, source_uri, metadata, tags, created_by_actor_id)
SELECT w.id, app.uuid7(), 'Report ' || n || ' of the quarter', 'https://files.example.com/reports/' || n || '.pdf',
       jsonb_build_object('department', 'd' || n % 17, 'pages', n % 90), ARRAY['t' || n % 5, 't' || n % 7], w.id
FROM generate_series(1, $2::integer) AS n CROSS JOIN unnest($1::uuid[]) AS w (id) ORDER BY n
"""
"""Neighbours on disk belong to different workspaces, as they do where all write at the same time."""
_COPY = f"""
CREATE TABLE {PLAIN} (LIKE {WALL} INCLUDING ALL);
INSERT INTO {PLAIN} SELECT d.* FROM {WALL} AS d;
GRANT SELECT ON {PLAIN} TO datalane, datalane_app;
"""


@dataclass(frozen=True)
class Read:
    """A query as a service would write it; `{0}` is its own argument."""

    title: str
    condition: str

    def sql(self, table: str, *, says_workspace: bool = True) -> str:
        """With the workspace as $1 and the argument as $2, or with the argument alone."""
        if says_workspace:
            return f"SELECT {_COLUMNS} FROM {table} WHERE workspace_id = $1 AND {self.condition.format('$2')}"
        return f"SELECT {_COLUMNS} FROM {table} WHERE {self.condition.format('$1')}"


PAGE_READ = Read("25 rows by keyset page", f"document_id < {{0}} ORDER BY document_id DESC LIMIT {PAGE}")
KEYS_READ = Read("25 rows by primary key", "document_id = ANY ({0}::uuid[])")
ROW_READ = Read("1 row by primary key", "document_id = {0}")
READS = (PAGE_READ, KEYS_READ, ROW_READ)


@dataclass(frozen=True)
class Ground:
    """Where the database is (as the login role), and each workspace's documents in ascending order."""

    url: str
    documents: dict[uuid.UUID, list[uuid.UUID]]

    def argument(self, read: Read, workspace: uuid.UUID, choice: random.Random) -> Any:
        """A cursor with a full page behind it, the keys of 25 documents, or one key."""
        ids = self.documents[workspace]
        if read is PAGE_READ:
            return choice.choice(ids[PAGE:])
        return choice.sample(ids, PAGE) if read is KEYS_READ else choice.choice(ids)


async def lay_ground(server: Server) -> Ground:
    """Migrate, fill both tables with the same rows, and see that one is behind the wall and the other is not."""
    prepared = prepare(server.dsn(), "wall", Access.generate())
    admin = await asyncpg.connect(server.dsn("wall"))
    try:
        await admin.execute(_FILL, WORKSPACES, DOCUMENTS_EACH)
        await admin.execute(_COPY)
        await admin.execute(f"VACUUM ANALYZE {WALL}")
        await admin.execute(f"VACUUM ANALYZE {PLAIN}")
        await admin.execute("CHECKPOINT")
        rows = await admin.fetch(f"SELECT workspace_id, document_id FROM {PLAIN} ORDER BY workspace_id, document_id")
    finally:
        await admin.close()
    documents: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in rows:
        documents.setdefault(row["workspace_id"], []).append(row["document_id"])
    ground = Ground(prepared.database_url, documents)
    await _require_honest(ground)
    return ground


def context_of(workspace: uuid.UUID) -> Context:
    return Context(workspace, workspace, Role.MEMBER)


async def _require_honest(ground: Ground) -> None:
    """Raises RuntimeError when the two sides would not read the same rows, or not the one behind the wall."""
    workspace, choice = WORKSPACES[0], random.Random(1)
    database = await Database.connect(ground.url, size=1)
    try:
        async with database.transaction(context_of(workspace)) as tx:
            secured = await tx.fetchrow(f"SELECT row_security_active('{WALL}'), row_security_active('{PLAIN}')")
            if secured is None or tuple(secured) != (True, False):
                raise RuntimeError(f"row security is {secured}, not active on {WALL} alone")
            counts = await tx.fetchrow(f"SELECT (SELECT count(*) FROM {WALL}), (SELECT count(*) FROM {PLAIN})")
            if counts is None or tuple(counts) != (DOCUMENTS_EACH, DOCUMENTS_EACH * len(WORKSPACES)):
                raise RuntimeError(
                    f"a workspace sees {counts}, not its own documents behind the wall and all beside it"
                )
            for read in READS:
                argument = ground.argument(read, workspace, choice)
                _require_same(
                    read,
                    await tx.fetch(read.sql(WALL), workspace, argument),
                    await tx.fetch(read.sql(PLAIN), workspace, argument),
                    await tx.fetch(read.sql(WALL, says_workspace=False), argument),
                )
    finally:
        await database.close()


def _require_same(read: Read, *answers: Sequence[asyncpg.Record]) -> None:
    expected = 1 if read is ROW_READ else PAGE
    sets = [{tuple(map(repr, row.values())) for row in answer} for answer in answers]
    if any(each != sets[0] for each in sets) or len(answers[0]) != expected:
        raise RuntimeError(f"{read.title}: the sides answer {[len(answer) for answer in answers]} rows, or others")

"""The audit log on a bench: sealing as the maintenance login, reading and tampering as the superuser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
from tests.integration.engine.lab import eventually

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.audit import record
from datalane.engine.audit_verify import Head, Verified, verify
from datalane.engine.seal import Sealed, seal_once

SEALED = "SELECT coalesce(sum(last_position - first_position + 1), 0) FROM datalane.audit_seals WHERE workspace_id = $1"


class SealBench:
    def __init__(self, database: Database, maintenance: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
        self.database = database
        self.maintenance = maintenance
        self.superuser = superuser

    @classmethod
    @asynccontextmanager
    async def opened(cls, database: Database, urls: Prepared, cluster: EmbeddedPostgres) -> AsyncIterator[SealBench]:
        maintenance = await asyncpg.connect(urls.maintenance_url)
        superuser = await asyncpg.connect(cluster.url(urls.database_url.rpartition("/")[2].partition("?")[0]))
        try:
            yield cls(database, maintenance, superuser)
        finally:
            await maintenance.close()
            await superuser.close()

    async def record(self, context: Context, count: int = 1) -> list[UUID]:
        """`count` records with details, a transaction each."""
        made = []
        for number in range(count):
            async with self.database.transaction(context) as tx:
                made.append(await record(tx, "thing.done", "thing", str(number), after={"number": number}))
        return made

    async def seal(self, rows_a_seal: int = 1_000) -> Sealed:
        return await seal_once(self.maintenance, rows_a_seal=rows_a_seal)

    async def seal_all(self, context: Context, rows_a_seal: int = 1_000) -> None:
        """Until every row has its seal; the server's own transactions hold it back for moments."""

        async def sealed() -> bool:
            await self.seal(rows_a_seal)
            rows = await self.superuser.fetchval(
                "SELECT count(*) FROM datalane.audit_log WHERE workspace_id = $1", context.workspace_id
            )
            return bool(rows == await self.superuser.fetchval(SEALED, context.workspace_id))

        await eventually(sealed)

    async def verify(self, context: Context, kept: Head | None = None) -> Verified:
        async with self.database.transaction(Context.system(context.workspace_id)) as tx:
            return await verify(tx, kept)

    async def sealed_ids(self, context: Context) -> list[UUID]:
        """The ids in all manifests, in order; fails unless numbers and positions go on without a gap."""
        seals = await self.superuser.fetch(
            "SELECT seal_no, first_position, last_position, manifest FROM datalane.audit_seals "
            "WHERE workspace_id = $1 ORDER BY seal_no",
            context.workspace_id,
        )
        assert [seal["seal_no"] for seal in seals] == list(range(1, len(seals) + 1))
        assert all(after["first_position"] == before["last_position"] + 1 for before, after in pairwise(seals))
        manifest = b"".join(seal["manifest"] for seal in seals)
        return [UUID(bytes=manifest[at : at + 16]) for at in range(0, len(manifest), 48)]

    async def tamper(self, sql: str, *arguments: object) -> None:
        """Change something as the superuser, past every privilege and policy."""
        assert not (await self.superuser.execute(sql, *arguments)).endswith(" 0"), f"changed nothing: {sql}"


async def until_done(work: asyncio.Future[Any], bench: SealBench) -> None:
    """Seal again and again, small seals, until `work` has ended."""
    while not work.done():
        await bench.seal(rows_a_seal=7)

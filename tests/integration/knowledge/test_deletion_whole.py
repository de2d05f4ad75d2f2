"""A deletion is whole or has not happened, also when it is rolled back and when it meets an ingestion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.engine.lab import Lab, Undone, eventually, undo
from tests.integration.knowledge.gate import Gate
from tests.integration.knowledge.library import Library

from datalane.db.transaction import Transaction
from datalane.engine.desk import Desk
from datalane.engine.running import Runner, Tally
from datalane.knowledge.documents.removal import REMOVE_FILES
from datalane.knowledge.documents.schemas import Deleted
from datalane.knowledge.documents.service import INGEST, delete_document

PARTS = {"documents", "document_versions", "document_sources", "chunks", "chunk_vectors"}
POSTINGS = {"search_postings", "search_entries"}
OLD, NEW = "The granary stores barley.\n\n" * 200, "The granary stores rye now.\n\n" * 300


# Asking the catalog, so that a table that comes later is counted too --------------------------------------------


async def tables(tx: Transaction, *columns: str) -> list[str]:
    """Those of the lane that the caller may read and that have one of the columns."""
    rows = await tx.fetch(
        "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'datalane'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND a.attname = ANY ($1) AND NOT a.attisdropped AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
        list(columns),
    )
    return [row["relname"] for row in rows]


async def counts(tx: Transaction, *columns: str) -> dict[str, int]:
    """The workspace's rows in each of those tables."""
    return {
        name: await tx.fetchval(f"SELECT count(*) FROM datalane.{name} WHERE workspace_id = $1", tx.workspace_id)
        for name in await tables(tx, *columns)
    }


async def everything(tx: Transaction) -> dict[str, tuple[int, str]]:
    """How many rows the workspace has in each table, and the digest of what they say."""
    seen = {}
    for name in await tables(tx, "workspace_id"):
        row = await tx.fetchrow(
            "SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest"
            f" FROM datalane.{name} t WHERE workspace_id = $1",
            tx.workspace_id,
        )
        assert row is not None
        seen[name] = (row["count"], row["digest"])
    return seen


# Rolled back ----------------------------------------------------------------------------------------------------


async def test_a_deletion_that_is_rolled_back_has_not_happened(idle_library: Library) -> None:
    library = idle_library
    async with library.working():
        document = await library.bring_in(OLD)
        await library.bring_in(NEW, document_id=document.document_id)
    async with library.lane.transaction(library.context) as tx:
        before = await everything(tx)
    assert all(before[name][0] for name in (PARTS - {"document_sources"}) | POSTINGS)

    async def delete(tx: Transaction) -> None:
        await delete_document(tx, document.document_id)
        within = await counts(tx, "workspace_id")
        assert {within[name] for name in PARTS | POSTINGS} == {0}
        assert within["jobs"] == before["jobs"][0] + 1
        assert within["audit_log"] == before["audit_log"][0] + 1

    with pytest.raises(Undone):
        await undo(library.lane.database, library.context, delete)
    async with library.lane.transaction(library.context) as tx:
        assert await everything(tx) == before
    assert await library.stored_files() == 2


# Racing an ingestion --------------------------------------------------------------------------------------------


@dataclass
class Race:
    """A document whose first version is searched, and whose second is in the parser."""

    library: Library
    gate: Gate
    desk: Desk
    lab: Lab
    tally: Tally = field(default_factory=Tally)

    async def begin(self, data: str, **said: Any) -> tuple[UUID, UUID, asyncio.Task[None]]:
        """Document and version that are in the parser now, and the run of their job."""
        uploaded = await self.library.upload(data.encode(), filename="a.txt", **said)
        [job] = await self.desk.claim([INGEST], 1, timedelta(minutes=5))
        runner, handler = (
            Runner(self.library.lane.database, self.desk, self.tally),
            self.library.lane.handlers.get(INGEST),
        )
        run = asyncio.create_task(runner.run(handler, [job]))
        await self.gate.entered()
        return uploaded.document_id, uploaded.version_id, run

    async def delete(self, document_id: UUID) -> Deleted:
        async with self.library.lane.transaction(self.library.context) as tx:
            return await delete_document(tx, document_id)

    async def nothing_is_left(self, document_id: UUID) -> bool:
        """Of the only document of the workspace: no row, no posting, no total, no file, no job that would go on."""
        library = self.library
        async with library.lane.transaction(library.context) as tx:
            left = await counts(tx, "document_id", "version_id", "chunk_id", "entry_id")
            totals = await tx.fetchrow("SELECT sum(entries) AS n, sum(length) AS length FROM datalane.search_totals")
            jobs = await tx.fetch(
                "SELECT kind, status FROM datalane.jobs WHERE subject_id = $1 AND status <> 'dead_letter'",
                str(document_id),
            )
        assert set(left) >= PARTS | POSTINGS
        assert [(job["kind"], job["status"]) for job in jobs] == [(REMOVE_FILES, "queued")]
        async with library.working():
            await eventually(self._files_are_gone)
        return not any(left.values()) and totals is not None and (totals["n"], totals["length"]) == (0, 0)

    async def _files_are_gone(self) -> bool:
        return await self.library.stored_files() == 0


@asynccontextmanager
async def a_race(library: Library, gate: Gate) -> AsyncIterator[tuple[Race, UUID, UUID, asyncio.Task[None]]]:
    desk = Desk(library.lane.database, "racer", lambda: None)
    try:
        async with Lab.opened(library.lane.database) as lab:
            race = Race(library, gate, desk, lab)
            document_id, _, first = await race.begin(gate.text)
            await gate.leave(OLD)
            await first
            assert (await library.document(document_id)).chunks > 1
            _, version_id, second = await race.begin(f"{gate.text}/.", document_id=document_id)
            yield race, document_id, version_id, second
    finally:
        await desk.close()


async def test_a_deletion_while_the_document_is_parsed_leaves_nothing(gated_library: Library, gate: Gate) -> None:
    async with a_race(gated_library, gate) as (race, document_id, _, ingesting):
        receipt = await race.delete(document_id)
        await gate.leave(NEW)
        await ingesting
        assert (receipt.versions, race.tally.completed, race.tally.lost) == (2, 1, 1)
        assert await race.nothing_is_left(document_id)


async def test_an_ingestion_that_waits_for_a_deletion_writes_nothing(gated_library: Library, gate: Gate) -> None:
    async with a_race(gated_library, gate) as (race, document_id, _, ingesting):
        async with gated_library.lane.transaction(gated_library.context) as tx:
            await delete_document(tx, document_id)
            await gate.leave(NEW)
            await race.lab.blocked_backend()
        await ingesting
        assert (race.tally.completed, race.tally.lost) == (1, 1)
        assert await race.nothing_is_left(document_id)


async def test_a_deletion_that_waits_for_an_ingestion_takes_what_that_wrote(gated_library: Library, gate: Gate) -> None:
    async with a_race(gated_library, gate) as (race, document_id, version_id, ingesting):
        before = (await gated_library.document(document_id)).chunks
        async with gated_library.lane.transaction(gated_library.context) as tx:
            # It holds the document by the time it comes to the version.
            await tx.execute("SELECT FROM datalane.document_versions WHERE version_id = $1 FOR UPDATE", version_id)
            await gate.leave(NEW)
            await race.lab.blocked_backend()
            deleting = asyncio.create_task(race.delete(document_id))
            await race.lab.blocked_backend(2)
        await ingesting
        receipt = await deleting
        assert (race.tally.completed, race.tally.lost) == (2, 0)
        assert receipt.chunks > before
        assert receipt.vectors == receipt.chunks - before
        assert await race.nothing_is_left(document_id)

"""Workspaces over the bound from which they get an index of their own, and the duty that makes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from tests.integration.engine.lab import eventually
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.db.roles import Roles
from datalane.kit.ids import uuid7
from datalane.knowledge.indexing import IndexChunks, Span, index_chunks
from datalane.knowledge.models.in_use import Searched, searched_model
from datalane.knowledge.own_indexes.promotion import Promotion
from datalane.knowledge.retrieval.service import search_semantic
from datalane.knowledge.vectors import to_wire
from datalane.settings import SearchSettings

BOUND = 40
SETTINGS = SearchSettings(exact_chunks=BOUND)
_WORDS = ("wing", "flow", "heat", "shock", "plate", "layer", "speed", "wave", "panel", "drag", "nozzle", "gas")


@dataclass
class Shelf:
    """A library of large and small workspaces, with the maintenance login's connection."""

    library: Library
    maintenance: asyncpg.Connection

    async def fill(self, chunks: int, context: Context | None = None) -> UUID:
        """A document of its own, of so many chunks of three words each."""
        context = context or self.library.context
        parts = [
            " ".join(_WORDS[(n * step + step) % len(_WORDS)] for step in (1, 5, 7)) + f" {n}" for n in range(chunks)
        ]
        spans, place = [], 0
        for part in parts:
            spans.append(Span(start_offset=place, end_offset=place + len(part)))
            place += len(part) + 1
        request = IndexChunks(text="\n".join(parts), chunks=spans, source_uri=f"shelf:{uuid7()}")
        prepared = await self.library.prepare(request, context)
        async with self.library.lane.transaction(context) as tx:
            return (await index_chunks(tx, prepared)).document_id

    async def keep(self, now: datetime | None = None, **said: Any) -> None:
        """One run of the duty."""
        await Promotion(said.pop("settings", SETTINGS), Roles(), **said).keep(self.maintenance, now)

    async def known(self, context: Context | None = None) -> list[dict[str, Any]]:
        """The workspace's indexes as it reads them."""
        async with self.library.lane.transaction(context or self.library.context) as tx:
            return [
                dict(row)
                for row in await tx.fetch("SELECT status, recall, chunks, measured_at FROM datalane.vector_indexes")
            ]

    async def statuses(self, context: Context | None = None) -> list[str]:
        return [row["status"] for row in await self.known(context)]

    async def built(self) -> list[str]:
        """The definitions of the indexes in the database."""
        rows = await self.maintenance.fetch(
            "SELECT indexdef FROM pg_indexes WHERE starts_with(indexname, 'chunk_vectors_own_') ORDER BY indexdef"
        )
        return [row["indexdef"] for row in rows]

    async def searched(self, context: Context | None = None) -> Searched:
        async with self.library.lane.transaction(context or self.library.context) as tx:
            return await searched_model(tx, self.library.knowledge.providers.usual)

    async def nearest(self, model: Searched, text: str, context: Context | None = None) -> dict[UUID, float]:
        """The ten chunks nearest to `text`, by the index of `model` if it says so."""
        [vector] = to_wire(self.library.knowledge.embedder.embed([text]))
        async with self.library.lane.transaction(context or self.library.context) as tx:
            return await search_semantic(tx, model, vector, 10)

    async def building(self, urls: Prepared) -> asyncio.Task[None]:
        """A run of the duty whose build waits for a transaction that is open."""
        connection = await asyncpg.connect(urls.maintenance_url)

        async def keep() -> None:
            try:
                await Promotion(SETTINGS, Roles()).keep(connection)
            finally:
                await connection.close()

        task = asyncio.create_task(keep())
        await eventually(self.build_waits)
        return task

    async def build_waits(self) -> bool:
        """Whether a build waits for a transaction."""
        phases = await self.maintenance.fetch("SELECT phase FROM pg_stat_progress_create_index")
        return any(row["phase"].startswith("waiting") for row in phases)

    async def valid(self) -> list[bool]:
        """Of each index in the database, whether it was built to the end."""
        rows = await self.maintenance.fetch(
            "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE starts_with(c.relname, 'chunk_vectors_own_')"
        )
        return [row["indisvalid"] for row in rows]

    async def as_owner(self, statement: str) -> None:
        await self.maintenance.execute(f"SET ROLE {Roles().owner}")
        await self.maintenance.execute(statement)
        await self.maintenance.execute("RESET ROLE")

    async def scans(self, workspace_id: str = "") -> int:
        """How often the indexes were asked, or that of one workspace."""
        await self.maintenance.execute("SELECT pg_stat_clear_snapshot()")
        asked = (
            "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE starts_with(indexrelname, "
            "'chunk_vectors_own_') AND pg_get_indexdef(indexrelid) LIKE '%' || $1 || '%'"
        )
        return int(await self.maintenance.fetchval(asked, workspace_id))

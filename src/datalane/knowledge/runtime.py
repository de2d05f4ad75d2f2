"""What knowledge needs while the process runs: the file store, the extraction children, the embedding models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from datalane.db.database import Database
from datalane.engine.handlers import Handler, Handlers, Mode
from datalane.kit.outbound import Outbound
from datalane.knowledge.documents.actions import Bringing
from datalane.knowledge.documents.fetching import Fetching
from datalane.knowledge.documents.removal import Removal
from datalane.knowledge.documents.service import INGEST
from datalane.knowledge.documents.sweep import SWEEP, Sweep
from datalane.knowledge.embeddings import Embedder, WordLlamaEmbedder
from datalane.knowledge.endpoint import Endpoint
from datalane.knowledge.extraction import ExtractionPool
from datalane.knowledge.extraction.types import Bounds
from datalane.knowledge.files import FileStore
from datalane.knowledge.ingestion import Ingestion
from datalane.knowledge.models.backfill import ModelJobs
from datalane.knowledge.providers import Builtin, Providers
from datalane.settings import Settings

INGEST_BATCH = 50
"""Documents that share a child's message and a transaction."""
WRITTEN_AT_ONCE = 8
"""Uploads of one process whose bytes are in memory on their way to the file store; others wait on disk."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """`pool` starts its children when they are first needed; the built-in model loads at the first query.

    Hold `writing` while an upload's bytes are in memory. Originals without a document are orphans after `orphan_age`.
    """

    files: FileStore
    pool: ExtractionPool
    providers: Providers
    orphan_age: timedelta = timedelta(days=1)
    fetching: Fetching = field(default_factory=lambda: Fetching(Outbound()))
    writing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WRITTEN_AT_ONCE))

    @property
    def embedder(self) -> Embedder:
        """The model in this process."""
        return self.providers.builtin.embedder

    async def aclose(self) -> None:
        """End the children."""
        await self.pool.aclose()
        await self.providers.aclose()

    def sweep(self, database: Database) -> Sweep:
        return Sweep(database, self.files, self.orphan_age)

    def register(self, handlers: Handlers, database: Database) -> None:
        """Add the handlers of document jobs."""
        ingestion = Ingestion(database, self.files, self.pool, self.providers)
        handlers.add(
            Handler(
                INGEST,
                Mode.STAGED,
                ingestion.apply,
                prepare=ingestion.prepare,
                batch=INGEST_BATCH,
                on_failure=ingestion.failed,
            )
        )
        Removal(self.files).register(handlers)
        Bringing(database, self.files, self.fetching, self.writing).register(handlers)
        handlers.add(Handler(SWEEP, Mode.EXTERNAL, self.sweep(database).run))
        ModelJobs(database, self.providers).register(handlers)


def make_knowledge(settings: Settings) -> Knowledge:
    """It starts nothing yet; use it with `open_knowledge`. Raises `ConfigurationError` for an unusable file store."""
    parsing, limits = settings.parsing, settings.limits
    pool = ExtractionPool(
        parsing.processes,
        parsing.timeout.total_seconds(),
        parsing.memory,
        bounds=Bounds(limits.chunks_per_document, limits.title_characters),
    )
    providers = Providers(Builtin(WordLlamaEmbedder()), [Endpoint(one) for one in settings.embeddings.endpoints])
    fetching = Fetching(Outbound(settings.outbound.allowed, settings.outbound.timeout))
    return Knowledge(FileStore(settings.files), pool, providers, settings.retention.orphaned_originals, fetching)


@asynccontextmanager
async def open_knowledge(settings: Settings, made: Knowledge | None = None) -> AsyncIterator[Knowledge]:
    """`made`, or a new one, whose children end with the block. Raises `ConfigurationError` as `make_knowledge` does."""
    knowledge = made or make_knowledge(settings)
    try:
        yield knowledge
    finally:
        await knowledge.aclose()

"""A lane with knowledge and a running worker, and what tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from tests.conftest import a_context

from datalane.contracts.context import Context, Role
from datalane.db.provision import Prepared as Provisioned
from datalane.db.transaction import Transaction
from datalane.engine.events import get_event
from datalane.engine.handlers import Job
from datalane.engine.worker import WorkerSettings
from datalane.errors import NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import discard_original, store_original
from datalane.knowledge.documents.schemas import Document, NewDocument, Uploaded
from datalane.knowledge.documents.service import get_document, upload_or_discard
from datalane.knowledge.extraction import ExtractionPool
from datalane.knowledge.indexing import IndexChunks, Prepared, prepare
from datalane.knowledge.methods import Method
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval.schemas import Answer, Query
from datalane.knowledge.retrieval.service import retrieve
from datalane.knowledge.runtime import Knowledge, open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings

PATIENCE = 30.0
UNFINISHED = (
    "SELECT kind, status, shelf, attempt_count, rescue_count, next_retry_at, last_error_class, last_error_message "
    "FROM datalane.jobs ORDER BY id LIMIT 5"
)
TABLES = (
    "documents",
    "document_versions",
    "chunks",
    "chunk_vectors",
    "search_postings",
    "search_entries",
    "responses",
    "response_segments",
    "citations",
)


@dataclass
class Library:
    """`bring_in` uploads as `context` and waits, by the event, until the worker is through with the document."""

    lane: Lane
    knowledge: Knowledge
    context: Context
    outcomes: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    _contexts: dict[UUID, Context] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("document.ingested", "document.failed"):
            self.lane.handlers.on_event(name, kind=f"test:{name}")(self._note)

    async def _note(self, tx: Transaction, job: Job) -> None:
        event = await get_event(tx, UUID(job.args["event_id"]))
        assert event is not None
        tx.after_commit(lambda: self.outcomes.put_nowait((event.event_type, str(event.subject_id))))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker in the background."""
        stop, ready = asyncio.Event(), asyncio.Event()
        worker = self.lane.worker(WorkerSettings(poll=timedelta(milliseconds=200)))
        task = asyncio.create_task(worker.run(stop, ready))
        await asyncio.wait_for(ready.wait(), PATIENCE)
        try:
            yield
        finally:
            stop.set()
            await task

    def acting(self, role: Role = Role.OWNER, workspace_id: UUID | None = None) -> Context:
        return replace(self.context, role=role, workspace_id=workspace_id or self.context.workspace_id)

    async def upload(self, data: bytes, context: Context | None = None, **said: Any) -> Uploaded:
        """Keep a file and enqueue its ingestion."""
        context = context or self.context
        self._contexts[context.workspace_id] = context
        files, limits = self.knowledge.files, self.lane.settings.limits
        original = await store_original(files, context.workspace_id, NewDocument(**said), data, limits)
        try:
            async with self.lane.transaction(context) as tx:
                return await upload_or_discard(tx, files, original)
        except NotFound:
            await discard_original(files, original)
            raise

    async def prepare(self, request: IndexChunks, context: Context | None = None) -> Prepared:
        """Chunks and vectors of the lane's own model, and the original in the store."""
        workspace_id, usual = (context or self.context).workspace_id, frozenset({self.knowledge.providers.usual})
        return await prepare(self.knowledge, workspace_id, request, self.lane.settings.limits, usual)

    async def through(self, count: int = 1) -> list[tuple[str, str]]:
        """The next outcomes; where one does not come, which jobs are not through is said."""
        outcomes: list[tuple[str, str]] = []
        try:
            for _ in range(count):
                outcomes.append(await asyncio.wait_for(self.outcomes.get(), PATIENCE))
        except TimeoutError:
            raise AssertionError(f"{len(outcomes)} of {count} outcomes; left are {await self._unfinished()}") from None
        return outcomes

    async def _unfinished(self) -> list[dict[str, Any]]:
        rows: list[Any] = []
        for context in self._contexts.values():
            async with self.lane.transaction(context) as tx:
                rows += await tx.fetch(UNFINISHED)
        return [dict(row) for row in rows]

    async def bring_in(self, data: bytes | str, context: Context | None = None, **said: Any) -> Document:
        said.setdefault("filename", "note.txt")
        uploaded = await self.upload(data.encode() if isinstance(data, str) else data, context, **said)
        assert uploaded.created
        await self.through()
        return await self.document(uploaded.document_id, context)

    async def document(self, document_id: UUID, context: Context | None = None) -> Document:
        async with self.lane.transaction(context or self.context) as tx:
            return await get_document(tx, document_id)

    async def ask(
        self, text: str, method: Method, context: Context | None = None, limit: int = 10, **said: Any
    ) -> Answer:
        query = Query(query=text, method=method, limit=limit, **said)
        async with self.lane.transaction(context or self.context) as tx:
            return await retrieve(tx, QueryVectors(self.knowledge.providers, text), query)

    async def count(self, table: str, context: Context | None = None) -> int:
        async with self.lane.transaction(context or self.context) as tx:
            return int(await tx.fetchval(f"SELECT count(*) FROM datalane.{table}"))

    async def counts(self, context: Context | None = None) -> dict[str, int]:
        """Rows of the workspace in every table of knowledge."""
        return {table: await self.count(table, context) for table in TABLES}

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.lane.transaction(self.context) as tx:
            return await tx.fetch(sql, *args)

    async def stored_files(self) -> int:
        folder = self.lane.settings.home / "files"
        return sum(1 for path in folder.rglob("*") if path.is_file())


@asynccontextmanager
async def library_with_children(urls: Provisioned, home: Path, setup: str) -> AsyncIterator[Library]:
    """Its extraction children call the function `setup` when they start. No worker runs."""
    settings, lane = Settings(home=home), Lane()
    pool = ExtractionPool(setup=(setup,))
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as plain, pool:
        knowledge = replace(plain, pool=pool)
        knowledge.register(lane.handlers, lane.database)
        yield Library(lane, knowledge, a_context(role=Role.OWNER))


async def until_somebody_waits(connection: asyncpg.Connection) -> None:
    """Until a transaction of this database waits for an advisory lock."""
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(waiting):
            await asyncio.sleep(0)


def a_job(context: Context, kind: str, args: dict[str, Any]) -> Job:
    """A job as a handler gets it."""
    ids: dict[str, Any] = {"workspace_id": context.workspace_id, "id": uuid7(), "actor_id": context.actor_id}
    counts: dict[str, Any] = {
        "attempt_count": 1,
        "max_attempts": 3,
        "rescue_count": 0,
        "lease_token": 1,
        "causation_depth": 0,
    }
    return Job(
        **ids,
        **counts,
        kind=kind,
        args=args,
        subject_id=None,
        correlation_id=context.correlation_id,
        causation_id=None,
        order_key=None,
        queued_at=context.request_timestamp,
    )

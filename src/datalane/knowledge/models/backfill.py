"""Filling a model with vectors of what is there, and clearing one that was retired, in slices by jobs.

A slice is one job: it reads the next chunks without a vector, has them embedded while no transaction is open, and
writes the vectors together with its completion and the job of the next slice. A slice that is done again finds nothing
left to do. What a new version of a document replaces meanwhile is not filled: its document is locked when the vectors
are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.engine.jobs import enqueue
from datalane.kit.clock import utc_now
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.models.in_use import hold_models
from datalane.knowledge.providers import Providers
from datalane.knowledge.vectors import to_wire

BACKFILL = "embedding.backfill"
CLEAR = "embedding.clear"
SLICE = 500
"""Chunks of one job."""
CLEARED = 5_000
"""Vectors that go in one transaction."""
UNTIL_CLEARED = timedelta(minutes=10)
"""A query that began before its model was retired has ended by then."""
ATTEMPTS = 10
"""Of one slice. Waiting for an endpoint spends none."""

_BEFORE_ALL = UUID(int=0)

_queries = load_queries(__file__)


async def begin_backfill(tx: Transaction, model_version: str, following: UUID = _BEFORE_ALL) -> None:
    """Enqueue the slice after the chunk `following`; the model shows its job."""
    args = {"model_version": model_version, "following": str(following)}
    job = await enqueue(tx, BACKFILL, args, subject_id=model_version, max_attempts=ATTEMPTS)
    await _queries.set_backfill(
        tx.connection, workspace_id=tx.workspace_id, model_version=model_version, job_id=job.job_id
    )


async def begin_clearing(tx: Transaction, model_version: str, retired_at: datetime) -> None:
    """Enqueue the removal of the vectors of a model that was retired then."""
    args = {"model_version": model_version, "retired_at": retired_at.isoformat()}
    await enqueue(tx, CLEAR, args, subject_id=model_version, delay=UNTIL_CLEARED)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Chunks with vectors on their way into the database, in the order of their ids."""

    chunk_ids: list[UUID]
    document_ids: list[UUID]
    embeddings: list[bytes]
    is_last: bool


class ModelJobs:
    """The handlers of these jobs."""

    def __init__(self, database: Database, providers: Providers) -> None:
        self._database = database
        self._providers = providers

    def register(self, handlers: Handlers) -> None:
        handlers.add(Handler(BACKFILL, Mode.STAGED, self.apply, prepare=self.prepare))
        handlers.add(Handler(CLEAR, Mode.TRANSACTIONAL, self.clear))

    async def prepare(self, jobs: Sequence[Job]) -> list[Slice | None]:
        """The slice of each job, None where the model is in use no more. Raises as `Provider.embed`."""
        return [await self._prepare(job) for job in jobs]

    async def _prepare(self, job: Job) -> Slice | None:
        model_version = job.args["model_version"]
        async with self._database.transaction(Context.system(job.workspace_id, job.correlation_id)) as tx:
            scope = {"workspace_id": tx.workspace_id, "model_version": model_version}
            model = await _queries.get_model(tx.connection, **scope)
            if model is None or model["status"] == "retired":
                return None
            provider = self._providers.get(model_version)
            provider.check(job.workspace_id)
            following, most = UUID(job.args["following"]), min(SLICE, provider.batch)
            rows = await _queries.next_chunks(tx.connection, **scope, following=following, most=most)
        passages = [passage_text(row["title"], row["text"]) for row in rows]
        vectors = await provider.embed(job.workspace_id, passages) if rows else None
        return Slice(
            chunk_ids=[row["chunk_id"] for row in rows],
            document_ids=[row["document_id"] for row in rows],
            embeddings=to_wire(vectors) if vectors is not None else [],
            is_last=len(rows) < most,
        )

    async def apply(self, tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Slice | None]) -> None:
        """Write the vectors and enqueue what follows; after the last slice the model is ready, if it lacks none."""
        for job, slice_ in zip(jobs, prepared, strict=True):
            if slice_ is not None:
                await self._write(tx, job.args["model_version"], slice_)

    async def _write(self, tx: Transaction, model_version: str, slice_: Slice) -> None:
        in_use = await hold_models(tx, self._providers.usual)
        if model_version not in in_use.all:
            return  # it was retired while the vectors were made
        scope = {"workspace_id": tx.workspace_id, "model_version": model_version}
        await _queries.hold_documents(
            tx.connection, workspace_id=tx.workspace_id, document_ids=sorted(set(slice_.document_ids))
        )
        await _queries.fill_vectors(tx.connection, **scope, chunk_ids=slice_.chunk_ids, embeddings=slice_.embeddings)
        if not slice_.is_last:
            await begin_backfill(tx, model_version, slice_.chunk_ids[-1])
        elif await _queries.is_missing(tx.connection, **scope):
            await begin_backfill(tx, model_version)
        else:
            await _queries.move_model(tx.connection, **scope, sources=["filling"], target="ready", now=utc_now())

    async def clear(self, tx: Transaction, job: Job) -> None:
        """Take the next vectors away, unless the model is in use again, or was and is retired anew."""
        scope = {"workspace_id": tx.workspace_id, "model_version": job.args["model_version"]}
        await hold_models(tx, self._providers.usual)
        model = await _queries.get_model(tx.connection, **scope)
        if model is None or model["status"] != "retired" or model["updated_at"].isoformat() != job.args["retired_at"]:
            return
        await _queries.clear_vectors(tx.connection, **scope, most=CLEARED)
        if await _queries.has_vectors(tx.connection, **scope):
            # One slice is not the cause of the next: however many there are, they are one piece of work.
            alone = tx.acting_as(Context.system(tx.workspace_id, tx.context.correlation_id))
            await enqueue(alone, CLEAR, job.args, subject_id=job.args["model_version"])

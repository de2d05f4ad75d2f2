"""Ingestion: from stored originals to searchable chunks.

    prepare (outside)                     apply (one transaction, with the jobs' completion)
    read originals ─> child process:      lock documents ─> texts, chunks, vectors, postings
    parse, chunk, embed                   ─> old version out, pointer forward ─> document.ingested

Readers see all of the old version or all of the new one. Versions only move a document forward: a slow old upload never
replaces a newer one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database, encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, publish, publish_batch
from datalane.engine.failures import JobError
from datalane.engine.handlers import Failure, Job
from datalane.engine.search.index import Collection, add_entries, remove_entries
from datalane.engine.search.language import search_language
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.extraction import ExtractionPool, Source
from datalane.knowledge.extraction.types import Extracted
from datalane.knowledge.extraction.types import Failure as ExtractionFailure
from datalane.knowledge.files import FileStore, is_key_of
from datalane.knowledge.vectors import to_wire

_queries = load_queries(__file__, "ingestion.sql")


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A version that was extracted and is ready to be written."""

    version_id: UUID
    document_id: UUID
    ordinal: int
    extracted: Extracted

    @property
    def model_version(self) -> str:
        return model_version(self.extracted)


def model_version(extracted: Extracted) -> str:
    return f"{extracted.embedder_name}/{extracted.embedder_version}"


class Ingestion:
    """The handlers of document jobs."""

    def __init__(self, database: Database, files: FileStore, pool: ExtractionPool) -> None:
        self._database = database
        self._files = files
        self._pool = pool

    async def prepare(self, jobs: Sequence[Job]) -> list[Arrival | JobError | None]:
        """Read, parse, chunk and embed; one result a job, None when the document is gone."""
        rows = await self._read_versions(jobs)
        present = [job for job in jobs if UUID(job.args["version_id"]) in rows]
        sources = [await self._source(rows[UUID(job.args["version_id"])]) for job in present]
        extracted = await self._pool.extract_many(sources)
        results: dict[UUID, Arrival | JobError] = {}
        for job, outcome in zip(present, extracted, strict=True):
            row = rows[UUID(job.args["version_id"])]
            if isinstance(outcome, ExtractionFailure):
                results[job.id] = JobError(outcome.error_class, outcome.message, retryable=outcome.retryable)
            else:
                results[job.id] = Arrival(row["version_id"], row["document_id"], row["ordinal"], outcome)
        return [results.get(job.id) for job in jobs]

    async def _read_versions(self, jobs: Sequence[Job]) -> dict[UUID, Any]:
        context = Context.system(jobs[0].workspace_id, jobs[0].correlation_id)
        async with self._database.transaction(context) as tx:
            rows = await _queries.read_versions(
                tx.connection,
                workspace_id=tx.workspace_id,
                version_ids=[UUID(job.args["version_id"]) for job in jobs],
            )
        return {row["version_id"]: row for row in rows}

    async def _source(self, row: Any) -> Source:
        data = await self._files.get(row["file_key"])
        return Source(data, row["filename"], row["media_type"], row["title"])

    async def apply(self, tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        """Write what was prepared; the jobs complete with it."""
        pairs = [(job, arrival) for job, arrival in zip(jobs, prepared, strict=True) if arrival is not None]
        written = await write(tx, [arrival for _, arrival in pairs])
        arrived = [(job, arrival) for job, arrival in pairs if arrival.version_id in written]
        for (correlation_id, actor_id), group in groupby(
            sorted(arrived, key=lambda pair: (pair[0].correlation_id, str(pair[0].actor_id))),
            key=lambda pair: (pair[0].correlation_id, pair[0].actor_id),
        ):
            context = Context(tx.workspace_id, actor_id, tx.context.role, correlation_id)
            await publish_batch(tx.acting_as(context), [_ingested(arrival) for _, arrival in group])

    async def failed(self, tx: Transaction, job: Job, failure: Failure) -> None:
        """Tell the world when no further attempt follows."""
        if failure.retryable and job.attempt_count < job.max_attempts:
            return
        payload = {"document_id": job.subject_id, "error_class": failure.error_class}
        await publish(tx, "document.failed", payload, subject_id=job.subject_id)

    async def delete_file(self, job: Job) -> None:
        """Whoever may enqueue chooses the args, so they reach no other workspace's files."""
        key = job.args["file_key"]
        if not is_key_of(job.workspace_id, key):
            raise JobError("wrong_file", "the file is none of this workspace's originals", retryable=False)
        await self._files.delete(key)


def _ingested(arrival: Arrival) -> NewEvent:
    return NewEvent(
        "document.ingested",
        {
            "document_id": str(arrival.document_id),
            "version_id": str(arrival.version_id),
            "chunks": len(arrival.extracted.chunks),
            "characters": len(arrival.extracted.text),
        },
        subject_id=str(arrival.document_id),
    )


async def write(tx: Transaction, arrivals: Sequence[Arrival]) -> set[UUID]:
    """Write versions with their chunks and make them current; answers the version ids written.

    Versions of deleted documents are passed over. A version older than the current one keeps its text and chunks for
    citations but does not enter the index.
    """
    locked = await _queries.lock_documents(
        tx.connection, workspace_id=tx.workspace_id, document_ids=[a.document_id for a in arrivals]
    )
    documents = {row["document_id"]: row for row in locked}
    present = [arrival for arrival in arrivals if arrival.document_id in documents]
    if not present:
        return set()
    language = await search_language(tx)
    await _put_texts(tx, present, language)
    newest: dict[UUID, Arrival] = {}
    for arrival in present:
        best = newest.get(arrival.document_id)
        floor = best.ordinal if best else documents[arrival.document_id]["current_ordinal"]
        if arrival.ordinal >= floor:
            newest[arrival.document_id] = arrival
    current = set(newest.values())
    await _take_out(tx, [documents[a.document_id]["current_version_id"] for a in current])
    await _put_chunks(tx, present, current, language)
    await _queries.set_current(
        tx.connection,
        workspace_id=tx.workspace_id,
        document_ids=[arrival.document_id for arrival in current],
        version_ids=[arrival.version_id for arrival in current],
        ordinals=[arrival.ordinal for arrival in current],
        now=utc_now(),
    )
    return {arrival.version_id for arrival in present}


async def _put_texts(tx: Transaction, arrivals: Sequence[Arrival], language: str) -> None:
    extracted = [arrival.extracted for arrival in arrivals]
    await _queries.put_texts(
        tx.connection,
        workspace_id=tx.workspace_id,
        version_ids=[arrival.version_id for arrival in arrivals],
        texts=[one.text for one in extracted],
        titles=[one.title for one in extracted],
        media_types=[one.media_type for one in extracted],
        page_starts=[encode_json(one.page_starts) for one in extracted],
        parser_versions=[one.parser_version for one in extracted],
        chunker_versions=[one.chunker_version for one in extracted],
        model_versions=[arrival.model_version for arrival in arrivals],
        language=language,
        now=utc_now(),
    )


async def _take_out(tx: Transaction, version_ids: Sequence[UUID | None]) -> None:
    """Old versions leave the index; their chunks stay, so that citations of them stay true."""
    old = [version_id for version_id in version_ids if version_id is not None]
    if not old:
        return
    rows = await _queries.list_version_chunks(tx.connection, workspace_id=tx.workspace_id, version_ids=old)
    chunk_ids = [row["chunk_id"] for row in rows]
    await _queries.drop_vectors(tx.connection, workspace_id=tx.workspace_id, chunk_ids=chunk_ids)
    await remove_entries(tx, Collection.CHUNKS, chunk_ids)


async def _put_chunks(tx: Transaction, arrivals: Sequence[Arrival], current: set[Arrival], language: str) -> None:
    rows = [(arrival, chunk, uuid7()) for arrival in arrivals for chunk in arrival.extracted.chunks]
    texts = [arrival.extracted.text[chunk.start : chunk.end] for arrival, chunk, _ in rows]
    await _queries.drop_chunks(
        tx.connection, workspace_id=tx.workspace_id, version_ids=[arrival.version_id for arrival in arrivals]
    )
    await _queries.add_chunks(
        tx.connection,
        workspace_id=tx.workspace_id,
        chunk_ids=[chunk_id for _, _, chunk_id in rows],
        document_ids=[arrival.document_id for arrival, _, _ in rows],
        version_ids=[arrival.version_id for arrival, _, _ in rows],
        ordinals=[chunk.ordinal for _, chunk, _ in rows],
        starts=[chunk.start for _, chunk, _ in rows],
        ends=[chunk.end for _, chunk, _ in rows],
        start_bytes=[chunk.start_byte for _, chunk, _ in rows],
        end_bytes=[chunk.end_byte for _, chunk, _ in rows],
        pages=[_page(arrival.extracted, chunk.start) for arrival, chunk, _ in rows],
        texts=texts,
    )
    indexed = [
        (arrival, chunk, chunk_id, text)
        for (arrival, chunk, chunk_id), text in zip(rows, texts, strict=True)
        if arrival in current
    ]
    wires = {arrival: to_wire(arrival.extracted.embeddings) for arrival in current}
    await _queries.add_vectors(
        tx.connection,
        workspace_id=tx.workspace_id,
        model_versions=[arrival.model_version for arrival, _, _, _ in indexed],
        chunk_ids=[chunk_id for _, _, chunk_id, _ in indexed],
        embeddings=[wires[arrival][chunk.ordinal] for arrival, chunk, _, _ in indexed],
    )
    passages = [passage_text(arrival.extracted.title, text) for arrival, _, _, text in indexed]
    await add_entries(tx, Collection.CHUNKS, [chunk_id for _, _, chunk_id, _ in indexed], passages, language)


def _page(extracted: Extracted, start: int) -> int | None:
    """The page, from 1, that holds character `start`."""
    return bisect_right(extracted.page_starts, start) if extracted.page_starts else None

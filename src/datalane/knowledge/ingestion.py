"""Ingestion: from stored originals to searchable chunks.

    prepare (outside)                     apply (one transaction, with the jobs' completion)
    read originals ─> child process:      lock documents ─> texts, chunks, vectors, postings
    parse, chunk, embed                   ─> old version out, pointer forward ─> document.ingested

Readers see all of the old version or all of the new one. Versions only move a document forward: a slow old upload never
replaces a newer one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database, encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, publish, publish_batch
from datalane.engine.failures import JobError
from datalane.engine.handlers import Failure, Job
from datalane.engine.search.index import Collection, add_entries, remove_entries
from datalane.engine.search.language import hold_search_language
from datalane.errors import Busy, RateLimited
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.chunking import check_places
from datalane.knowledge.documents.originals import digest
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.extraction import ExtractionPool, Source
from datalane.knowledge.extraction.types import Extracted
from datalane.knowledge.extraction.types import Failure as ExtractionFailure
from datalane.knowledge.files import FileStore
from datalane.knowledge.headings import paths
from datalane.knowledge.models.in_use import InUse, check_models, covers, embed_documents, hold_models
from datalane.knowledge.parsing.errors import OriginalChanged
from datalane.knowledge.providers import Providers
from datalane.knowledge.vectors import to_wire

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors

_AT_ONCE = 0.001
"""Seconds."""

_queries = load_queries(__file__, "ingestion.sql")


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A version that was extracted and is ready to be written."""

    version_id: UUID
    document_id: UUID
    ordinal: int
    extracted: Extracted
    vectors: Mapping[str, Vectors]
    """By model, of every model in use; the rows are the chunks'."""


class Ingestion:
    """The handlers of document jobs."""

    def __init__(self, database: Database, files: FileStore, pool: ExtractionPool, providers: Providers) -> None:
        self._database = database
        self._files = files
        self._pool = pool
        self._providers = providers

    async def prepare(self, jobs: Sequence[Job]) -> list[Arrival | Exception | None]:
        """Read, parse, chunk and embed; one result a job, None when the document is gone.

        A file that is not the one that was uploaded is not read any further.

        Raises `EmbeddingRefused` for a text among them that a provider will not take.
        """
        rows, models = await self._read_versions(jobs)
        present = {job.id: rows[key] for job in jobs if (key := UUID(job.args["version_id"])) in rows}
        try:
            check_models(self._providers, jobs[0].workspace_id, models)
            outcomes = await self._extract({key: await self._source(row) for key, row in present.items()})
            extracted = {key: one for key, one in outcomes.items() if isinstance(one, Extracted)}
            embedded = await embed_documents(self._providers, jobs[0].workspace_id, models, list(extracted.values()))
        except (RateLimited, Busy) as told:
            return [told if job.id in present else None for job in jobs]
        vectors = dict(zip(extracted, embedded, strict=True))
        return [_result(present.get(job.id), outcomes.get(job.id), vectors.get(job.id)) for job in jobs]

    async def _read_versions(self, jobs: Sequence[Job]) -> tuple[dict[UUID, Any], frozenset[str]]:
        """The versions that are there, and the models in use."""
        context = Context.system(jobs[0].workspace_id, jobs[0].correlation_id)
        async with self._database.transaction(context) as tx:
            rows = await _queries.read_versions(
                tx.connection,
                workspace_id=tx.workspace_id,
                version_ids=[UUID(job.args["version_id"]) for job in jobs],
            )
            in_use = await hold_models(tx, self._providers.usual)
        return {row["version_id"]: row for row in rows}, in_use.all

    async def _source(self, row: Any) -> Source | ExtractionFailure:
        data = await self._files.get(row["file_key"])
        if await digest(data) != row["content_sha256"]:
            return ExtractionFailure(OriginalChanged.code, OriginalChanged.sentence, OriginalChanged.retryable)
        return Source(data, row["filename"], row["media_type"], row["title"])

    async def _extract(
        self, sources: Mapping[UUID, Source | ExtractionFailure]
    ) -> dict[UUID, Extracted | ExtractionFailure]:
        failures = {key: one for key, one in sources.items() if isinstance(one, ExtractionFailure)}
        whole = {key: one for key, one in sources.items() if isinstance(one, Source)}
        extracted = await self._pool.extract_many(list(whole.values()))
        return {**failures, **dict(zip(whole, extracted, strict=True))}

    async def apply(self, tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        """Write what was prepared; the jobs complete with it."""
        pairs = [(job, arrival) for job, arrival in zip(jobs, prepared, strict=True) if arrival is not None]
        written = await write(tx, [arrival for _, arrival in pairs], self._providers.usual)
        arrived = [(job, arrival) for job, arrival in pairs if arrival.version_id in written]
        for _, group in groupby(sorted(arrived, key=_cause), key=_cause):
            together = list(group)
            acting = tx.acting_for(tx.workspace_id, together[0][0].make_context)
            await publish_batch(acting, [_ingested(arrival) for _, arrival in together])

    async def failed(self, tx: Transaction, job: Job, failure: Failure) -> None:
        """Tell the world when no further attempt follows."""
        if failure.retryable and job.attempt_count < job.max_attempts:
            return
        payload = {"document_id": job.subject_id, "error_class": failure.error_class}
        await publish(tx, "document.failed", payload, subject_id=job.subject_id)


def _cause(pair: tuple[Job, Arrival]) -> tuple[str, str, str, int]:
    """What is the same for documents whose events are published together."""
    job, _ = pair
    return job.correlation_id, str(job.actor_id), str(job.causation_id), job.causation_depth


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


def _result(
    row: Any, outcome: Extracted | ExtractionFailure | None, vectors: Mapping[str, Vectors] | None
) -> Arrival | JobError | None:
    if isinstance(outcome, ExtractionFailure):
        return JobError(outcome.error_class, outcome.message, retryable=outcome.retryable)
    if outcome is None or vectors is None:
        return None
    return Arrival(row["version_id"], row["document_id"], row["ordinal"], outcome, vectors)


class ModelsChanged(RateLimited):
    """The workspace's embedding models changed after the vectors were made: they are to be made again, at once."""

    code = "embedding_models_changed"


async def write(tx: Transaction, arrivals: Sequence[Arrival], usual: str) -> set[UUID]:
    """Write versions with their chunks and make them current; answers the version ids written.

    Versions of deleted documents are passed over. A version older than the current one keeps its text and chunks for
    citations but does not enter the index. `usual` is the model of a workspace that registered none.

    Raises `WrongOffsets` for chunks that are not where they say, which is not left to the child that drew them, and
    `ModelsChanged` for an arrival without vectors of a model in use.
    """
    for arrival in arrivals:
        check_places(arrival.extracted.text, arrival.extracted.chunks)
    in_use = await hold_models(tx, usual)
    if not all(covers(arrival.vectors, in_use) for arrival in arrivals):
        raise ModelsChanged("the workspace's embedding models changed meanwhile; try again", _AT_ONCE)
    locked = await _queries.lock_documents(
        tx.connection, workspace_id=tx.workspace_id, document_ids=[a.document_id for a in arrivals]
    )
    documents = {row["document_id"]: row for row in locked}
    present = [arrival for arrival in arrivals if arrival.document_id in documents]
    if not present:
        return set()
    language = await hold_search_language(tx)
    await _put_texts(tx, present, language, in_use)
    newest: dict[UUID, Arrival] = {}
    for arrival in present:
        best = newest.get(arrival.document_id)
        floor = best.ordinal if best else documents[arrival.document_id]["current_ordinal"]
        if arrival.ordinal >= floor:
            newest[arrival.document_id] = arrival
    current = set(newest.values())
    await _take_out(tx, [documents[a.document_id]["current_version_id"] for a in current])
    await _put_chunks(tx, present, current, language, in_use)
    await _queries.set_current(
        tx.connection,
        workspace_id=tx.workspace_id,
        document_ids=[arrival.document_id for arrival in current],
        version_ids=[arrival.version_id for arrival in current],
        ordinals=[arrival.ordinal for arrival in current],
        now=utc_now(),
    )
    return {arrival.version_id for arrival in present}


async def _put_texts(tx: Transaction, arrivals: Sequence[Arrival], language: str, in_use: InUse) -> None:
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
        model_versions=[in_use.active for _ in arrivals],
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


async def _put_chunks(
    tx: Transaction, arrivals: Sequence[Arrival], current: set[Arrival], language: str, in_use: InUse
) -> None:
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
        headings=[path for arrival in arrivals for path in _heading_paths(arrival.extracted)],
        texts=texts,
    )
    indexed = [
        (arrival, chunk, chunk_id, text)
        for (arrival, chunk, chunk_id), text in zip(rows, texts, strict=True)
        if arrival in current
    ]
    wires = {(arrival, model): to_wire(arrival.vectors[model]) for arrival in current for model in in_use.all}
    for model in sorted(in_use.all):
        await _queries.add_vectors(
            tx.connection,
            workspace_id=tx.workspace_id,
            model_version=model,
            chunk_ids=[chunk_id for _, _, chunk_id, _ in indexed],
            embeddings=[wires[arrival, model][chunk.ordinal] for arrival, chunk, _, _ in indexed],
        )
    passages = [passage_text(arrival.extracted.title, text) for arrival, _, _, text in indexed]
    await add_entries(tx, Collection.CHUNKS, [chunk_id for _, _, chunk_id, _ in indexed], passages, language)


def _page(extracted: Extracted, start: int) -> int | None:
    """The page, from 1, that holds character `start`."""
    return bisect_right(extracted.page_starts, start) if extracted.page_starts else None


def _heading_paths(extracted: Extracted) -> list[str | None]:
    return paths(extracted.text, extracted.headings, (chunk.start for chunk in extracted.chunks))

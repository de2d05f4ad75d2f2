"""Bringing a corpus in, the way a user would: originals stored, documents uploaded in batches, a worker ingesting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from datalane.db.named_queries import load_queries
from datalane.demo.corpus import Corpus, File, identity_of
from datalane.demo.people import Person
from datalane.engine.worker import WorkerSettings
from datalane.errors import DatalaneError
from datalane.knowledge.documents.originals import Original, store_original
from datalane.knowledge.documents.service import INGEST, upload_batch
from datalane.knowledge.runtime import Knowledge
from datalane.lane import Lane

UPLOAD_BATCH = 100
_LOOK_EVERY = 0.05
_PATIENCE = 120.0

Progress = Callable[[int, int], None]
"""Called with documents that are through, and documents in all."""

queries = load_queries(__file__)


class IngestionStalled(DatalaneError):
    """No document came through for two minutes."""

    code = "ingestion_stalled"


@dataclass(frozen=True, slots=True)
class Failed:
    document: str
    error_class: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """Counts of documents, and seconds from the first upload until the last one was through."""

    documents: int
    searchable: int
    failures: list[Failed]
    chunks: int
    seconds: float


@asynccontextmanager
async def working(lane: Lane) -> AsyncIterator[None]:
    """A worker beside the block, drained at its end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    worker = lane.worker(WorkerSettings(jobs=lane.settings.jobs))
    task = asyncio.create_task(worker.run(stop, ready))
    try:
        await _first(task, ready.wait())
        yield
    finally:
        stop.set()
        await task


async def _first(task: asyncio.Task[None], waiting: object) -> None:
    """Wait until the worker is ready, or raise what ended it."""
    assert asyncio.iscoroutine(waiting)
    ready = asyncio.ensure_future(waiting)
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()


async def ingest(lane: Lane, knowledge: Knowledge, person: Person, corpus: Corpus, progress: Progress) -> Ingested:
    """Upload everything and wait until each document is searchable or has failed. Raises `IngestionStalled`."""
    began = time.perf_counter()
    uploading = asyncio.create_task(upload_corpus(lane, knowledge, person, corpus))
    try:
        searchable = await _wait_until_through(lane, person, corpus.documents, uploading, progress)
    finally:
        uploading.cancel()
    seconds = time.perf_counter() - began
    scope = {"workspace_id": person.workspace_id}
    async with lane.transaction(person.context()) as tx:
        failures = await queries.list_failures(tx.connection, **scope)
        chunks = await queries.count_chunks(tx.connection, **scope)
    failed = [Failed(identity_of(row["source_uri"]), row["last_error_class"]) for row in failures]
    return Ingested(corpus.documents, searchable, failed, chunks, seconds)


async def upload_corpus(lane: Lane, knowledge: Knowledge, person: Person, corpus: Corpus) -> None:
    """Store and enqueue every document; those that are there already are passed over."""

    async def keep(file: File) -> Original:
        async with knowledge.writing:
            return await store_original(
                knowledge.files, person.workspace_id, file.document, file.data, lane.settings.limits
            )

    for batch in _batches(corpus.files()):
        originals = await asyncio.gather(*map(keep, batch))
        async with lane.transaction(person.context()) as tx:
            uploaded = await upload_batch(tx, originals)
        repeated = [original for original, one in zip(originals, uploaded, strict=True) if not one.created]
        await asyncio.gather(*(knowledge.files.delete(original.file_key) for original in repeated))


def _batches(files: Iterator[File]) -> Iterator[list[File]]:
    while batch := list(islice(files, UPLOAD_BATCH)):
        yield batch


async def _wait_until_through(
    lane: Lane, person: Person, documents: int, uploading: asyncio.Task[None], progress: Progress
) -> int:
    """The number of searchable documents at the end."""
    through, moved = 0, time.monotonic()
    while True:
        if uploading.done():
            uploading.result()
        async with lane.transaction(person.context()) as tx:
            row = await queries.count_ingested(tx.connection, workspace_id=person.workspace_id, kind=INGEST)
        if row["searchable"] + row["failed"] != through:
            through, moved = row["searchable"] + row["failed"], time.monotonic()
        progress(through, documents)
        if through >= documents:
            return int(row["searchable"])
        if time.monotonic() - moved > _PATIENCE:
            raise IngestionStalled(f"{through} of {documents} documents are through, and no more came in two minutes")
        await asyncio.sleep(_LOOK_EVERY)

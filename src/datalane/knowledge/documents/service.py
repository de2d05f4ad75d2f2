"""Uploading, listing and deleting documents.

An upload stores the original first (`originals`) and then, in one short transaction, the document, its version and the
job that ingests it. The job's states are the document's: there is no second status to drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import audit
from datalane.engine.jobs import NewJob, cancel_jobs, enqueue_batch
from datalane.engine.quotas import use_what_is_sold
from datalane.engine.search.index import Collection, remove_entries
from datalane.errors import NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import Original, OriginalIdentity, discard_original, refuse_late
from datalane.knowledge.documents.removal import enqueue_removal
from datalane.knowledge.documents.schemas import Deleted, Document, DocumentPage, Ingestion, NewDocument, Uploaded
from datalane.knowledge.files import FileStore
from datalane.knowledge.meters import BYTES, DOCUMENTS
from datalane.knowledge.permissions import ADD_DOCUMENTS, DELETE_DOCUMENTS, READ_DOCUMENTS

INGEST = "document.ingest"

_queries = load_queries(__file__)


async def upload(tx: Transaction, original: Original) -> Uploaded:
    """Add a document, or a version of `document_id`. Raises `NotFound` for a document that is not there."""
    return (await upload_batch(tx, [original]))[0]


async def upload_batch(tx: Transaction, originals: Sequence[Original]) -> list[Uploaded]:
    """Add documents in order, all or none.

    The same bytes of the same source are one document, and what a document's newest version holds is no new version.
    """
    ADD_DOCUMENTS.check(tx.context)
    tx = tx.following()
    await _queries.lock_uploads(tx.connection, workspace_id=tx.workspace_id)
    refuse_late(originals, utc_now())
    known = await _find_known(tx, originals)
    answers: dict[UUID, Uploaded] = {}
    fresh: list[tuple[Original, UUID, int]] = []
    repeated: dict[UUID, UUID] = {}
    for original in originals:
        wanted = original.document.document_id
        same = known.get(original.identity)
        if same is not None:
            answers[original.version_id] = same
            repeated[original.version_id] = same.version_id
            continue
        document_id = wanted or uuid7()
        ordinal = 1 if wanted is None else await _next_version(tx, wanted)
        fresh.append((original, document_id, ordinal))
        if wanted is not None:
            known = {identity: there for identity, there in known.items() if there.document_id != wanted}
        newest = Uploaded(document_id=document_id, version_id=original.version_id, job_id=None, created=False)
        known |= {original.identity: newest, (original.sha256, document_id): newest}
    for original in originals:
        await describe(tx, original.document.document_id, original.document)
    jobs = await _add(tx, fresh)
    for (original, document_id, _), job_id in zip(fresh, jobs, strict=True):
        answers[original.version_id] = Uploaded(
            document_id=document_id, version_id=original.version_id, job_id=job_id, created=True
        )
    for version_id, first in repeated.items():
        if first in answers:
            answers[version_id] = answers[version_id].model_copy(update={"job_id": answers[first].job_id})
    return [answers[original.version_id] for original in originals]


async def upload_or_discard(tx: Transaction, files: FileStore, original: Original) -> Uploaded:
    """`upload`; when its bytes were here already, the stored file goes again after the commit."""
    uploaded = await upload(tx, original)
    if not uploaded.created:
        tx.after_commit(lambda: discard_original(files, original))
    return uploaded


async def describe(tx: Transaction, document_id: UUID | None, document: NewDocument) -> None:
    """Tags and metadata are the document's: what is said of them with a version, or with the same bytes, holds at
    once. None is a document that is not there yet."""
    said = document.model_fields_set & {"tags", "metadata"}
    if document_id is None or not said:
        return
    await _queries.describe(
        tx.connection,
        workspace_id=tx.workspace_id,
        document_id=document_id,
        tags=document.tags if "tags" in said else None,
        metadata=document.metadata if "metadata" in said else None,
    )


async def _find_known(tx: Transaction, originals: Sequence[Original]) -> dict[OriginalIdentity, Uploaded]:
    rows = await _queries.find_same(
        tx.connection,
        workspace_id=tx.workspace_id,
        content_sha256=[original.sha256 for original in originals],
        source_uris=[original.document.source_uri for original in originals],
        wanted=[original.document.document_id for original in originals],
    )
    return {
        (bytes(row["content_sha256"]), row["wanted"] or row["source_uri"]): Uploaded(
            document_id=row["document_id"], version_id=row["version_id"], job_id=row["job_id"], created=False
        )
        for row in rows
    }


async def _next_version(tx: Transaction, document_id: UUID) -> int:
    ordinal: int | None = await _queries.next_version(
        tx.connection, workspace_id=tx.workspace_id, document_id=document_id
    )
    if ordinal is None:
        raise NotFound("no such document")
    return ordinal


async def add_ready(tx: Transaction, original: Original) -> tuple[UUID, int]:
    """Rows for a text that the caller writes itself, without a job; answers document id and version ordinal.

    Raises `NotFound` for a `document_id` that is not there.
    """
    wanted = original.document.document_id
    document_id = wanted or uuid7()
    ordinal = 1 if wanted is None else await _next_version(tx, wanted)
    refuse_late([original], utc_now())
    await describe(tx, wanted, original.document)
    await _add_rows(tx, [(original, document_id, ordinal)], [None])
    return document_id, ordinal


async def _add(tx: Transaction, fresh: Sequence[tuple[Original, UUID, int]]) -> list[UUID]:
    """The rows of new versions and their jobs; answers the job ids."""
    jobs = [
        NewJob(INGEST, {"version_id": str(original.version_id)}, subject_id=str(document_id))
        for original, document_id, _ in fresh
    ]
    job_ids = [job.job_id for job in await enqueue_batch(tx, jobs)]
    await _add_rows(tx, fresh, job_ids)
    return job_ids


async def _add_rows(
    tx: Transaction, fresh: Sequence[tuple[Original, UUID, int]], job_ids: Sequence[UUID | None]
) -> None:
    new = [(original, document_id) for original, document_id, ordinal in fresh if ordinal == 1]
    if fresh:
        used = {DOCUMENTS: len(fresh), BYTES: sum(original.size for original, _, _ in fresh)}
        await use_what_is_sold(tx, used, f"version:{fresh[0][0].version_id}")
    if new:
        await _queries.add_documents(
            tx.connection,
            workspace_id=tx.workspace_id,
            document_ids=[document_id for _, document_id in new],
            titles=[original.document.title for original, _ in new],
            source_uris=[original.document.source_uri for original, _ in new],
            metadata=[encode_json(original.document.metadata) for original, _ in new],
            tags=[encode_json(original.document.tags) for original, _ in new],
            actor_id=tx.context.actor_id,
        )
    await _queries.add_versions(
        tx.connection,
        workspace_id=tx.workspace_id,
        version_ids=[original.version_id for original, _, _ in fresh],
        document_ids=[document_id for _, document_id, _ in fresh],
        ordinals=[ordinal for _, _, ordinal in fresh],
        filenames=[original.document.filename for original, _, _ in fresh],
        media_types=[original.document.media_type for original, _, _ in fresh],
        sizes=[original.size for original, _, _ in fresh],
        content_sha256=[original.sha256 for original, _, _ in fresh],
        file_keys=[original.file_key for original, _, _ in fresh],
        job_ids=job_ids,
        titles=[original.document.title for original, _, _ in fresh],
    )


async def get_document(tx: Transaction, document_id: UUID) -> Document:
    """Raises `NotFound`."""
    READ_DOCUMENTS.check(tx.context)
    row = await _queries.get_document(tx.connection, workspace_id=tx.workspace_id, document_id=document_id)
    if row is None:
        raise NotFound("no such document")
    return _document(row)


async def list_documents(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> DocumentPage:
    """Documents newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_DOCUMENTS.check(tx.context)
    after = tx.read_id_cursor("documents", cursor)
    rows = await _queries.list_documents(
        tx.connection, workspace_id=tx.workspace_id, after=after, page_size=page_size + 1
    )
    page, following = tx.cut_page("documents", rows, page_size, lambda row: [row["document_id"]])
    return DocumentPage(data=[_document(row) for row in page], page_size=page_size, next_cursor=following)


async def delete_document(tx: Transaction, document_id: UUID) -> Deleted:
    """Remove a document with versions, chunks, vectors and postings in this transaction; its files go by a job, which
    leaves an audit record of its own.

    Citations stay and say, when verified, that their source is gone. Raises `Forbidden` below admin, and `NotFound`.
    """
    DELETE_DOCUMENTS.check(tx.context)
    tx = tx.following()
    scope: dict[str, Any] = {"workspace_id": tx.workspace_id, "document_id": document_id}
    if await _queries.lock_document(tx.connection, **scope) is None:
        raise NotFound("no such document")
    versions = await _queries.list_versions(tx.connection, **scope)
    version_ids = [version["version_id"] for version in versions]
    rows = await _queries.list_chunk_ids(tx.connection, workspace_id=tx.workspace_id, version_ids=version_ids)
    chunk_ids = [row["chunk_id"] for row in rows]
    vectors = await _queries.count_vectors(tx.connection, workspace_id=tx.workspace_id, chunk_ids=chunk_ids)
    await cancel_jobs(tx, [version["job_id"] for version in versions if version["job_id"]])
    postings = await remove_entries(tx, Collection.CHUNKS, chunk_ids)
    if await _queries.delete_document(tx.connection, **scope) != "DELETE 1":
        raise NotFound("no such document")
    await enqueue_removal(tx, document_id, [version["file_key"] for version in versions])
    receipt = Deleted(
        document_id=document_id,
        versions=len(versions),
        chunks=len(chunk_ids),
        vectors=vectors,
        postings=postings,
        files=len(versions),
    )
    await audit.record(tx, "document.deleted", "document", document_id, after=receipt.model_dump(mode="json"))
    return receipt


def _document(row: Any) -> Document:
    return Document(
        **{name: row[name] for name in Document.model_fields if name != "ingestion"},
        ingestion=Ingestion(**{name: row[name] for name in Ingestion.model_fields}),
    )

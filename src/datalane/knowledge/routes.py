"""Routes of documents, retrieval and feedback."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, UploadFile

from datalane.contracts.context import Context
from datalane.contracts.http import Door, LateTransaction
from datalane.db.transaction import Transaction
from datalane.knowledge import indexing
from datalane.knowledge.documents import pushing
from datalane.knowledge.documents import service as documents
from datalane.knowledge.documents.fetching import FetchDocument
from datalane.knowledge.documents.originals import Original, discard_original, store_original
from datalane.knowledge.documents.schemas import (
    Deleted,
    Document,
    DocumentPage,
    NewDocument,
    Uploaded,
    WithdrawSource,
    describe_file,
    read_metadata,
)
from datalane.knowledge.evaluation import routes as evaluation_routes
from datalane.knowledge.evidence import routes as evidence_routes
from datalane.knowledge.feedback import service as feedback
from datalane.knowledge.feedback.schemas import Feedback, FeedbackList, NewFeedback, Rating
from datalane.knowledge.models import routes as model_routes
from datalane.knowledge.models.in_use import hold_models
from datalane.knowledge.permissions import (
    ADD_DOCUMENTS,
    DELETE_DOCUMENTS,
    GIVE_FEEDBACK,
    INDEX_CHUNKS,
    QUERY,
    READ_DOCUMENTS,
    READ_FEEDBACK,
)
from datalane.knowledge.retrieval import asked
from datalane.knowledge.retrieval import service as retrieval
from datalane.knowledge.retrieval.schemas import Answer, AskedQueries
from datalane.knowledge.retrieval.schemas import Query as RetrievalQuery
from datalane.knowledge.runtime import Knowledge
from datalane.settings import Limits


def router(door: Door, knowledge: Knowledge) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_adding_routes(door, knowledge))
    routes.include_router(_document_routes(door))
    routes.include_router(_retrieval_routes(door, knowledge))
    routes.include_router(evidence_routes.router(door))
    routes.include_router(_feedback_routes(door))
    routes.include_router(evaluation_routes.router(door))
    routes.include_router(model_routes.router(door, knowledge))
    return routes


def _feedback_routes(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/feedback", tags=["feedback"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/give", status_code=201)
    async def give(body: NewFeedback, tx: Transaction = door.writer(GIVE_FEEDBACK)) -> Feedback:
        """Say what you think of a response, a citation or a chunk. It moves no ranking."""
        return await feedback.give_feedback(tx, body)

    @routes.get("/list")
    async def list_feedback(
        rating: Rating | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_FEEDBACK),
    ) -> FeedbackList:
        """Feedback, the newest first. `cursor` is the `next_cursor` of the page before."""
        return await feedback.list_feedback(tx, rating, cursor, page_size)

    return routes


async def _kept(knowledge: Knowledge, late: LateTransaction, new: NewDocument, data: bytes, limits: Limits) -> Original:
    """The original in the file store, from which it goes again if the request fails."""
    original = await store_original(knowledge.files, late.context.workspace_id, new, data, limits)
    late.on_failure(lambda: discard_original(knowledge.files, original))
    return original


def _adding_routes(door: Door, knowledge: Knowledge) -> APIRouter:
    routes, limits = door.router(prefix="/documents", tags=["documents"]), door.settings.limits
    title = Form(None, json_schema_extra={"maxLength": limits.title_characters})

    @routes.post("/upload", status_code=202)
    async def upload(
        file: Annotated[UploadFile, File(description="txt, markdown, html, pdf or docx")],
        title: str | None = title,
        source_uri: Annotated[str | None, Form(max_length=2_000)] = None,
        tags: Annotated[list[str] | None, Form()] = None,
        metadata: Annotated[str | None, Form(description="a JSON object")] = None,
        document_id: Annotated[UUID | None, Form()] = None,
        late: LateTransaction = door.uploader(ADD_DOCUMENTS),
    ) -> Uploaded:
        """Keep a file and ingest it by a job. The same bytes of the same source are one document."""
        new = describe_file(
            filename=file.filename,
            media_type=file.content_type,
            title=title,
            source_uri=source_uri,
            tags=tags,
            metadata=read_metadata(metadata),
            document_id=document_id,
        )
        async with knowledge.writing:
            original = await _kept(knowledge, late, new, await file.read(), limits)
        return await documents.upload_or_discard(await late.begin(), knowledge.files, original)

    @routes.post("/push", status_code=202)
    async def push(
        file: Annotated[UploadFile, File(description="txt, markdown, html, pdf or docx")],
        source_uri: Annotated[str, Form(min_length=1, max_length=2_000)],
        title: str | None = title,
        tags: Annotated[list[str] | None, Form()] = None,
        metadata: Annotated[str | None, Form(description="a JSON object")] = None,
        document_id: Annotated[UUID | None, Form(description="makes this document the source's")] = None,
        late: LateTransaction = door.uploader(ADD_DOCUMENTS),
    ) -> Uploaded:
        """What a connector says a source holds now: its document is made, or gets other bytes as its next version."""
        new = describe_file(
            filename=file.filename,
            media_type=file.content_type,
            title=title,
            source_uri=source_uri,
            tags=tags,
            metadata=read_metadata(metadata),
            document_id=document_id,
        )
        async with knowledge.writing:
            original = await _kept(knowledge, late, new, await file.read(), limits)
        return await pushing.push(await late.begin(), knowledge.files, original)

    @routes.post("/fetch", status_code=202)
    async def fetch(body: FetchDocument, late: LateTransaction = door.preparer(ADD_DOCUMENTS)) -> Uploaded:
        """Fetch a public URL and ingest what it gives, as a push with the URL as its source."""
        workspace_id = late.context.workspace_id
        async with knowledge.fetching.fetched(workspace_id, body, limits.upload) as (new, data), knowledge.writing:
            original = await _kept(knowledge, late, new, data, limits)
        return await pushing.push(await late.begin(), knowledge.files, original)

    return routes


def _document_routes(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/documents", tags=["documents"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/withdraw")
    async def withdraw(body: WithdrawSource, tx: Transaction = door.writer(DELETE_DOCUMENTS)) -> Deleted:
        """A source has gone: remove the document that was pushed from it, and everything made from it."""
        return await pushing.withdraw(tx, body.source_uri)

    @routes.get("/list")
    async def list_documents(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_DOCUMENTS)
    ) -> DocumentPage:
        """Documents, newest first. `cursor` is the `next_cursor` of the page before."""
        return await documents.list_documents(tx, cursor, page_size)

    @routes.get("/{document_id}")
    async def get_document(document_id: UUID, tx: Transaction = door.reader(READ_DOCUMENTS)) -> Document:
        """One document with the state of its ingestion."""
        return await documents.get_document(tx, document_id)

    @routes.delete("/{document_id}")
    async def delete_document(document_id: UUID, tx: Transaction = door.writer(DELETE_DOCUMENTS)) -> Deleted:
        """Remove a document and everything made from it. Citations of it stay and say that their source is gone."""
        return await documents.delete_document(tx, document_id)

    return routes


def _retrieval_routes(door: Door, knowledge: Knowledge) -> APIRouter:
    routes, limits = door.router(prefix="/retrieval", tags=["retrieval"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/index-chunks", status_code=201)
    async def index_chunks(
        body: indexing.IndexChunks, late: LateTransaction = door.preparer(INDEX_CHUNKS)
    ) -> indexing.Indexed:
        """Index a text directly, in the lane's chunks or in yours; it is searchable when the answer arrives. The same
        text of the same source in the same chunks is one document."""
        async with door.transaction(late.context) as tx:
            in_use = await hold_models(tx, knowledge.providers.usual)
        workspace_id, limits = late.context.workspace_id, door.settings.limits
        prepared = await indexing.prepare(knowledge, workspace_id, body, limits, in_use.all)
        late.on_failure(lambda: discard_original(knowledge.files, prepared.original))
        return await indexing.index_chunks(await late.begin(), prepared)

    @routes.post("/query")
    async def query(body: RetrievalQuery, context: Context = door.caller(QUERY)) -> Answer:
        """The best chunks for a question: keyword (BM25), semantic (cosine) or hybrid."""
        limits = door.settings.limits
        return await retrieval.answer(door.transaction, context, knowledge.providers, body, limits)

    @routes.get("/queries/list")
    async def list_asked(
        missed: bool | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(QUERY),
    ) -> AskedQueries:
        """What was asked and how that went, the newest first; `missed` narrows it to what found nothing, or did."""
        return await asked.list_asked(tx, missed, cursor, page_size)

    return routes

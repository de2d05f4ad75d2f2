"""Routes of citations: storing and checking them, tracing them, and what moderation decides about them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.knowledge.evidence import service as evidence
from datalane.knowledge.evidence.schemas import Trace
from datalane.knowledge.moderation import service as moderation
from datalane.knowledge.moderation.schemas import Moderation, ModerationList, NewRestoration, NewSuppression
from datalane.knowledge.permissions import CITE, MODERATE_CITATIONS, READ_CITATIONS
from datalane.knowledge.responses import service as responses
from datalane.knowledge.responses.schemas import CitationList, NewResponse, Response


def router(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/retrieval", tags=["retrieval"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/citations", status_code=201)
    async def create_citations(body: NewResponse, tx: Transaction = door.writer(CITE)) -> Response:
        """Store an answer with its segments and the evidence of each."""
        return await responses.create_response(tx, body)

    @routes.get("/citations")
    async def list_citations(
        response_id: UUID | None = None, citation_id: UUID | None = None, tx: Transaction = door.reader(READ_CITATIONS)
    ) -> CitationList:
        """Citations of a response, or one citation, each checked against the stored text now."""
        return CitationList(data=await responses.list_citations(tx, response_id, citation_id))

    @routes.post("/citations/suppress", status_code=201)
    async def suppress_citation(body: NewSuppression, tx: Transaction = door.writer(MODERATE_CITATIONS)) -> Moderation:
        """Show its quote no more, by the outcome of a moderation."""
        return await moderation.suppress(tx, body)

    @routes.post("/citations/restore", status_code=201)
    async def restore_citation(body: NewRestoration, tx: Transaction = door.writer(MODERATE_CITATIONS)) -> Moderation:
        """Show a suppressed citation again."""
        return await moderation.restore(tx, body)

    @routes.get("/moderations/list")
    async def list_moderations(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_CITATIONS)
    ) -> ModerationList:
        """Citations that were suppressed and restored, and why; the newest first."""
        return await moderation.list_moderations(tx, cursor, page_size)

    @routes.get("/trace/{traced_id}")
    async def trace(traced_id: UUID, tx: Transaction = door.reader(READ_CITATIONS)) -> Trace:
        """Why an answer says what it says: from a response, a citation or feedback to the cited bytes and versions.
        Feedback on a chunk leads to the chunk."""
        return await evidence.trace(tx, traced_id)

    return routes

"""Keeping and listing feedback. It moves no ranking: what it says is asked by an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.feedback.schemas import AnswerThumbs, Feedback, FeedbackList, Judgement, NewFeedback, Rating
from datalane.knowledge.permissions import GIVE_FEEDBACK, READ_FEEDBACK

_RATINGS: dict[Rating, int] = {"up": 1, "down": -1}

_queries = load_queries(__file__)


async def give_feedback(tx: Transaction, new: NewFeedback, now: datetime | None = None) -> Feedback:
    """Raises `NotFound` for a response, citation or chunk that is not there."""
    GIVE_FEEDBACK.check(tx.context)
    on = {"response_id": new.response_id, "citation_id": new.citation_id, "chunk_id": new.chunk_id}
    if not await _queries.find_target(tx.connection, workspace_id=tx.workspace_id, **on):
        raise NotFound("no such response, citation or chunk")
    feedback = Feedback(
        feedback_id=uuid7(),
        **new.model_dump(),
        created_at=now or utc_now(),
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
    )
    await _queries.add_feedback(
        tx.connection,
        workspace_id=tx.workspace_id,
        feedback_id=feedback.feedback_id,
        **on,
        rating=_RATINGS[new.rating],
        comment=new.comment,
        question=new.question,
        now=feedback.created_at,
        actor_id=feedback.actor_id,
        correlation_id=feedback.correlation_id,
    )
    return feedback


async def list_feedback(
    tx: Transaction, rating: Rating | None = None, cursor: str | None = None, page_size: int = 25
) -> FeedbackList:
    """Feedback, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_FEEDBACK.check(tx.context)
    listing = f"feedback:{rating or ''}"
    before = tx.read_id_cursor(listing, cursor)
    rows = await _queries.list_feedback(
        tx.connection,
        workspace_id=tx.workspace_id,
        rating=None if rating is None else _RATINGS[rating],
        before=before,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["feedback_id"]])
    return FeedbackList(data=[_feedback(row) for row in page], page_size=page_size, next_cursor=following)


async def feedback_on(tx: Transaction, response_id: UUID, citation_ids: Sequence[UUID]) -> list[Feedback]:
    """Feedback on a response and on its citations, in the order it was given."""
    READ_FEEDBACK.check(tx.context)
    rows = await _queries.list_of_response(
        tx.connection, workspace_id=tx.workspace_id, response_id=response_id, citation_ids=citation_ids
    )
    return [_feedback(row) for row in rows]


async def feedback_on_chunk(tx: Transaction, chunk_id: UUID) -> list[Feedback]:
    """Feedback on a chunk, in the order it was given."""
    READ_FEEDBACK.check(tx.context)
    rows = await _queries.list_of_chunk(tx.connection, workspace_id=tx.workspace_id, chunk_id=chunk_id)
    return [_feedback(row) for row in rows]


async def thumbs_on_answers(tx: Transaction) -> list[AnswerThumbs]:
    """What feedback on responses says, for an evaluation to tell. All of it is read, so no request asks for this."""
    READ_FEEDBACK.check(tx.context)
    rows = await _queries.count_on_answers(tx.connection, workspace_id=tx.workspace_id)
    return [AnswerThumbs(**row) for row in rows]


async def judgements(tx: Transaction) -> list[Judgement]:
    """What feedback on chunks and citations says of documents with a `source_uri`, by question."""
    READ_FEEDBACK.check(tx.context)
    rows = await _queries.list_judgements(tx.connection, workspace_id=tx.workspace_id)
    return [Judgement(**row) for row in rows]


def _feedback(row: Any) -> Feedback:
    return Feedback(**{**row, "rating": "up" if row["rating"] > 0 else "down"})

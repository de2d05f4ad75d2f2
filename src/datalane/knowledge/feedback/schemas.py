"""What is said and told of feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.storable import Text

Rating = Literal["up", "down"]


class NewFeedback(BaseModel):
    """What one thinks of a response, a citation or a chunk; just one of the three. `question` is what was asked when a
    chunk was found; that of a response is known."""

    model_config = ConfigDict(extra="forbid")

    response_id: UUID | None = None
    citation_id: UUID | None = None
    chunk_id: UUID | None = None
    rating: Rating
    comment: Text | None = Field(default=None, max_length=2_000)
    question: Text | None = Field(default=None, max_length=8_000)

    @model_validator(mode="after")
    def _on_one_thing(self) -> Self:
        if sum(one is not None for one in (self.response_id, self.citation_id, self.chunk_id)) != 1:
            raise ValueError("give response_id, citation_id or chunk_id, just one of them")
        if self.question is not None and self.chunk_id is None:
            raise ValueError("question is for feedback on a chunk")
        return self


class Feedback(BaseModel):
    feedback_id: UUID
    response_id: UUID | None
    citation_id: UUID | None
    chunk_id: UUID | None
    rating: Rating
    comment: str | None
    question: str | None
    created_at: datetime
    actor_id: UUID
    correlation_id: str


class FeedbackList(BaseModel):
    data: list[Feedback]
    page_size: int
    next_cursor: str | None


class AnswerThumbs(BaseModel):
    """How many thought well and ill of whole answers, by what wrote them; null where a response does not say it. They
    name no document, so they are no judgements."""

    answer_model_version: str | None
    up: int
    down: int


class Judgement(BaseModel):
    """What people think of a document as an answer to a question: 1 is relevant, 0 is not."""

    question: str
    source_uri: str
    grade: int

"""Questions and answers of the assistant."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.storable import Text

OUTPUT_NAME: Final = "assistant.answer"
OUTPUT_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "sentences": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "minLength": 1},
                    "citation_ids": {"type": "array", "items": {"type": "string", "minLength": 36, "maxLength": 36}},
                },
                "required": ["text", "citation_ids"],
                "additionalProperties": False,
            },
        },
        "response_id": {"type": ["string", "null"]},
        "item_ids": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["text", "sentences", "response_id", "item_ids"],
    "additionalProperties": False,
}
"""What each run of the assistant is checked by."""


class Question(BaseModel):
    """A question, or a wish such as `create an item: …`. One with a `source_run_id`, its name at your side, is asked
    once: a second one is refused, also while the first is answered."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[Text, Field(min_length=1, max_length=8_000, pattern=r"\S")]
    thread_id: UUID | None = None
    source_run_id: Annotated[Text, Field(min_length=1, max_length=200)] | None = None


class SentenceCitation(BaseModel):
    citation_id: UUID
    document_id: UUID
    chunk_id: UUID
    source_title: str | None
    source_uri: str | None
    quote: str | None


class AnsweredSentence(BaseModel):
    text: str
    citations: list[SentenceCitation]


class AssistantAnswer(BaseModel):
    """`text` is all of it. The built-in agent cites every one of its `sentences`; of a model's, those without citations
    could not be proved. `response_id` is the stored answer, null where nothing was found. With `escalated_human` a
    person is asked about `waiting_call_id`, and the run goes on when it is approved."""

    run_id: UUID
    status: Literal["completed", "escalated_human"]
    text: str
    sentences: list[AnsweredSentence]
    response_id: UUID | None
    item_ids: list[UUID]
    waiting_call_id: UUID | None = None

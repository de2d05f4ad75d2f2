"""What agents may do with documents: search them, and store an answer with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.storable import Text
from datalane.engine.tools import Call, Tool, Tools
from datalane.knowledge.permissions import CITE, QUERY
from datalane.knowledge.responses.schemas import NewCitation, NewResponse, NewSegment
from datalane.knowledge.responses.service import create_response
from datalane.knowledge.retrieval.schemas import Query, Result
from datalane.knowledge.retrieval.service import answer
from datalane.knowledge.runtime import Knowledge
from datalane.settings import Limits

MOST_FOUND = 20


class Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: Annotated[Text, Field(min_length=1, max_length=8_000)]
    limit: Annotated[int, Field(ge=1, le=MOST_FOUND)] = 8


class FoundChunk(BaseModel):
    """A piece of a document; `start_offset` is the place of `text` in it, in characters. With a `calibration_id` the
    `confidence` was learned, else it is the score, cut to 0 and 1."""

    chunk_id: UUID
    document_id: UUID
    title: str | None
    source_uri: str | None
    heading: str | None
    text: str
    start_offset: int
    confidence: float
    calibration_id: UUID | None
    retrieval_method: str
    embedding_model_version: str


class Found(BaseModel):
    """The best first."""

    chunks: list[FoundChunk]


class Cited(BaseModel):
    """A sentence of an answer with what it is taken from."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Text, Field(min_length=1, max_length=100_000)]
    citations: Annotated[list[NewCitation], Field(max_length=10)]


class AnswerToStore(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: Annotated[Text, Field(min_length=1, max_length=8_000)]
    sentences: Annotated[list[Cited], Field(min_length=1, max_length=200)]
    answer_model_version: Annotated[Text, Field(max_length=200)] | None = None


class StoredCitation(BaseModel):
    citation_id: UUID
    sentence: int
    document_id: UUID
    chunk_id: UUID
    source_title: str | None
    source_uri: str | None
    quote: str | None


class StoredAnswer(BaseModel):
    """`sentence` of a citation is the place of what it proves, from 0."""

    response_id: UUID
    sentences_without_citation: list[int]
    citations: list[StoredCitation]


def register_tools(tools: Tools, knowledge: Knowledge, limits: Limits) -> None:
    """Add them."""

    async def search(wanted: Search, call: Call) -> Mapping[str, Any]:
        query = Query(query=wanted.query, limit=wanted.limit)
        answered = await answer(call.open_as, call.context, knowledge.providers, query, limits)
        chunks = [_chunk(result, answered.calibration_id) for result in answered.data]
        return Found(chunks=chunks).model_dump(mode="json")

    tools.add(
        Tool(
            "knowledge.search",
            "Finds the pieces of the workspace's documents that fit a question or some words best.",
            Search,
            Found,
            "read",
            QUERY,
            search,
        )
    )
    tools.add(
        Tool(
            "knowledge.cite",
            "Stores an answer, sentence by sentence, with the places in documents that prove it.",
            AnswerToStore,
            StoredAnswer,
            "write",
            CITE,
            _store,
            offered=False,
        )
    )


async def _store(wanted: AnswerToStore, call: Call) -> Mapping[str, Any]:
    segments = [NewSegment(text=each.text, citations=each.citations) for each in wanted.sentences]
    new = NewResponse(
        segments=segments,
        question=wanted.question,
        agent_run_id=call.run_id,
        answer_model_version=wanted.answer_model_version,
    )
    starts, at = dict[int, int](), 0
    for place, segment in enumerate(segments):
        starts[at] = place
        at += len(segment.text)
    async with call.transaction() as tx:
        stored = await create_response(tx, new)
        told = StoredAnswer(
            response_id=stored.response_id,
            sentences_without_citation=stored.segments_without_citation,
            citations=[
                StoredCitation(sentence=starts[each.segment_start_offset], **each.model_dump(include=_KEPT))
                for each in stored.citations
            ],
        ).model_dump(mode="json")
        call.result = told
    return told


_KEPT = set(StoredCitation.model_fields) - {"sentence"}


def _chunk(result: Result, calibration_id: UUID | None) -> FoundChunk:
    learned = result.confidence is not None
    return FoundChunk(
        chunk_id=result.chunk_id,
        document_id=result.document_id,
        title=result.source_title,
        source_uri=result.source_uri,
        heading=result.heading,
        text=result.text,
        start_offset=result.chunk_start_offset,
        confidence=result.confidence if result.confidence is not None else min(1.0, max(0.0, result.retrieval_score)),
        calibration_id=calibration_id if learned else None,
        retrieval_method=result.retrieval_method.value,
        embedding_model_version=result.embedding_model_version,
    )

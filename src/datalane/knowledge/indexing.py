"""Indexing text that a caller hands over directly: no job, no waiting.

`prepare` does the slow work while no transaction is open; `index_chunks` writes in the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, Field

from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, LimitExceeded
from datalane.knowledge.chunking import Chunk
from datalane.knowledge.documents.originals import Original, check_document, store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import add_ready
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.extraction.types import Extracted, Failure, Source
from datalane.knowledge.ingestion import Arrival, write
from datalane.knowledge.models.in_use import embed_documents, hold_models
from datalane.knowledge.parsing.errors import TooManyChunks
from datalane.knowledge.permissions import INDEX_CHUNKS
from datalane.knowledge.runtime import Knowledge
from datalane.settings import Limits

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors

CALLER_CHUNKER = "caller/1"
MOST_CHUNK_CHARACTERS = 32_000
"""Of a chunk that the caller draws; beyond, the index would no longer see every word."""


class Span(BaseModel):
    """Characters of the canonical text."""

    start_offset: int = Field(ge=0)
    end_offset: int = Field(ge=1)


class IndexChunks(BaseModel):
    """A text to index. With `chunks` the caller draws the borders, else the lane does. `document_id` adds a version of
    that document, whose tags and metadata become what is said of them, if anything is.

    The lane's limits (title, tags, metadata, chunks) are checked when it is prepared.
    """

    text: str = Field(min_length=1)
    source_title: str | None = None
    source_uri: str | None = Field(default=None, max_length=2_000)
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    chunks: list[Span] | None = Field(default=None, min_length=1)
    document_id: UUID | None = None


class Indexed(BaseModel):
    document_id: UUID
    version_id: UUID
    chunks: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text that was chunked and embedded, with its original in the file store."""

    original: Original
    extracted: Extracted
    vectors: Mapping[str, Vectors]
    usual: str


async def prepare(
    knowledge: Knowledge, workspace_id: UUID, request: IndexChunks, limits: Limits, models: frozenset[str]
) -> Prepared:
    """Chunk and embed outside any transaction, by the `models` in use (`hold_models`).

    Raises `InvalidInput` for text or spans that cannot be indexed, `LimitExceeded` naming the limit, and as
    `Provider.embed`.
    """
    try:
        data = request.text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the text holds a lone surrogate, which is not a character") from error
    document = NewDocument(
        media_type="text/plain",
        title=request.source_title,
        **request.model_dump(include={"source_uri", "tags", "metadata", "document_id"}, exclude_unset=True),
    )
    check_document(document, len(data), limits)
    if request.chunks is not None and len(request.chunks) > limits.chunks_per_document:
        raise LimitExceeded(
            f"{len(request.chunks):,} chunks, the limit of a document is {limits.chunks_per_document:,} "
            "(limits.chunks_per_document)"
        )
    source = Source(data, None, "text/plain", request.source_title, cut=request.chunks is None)
    outcome = (await knowledge.pool.extract_many([source]))[0]
    if isinstance(outcome, Failure):
        refusal = LimitExceeded if outcome.error_class == TooManyChunks.code else InvalidInput
        raise refusal(f"{outcome.error_class}: {outcome.message}")
    extracted = outcome
    if request.chunks is not None:
        extracted = await asyncio.to_thread(_recut, knowledge, outcome, request.chunks)
    [vectors] = await embed_documents(knowledge.providers, workspace_id, models, [extracted])
    original = await store_original(knowledge.files, workspace_id, document, data, limits)
    return Prepared(original, extracted, vectors, knowledge.providers.usual)


def _recut(knowledge: Knowledge, extracted: Extracted, spans: list[Span]) -> Extracted:
    """The same text in the caller's chunks."""
    import numpy as np

    text, chunks, place, place_byte = extracted.text, list[Chunk](), 0, 0
    for ordinal, span in enumerate(spans):
        if not place <= span.start_offset < span.end_offset <= len(text):
            raise InvalidInput(
                f"chunks[{ordinal}]: {span.start_offset}:{span.end_offset} is not after the chunk before it, or "
                f"outside the text of {len(text):,} characters",
                [{"field": f"chunks[{ordinal}]", "message": "spans are in order, not empty and inside the text"}],
            )
        if span.end_offset - span.start_offset > MOST_CHUNK_CHARACTERS:
            raise LimitExceeded(f"chunks[{ordinal}]: the limit of a chunk is {MOST_CHUNK_CHARACTERS:,} characters")
        start_byte = place_byte + len(text[place : span.start_offset].encode())
        end_byte = start_byte + len(text[span.start_offset : span.end_offset].encode())
        chunks.append(Chunk(ordinal, span.start_offset, span.end_offset, start_byte, end_byte))
        place, place_byte = span.end_offset, end_byte
    passages = [passage_text(extracted.title, text[chunk.start : chunk.end]) for chunk in chunks]
    return Extracted(
        text=text,
        title=extracted.title,
        media_type=extracted.media_type,
        chunks=chunks,
        embeddings=np.asarray(knowledge.embedder.embed(passages), dtype=np.float32),
        page_starts=extracted.page_starts,
        headings=extracted.headings,
        parser_version=extracted.parser_version,
        chunker_version=CALLER_CHUNKER,
        embedder_name=knowledge.embedder.name,
        embedder_version=knowledge.embedder.version,
    )


async def index_chunks(tx: Transaction, prepared: Prepared) -> Indexed:
    """Write the text as a new document or version and make it searchable at the commit.

    Raises `ModelsChanged` when the workspace has come to use another embedding model since it was prepared.
    """
    INDEX_CHUNKS.check(tx.context)
    await hold_models(tx, prepared.usual)  # before the document is locked, as ingestion does
    document_id, ordinal = await add_ready(tx, prepared.original)
    arrival = Arrival(prepared.original.version_id, document_id, ordinal, prepared.extracted, prepared.vectors)
    await write(tx, [arrival], prepared.usual)
    return Indexed(
        document_id=document_id, version_id=prepared.original.version_id, chunks=len(prepared.extracted.chunks)
    )

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

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, LimitExceeded
from datalane.knowledge.chunking import Chunk
from datalane.knowledge.documents.originals import Original, check_document, discard_original, store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import add_ready, describe
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.extraction.types import Extracted, Failure, Source
from datalane.knowledge.files import FileStore
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

_queries = load_queries(__file__, "indexing.sql")


class Span(BaseModel):
    """Characters of the canonical text."""

    start_offset: int = Field(ge=0)
    end_offset: int = Field(ge=1)


class IndexChunks(BaseModel):
    """A text to index. With `chunks` the caller draws the borders, else the lane does. `document_id` adds a version of
    that document, whose tags and metadata become what is said of them, if anything is. What is searched already, of the
    same source or document and in the same chunks, is not written again.

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
    """`created` is false when the same text of the same source was here already, in the same chunks."""

    document_id: UUID
    version_id: UUID
    chunks: int
    created: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text that was chunked and embedded, with its original in the file store."""

    files: FileStore
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
    return Prepared(knowledge.files, original, extracted, vectors, knowledge.providers.usual)


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

    What is searched already is not written again, and the stored file goes after the commit.

    Raises `ModelsChanged` when the workspace has come to use another embedding model since it was prepared.
    """
    INDEX_CHUNKS.check(tx.context)
    await hold_models(tx, prepared.usual)  # before the document is locked, as ingestion does
    original, extracted = prepared.original, prepared.extracted
    same = await _find_same(tx, original, extracted)
    if same is not None:
        await describe(tx, original.document.document_id, original.document)
        tx.after_commit(lambda: discard_original(prepared.files, original))
        return same
    document_id, ordinal = await add_ready(tx, original)
    await write(tx, [Arrival(original.version_id, document_id, ordinal, extracted, prepared.vectors)], prepared.usual)
    return Indexed(document_id=document_id, version_id=original.version_id, chunks=len(extracted.chunks), created=True)


async def _find_same(tx: Transaction, original: Original, extracted: Extracted) -> Indexed | None:
    """The text as it is searched now: of the same document, or else of the same source. The borders of its chunks count
    where a caller drew them; those of the lane do not, whose chunker may have changed since."""
    await _queries.lock_content(tx.connection, workspace_id=tx.workspace_id, content_sha256=original.sha256)
    chunks = extracted.chunks
    row = await _queries.find_searched(
        tx.connection,
        workspace_id=tx.workspace_id,
        content_sha256=original.sha256,
        source_uri=original.document.source_uri,
        wanted=original.document.document_id,
        text=extracted.text,
        callers=CALLER_CHUNKER,
        is_callers=extracted.chunker_version == CALLER_CHUNKER,
        starts=[chunk.start for chunk in chunks],
        ends=[chunk.end for chunk in chunks],
    )
    return None if row is None else Indexed(**row, created=False)

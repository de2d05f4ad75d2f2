"""What a trace tells."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from datalane.knowledge.confidence.schemas import Calibration
from datalane.knowledge.feedback.schemas import Feedback
from datalane.knowledge.responses.schemas import Citation


class TracedVersion(BaseModel):
    """The version of a document that a citation pins, and what made it. `content_sha256` (hexadecimal) is that of the
    original's bytes; `embedding_model_version` was searched when it was ingested."""

    version_id: UUID
    document_id: UUID
    version: int
    is_current: bool
    filename: str | None
    media_type: str | None
    size_bytes: int
    content_sha256: str
    parser_version: str | None
    chunker_version: str | None
    embedding_model_version: str | None
    search_language: str | None
    indexed_at: datetime | None
    ingestion_job_id: UUID | None


class TracedCitation(BaseModel):
    """The quote is bytes `quote_start_byte` to `quote_end_byte` of the version's canonical text in UTF-8, whose SHA-256
    was `quote_sha256` (hexadecimal) when it was cited. `page` and `heading` are the citation's. `document_version` is
    None when the document is gone. Of a suppressed quote neither heading nor digest is told."""

    citation: Citation
    page: int | None
    heading: str | None
    quote_start_byte: int | None
    quote_end_byte: int | None
    quote_sha256: str | None
    document_version: TracedVersion | None


class TracedChunk(BaseModel):
    """The chunk that feedback is on: these characters and UTF-8 bytes of the version's canonical text. `verified` says
    that they are its `text` still, and `fault` why not. `page` is that on which it begins, `heading` stands above its
    start. `embedded_by` are the models of which it has vectors now: none when another version is current. Of a chunk
    that went with its document there is the id alone."""

    chunk_id: UUID
    source_uri: str | None = None
    source_title: str | None = None
    start_offset: int | None = None
    end_offset: int | None = None
    start_byte: int | None = None
    end_byte: int | None = None
    page: int | None = None
    heading: str | None = None
    text: str | None = None
    embedded_by: list[str] = []
    verified: bool = False
    fault: str | None = None
    document_version: TracedVersion | None = None


class TracedSegment(BaseModel):
    response_segment_id: UUID
    start_offset: int
    end_offset: int
    text: str
    citations: list[TracedCitation]


class VersionsInvolved(BaseModel):
    """Everything of which another version might have answered otherwise. `embedding_models` of a chunk are that which
    was searched when it was ingested, and those of which it has vectors now."""

    documents: list[UUID]
    parsers: list[str]
    chunkers: list[str]
    embedding_models: list[str]
    answer_models: list[str]


class Trace(BaseModel):
    """`verified` says that there is a quote that is not suppressed, and that each still is what was cited, recomputed
    now from the stored text. `fallback` is `missing_provenance` when a segment never had evidence, else
    `suppressed_evidence` when all that one had is suppressed. `calibrations` are those by which citations have their
    confidence.

    Feedback on a chunk leads to no response, so `response_id` is null and there are no segments: `chunk` is what it is
    on, `verified` is that of the chunk, and `question`, `created_at`, `actor_id` and `correlation_id` are those of the
    feedback.
    """

    response_id: UUID | None
    question: str | None
    fallback: str | None
    answer_model_version: str | None
    agent_run_id: UUID | None
    created_at: datetime
    actor_id: UUID
    correlation_id: str
    verified: bool
    segments: list[TracedSegment]
    chunk: TracedChunk | None
    feedback: list[Feedback]
    calibrations: list[Calibration]
    versions: VersionsInvolved

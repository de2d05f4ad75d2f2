"""Responses and citations as callers see them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field

from datalane.contracts.storable import Text
from datalane.knowledge.confidence.bands import Band
from datalane.knowledge.methods import Method
from datalane.knowledge.moderation.schemas import Moderation


class EvidenceType(StrEnum):
    DIRECT = "direct"
    SUPPORTING = "supporting"
    INFERRED = "inferred"


class NewCitation(BaseModel):
    """Evidence from one chunk. Quote offsets are characters of the document's canonical text; without them the whole
    chunk is quoted. `calibration_id` says that `confidence_score` is a result's `confidence`, and by which calibration;
    without it the score is the caller's own.

    `retrieval_method` and `embedding_model_version` are to be those of the result that is cited: its model is recorded
    as the one that found the chunk, none for the method `keyword`. Where no model is said, it is that which the
    workspace searches by at the moment of citing."""

    chunk_id: UUID
    quote_start_offset: int | None = Field(default=None, ge=0)
    quote_end_offset: int | None = Field(default=None, ge=1)
    evidence_type: EvidenceType = EvidenceType.DIRECT
    confidence_score: float = Field(ge=0, le=1)
    calibration_id: UUID | None = None
    retrieval_method: Method | None = None
    embedding_model_version: Text | None = Field(default=None, min_length=1, max_length=200)


class NewSegment(BaseModel):
    text: str = Field(min_length=1, max_length=100_000)
    citations: list[NewCitation] = Field(default_factory=list, max_length=100)


class NewResponse(BaseModel):
    """An answer given to someone, cut into segments that are cited one by one."""

    segments: list[NewSegment] = Field(min_length=1, max_length=1_000)
    question: str | None = Field(default=None, max_length=8_000)
    agent_run_id: UUID | None = None
    answer_model_version: str | None = Field(default=None, max_length=200)


class Citation(BaseModel):
    """A citation with what it quotes. `verified` says that the stored text still is what was cited, recomputed at
    every read; `fault` says why not. `page`, from 1, is that on which the quote begins; `heading` stands above the
    start of its chunk. `embedding_model_version` found the chunk; null where words alone did. One that is `suppressed`
    shows neither quote nor heading; `moderation` is what was decided last."""

    citation_id: UUID
    agent_run_id: UUID | None
    response_id: UUID
    response_segment_id: UUID
    segment_start_offset: int
    segment_end_offset: int
    document_id: UUID
    version_id: UUID
    chunk_id: UUID
    chunk_start_offset: int | None
    chunk_end_offset: int | None
    quote_start_offset: int
    quote_end_offset: int
    quote: str | None
    page: int | None
    heading: str | None
    evidence_type: EvidenceType
    confidence_score: float
    confidence_band: Band
    calibration_id: UUID | None
    workspace_id: UUID
    source_uri: str | None
    source_title: str | None
    version: int | None
    is_current: bool | None
    embedding_model_version: str | None
    answer_model_version: str | None
    created_at: datetime
    verified: bool
    fault: str | None
    suppressed: bool
    moderation: Moderation | None


class Response(BaseModel):
    """`fallback` is `missing_provenance` when a segment has no evidence: show the answer as unproved or not at all."""

    response_id: UUID
    fallback: str | None
    segments_without_citation: list[int]
    citations: list[Citation]
    correlation_id: str


class CitationList(BaseModel):
    data: list[Citation]

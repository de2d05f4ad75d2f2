"""What a retrieval asks and answers. Results are plain dataclasses: a hundred of them are made for one query, from rows
that need no validation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field


class Method(StrEnum):
    SEMANTIC = "semantic"
    KEYWORD = "keyword"
    HYBRID = "hybrid"


class Query(BaseModel):
    query: str = Field(min_length=1)
    method: Method = Method.HYBRID
    limit: int = Field(default=10, ge=1, le=100)
    minimum_score: float | None = None


@dataclass(frozen=True, slots=True)
class ComponentScores:
    """BM25 and cosine of the chunk; null where the method did not find it."""

    keyword: float | None
    semantic: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """One chunk. `text` is the canonical text from `chunk_start_offset` to `chunk_end_offset` (characters)."""

    workspace_id: UUID
    document_id: UUID
    version_id: UUID
    chunk_id: UUID
    source_uri: str | None
    source_title: str | None
    chunk_start_offset: int
    chunk_end_offset: int
    chunk_start_byte: int
    chunk_end_byte: int
    page: int | None
    text: str
    retrieval_score: float
    component_scores: ComponentScores
    retrieval_rank: int
    retrieval_method: Method
    embedding_model_version: str
    indexed_at: datetime
    correlation_id: str


class Answer(BaseModel):
    """`keyword_terms_found` is false when the query held only stop words or words that no document has."""

    data: list[Result]
    method: Method
    keyword_terms_found: bool | None
    correlation_id: str

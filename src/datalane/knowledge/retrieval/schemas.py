"""What a retrieval asks and answers. Results are plain dataclasses: a hundred of them are made for one query, from rows
that need no validation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.storable import Text
from datalane.knowledge.confidence.bands import Band
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.fusion import KEYWORD_WEIGHT

MOST_VALUES = 100
"""Tags, members of metadata or sources that a filter names."""
MOST_DOCUMENTS = 1_000


Some = Annotated[list[Text], Field(min_length=1, max_length=MOST_VALUES)]
Plain = Text | int | float | bool | None


class TagsWanted(BaseModel):
    """Documents that have `any` of these tags and `all` of those."""

    model_config = ConfigDict(extra="forbid")

    any: Some | None = None
    all: Some | None = None


class DocumentFilters(BaseModel):
    """Which documents are searched; what is left out admits all. The scores of `keyword` and `semantic` are the same
    as without filters; that of `hybrid` is relative to what was found, with them as without.

    `metadata` names members that a document's metadata must have with just these values.
    """

    model_config = ConfigDict(extra="forbid")

    tags: TagsWanted | None = None
    metadata: dict[Text, Plain] | None = Field(default=None, min_length=1, max_length=MOST_VALUES)
    document_ids: list[UUID] | None = Field(default=None, min_length=1, max_length=MOST_DOCUMENTS)
    source_uris: Some | None = None


class Query(BaseModel):
    """`keyword_weight` is for the method `hybrid`: what is not the keyword's part is the semantic one's.

    `neighbours` asks for so many chunks before and after each result as its surroundings, and `highlight` for the
    places of the words that match.
    """

    query: str = Field(min_length=1)
    method: Method = Method.HYBRID
    limit: int = Field(default=10, ge=1, le=100)
    minimum_score: float | None = None
    filters: DocumentFilters | None = None
    keyword_weight: float = Field(default=KEYWORD_WEIGHT, ge=0, le=1)
    neighbours: int = Field(default=0, ge=0, le=5)
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class ComponentScores:
    """BM25 and cosine of the chunk; null where the method did not find it."""

    keyword: float | None
    semantic: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Characters of the document's canonical text."""

    start_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A chunk with its neighbours, as one piece of the canonical text (characters)."""

    start_offset: int
    end_offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """One chunk. `text` is the canonical text from `chunk_start_offset` to `chunk_end_offset` (characters). `page`,
    from 1, is that on which it begins, and it may go on to later ones. `heading` is what stands above its start in the
    document, from the highest: `Guide › Install`. A citation tells the page of its quote.

    `confidence` is the share of judged results with such a score that were relevant; null where that was not learned.
    `matched_terms` are the stems that title or chunk share with the query; null for the method `semantic`.
    """

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
    heading: str | None
    text: str
    retrieval_score: float
    confidence: float | None
    confidence_band: Band | None
    component_scores: ComponentScores
    matched_terms: list[str] | None
    highlights: list[Place] | None
    surroundings: Surroundings | None
    retrieval_rank: int
    retrieval_method: Method
    embedding_model_version: str
    indexed_at: datetime
    correlation_id: str


class Answer(BaseModel):
    """`keyword_terms_found` is false when the query held only stop words or words that no document has. Confidences are
    by the calibration `calibration_id`; null when there is none for what was searched by."""

    data: list[Result]
    method: Method
    keyword_terms_found: bool | None
    calibration_id: UUID | None
    correlation_id: str


class AskedQuery(BaseModel):
    """What was asked through the service. `missed`: nothing was found, or none of the words by a method that looks for
    them. `milliseconds` are the service's, without the network.

    What decided the answer, null where it had no part in it: `embedding_model_version` not for `keyword`,
    `search_language` not for `semantic`, `keyword_weight` for `hybrid` alone, and the calibration where there was one.
    `datalane_version` is the release that answered.
    """

    query_id: UUID
    question: str
    method: Method
    filtered: bool
    found: int
    best_score: float | None
    missed: bool
    embedding_model_version: str | None
    search_language: str | None
    keyword_weight: float | None
    calibration_id: UUID | None
    datalane_version: str | None
    milliseconds: float
    asked_at: datetime
    correlation_id: str


class AskedQueries(BaseModel):
    data: list[AskedQuery]
    page_size: int
    next_cursor: str | None

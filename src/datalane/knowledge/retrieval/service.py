"""Retrieval: three methods, one answer shape, and a last look at whose rows they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.search.index import Collection
from datalane.engine.search.keyword import search_keyword
from datalane.engine.search.language import search_language
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.jsonlimits import encode_within
from datalane.kit.logs import get_logger
from datalane.knowledge.confidence.bands import band_of
from datalane.knowledge.confidence.service import Current, current
from datalane.knowledge.methods import Method
from datalane.knowledge.models.in_use import Searched, searched_model
from datalane.knowledge.permissions import QUERY
from datalane.knowledge.providers import Providers, QueryVectors, VectorNeeded
from datalane.knowledge.retrieval.asked import Decided, log_retrieval
from datalane.knowledge.retrieval.explaining import Explanations, explain
from datalane.knowledge.retrieval.fusion import fuse
from datalane.knowledge.retrieval.schemas import Answer, ComponentScores, DocumentFilters, Query, Result, TagsWanted
from datalane.settings import Limits

CANDIDATES = 200
"""Most chunks each method hands to the fusion."""

OpenAs = Callable[[Context], AbstractAsyncContextManager[Transaction]]

_ATTEMPTS = 3

_queries = load_queries(__file__)
_DEFAULTS = Limits()
log = get_logger(__name__)


async def answer(
    open_as: OpenAs,
    context: Context,
    providers: Providers,
    query: Query,
    limits: Limits = _DEFAULTS,
    *,
    logged: bool = True,
) -> Answer:
    """`retrieve` in a transaction of `context`, and a line in the log of what was asked, if it is `logged`; while an
    endpoint is asked for a vector no transaction is open. Rows that were thrown away are reported in one of their own.

    Raises as `retrieve`, but for `VectorNeeded`, and as `Provider.embed`.
    """
    began, text = time.perf_counter(), check_query(query.query, limits)
    vectors = QueryVectors(providers, text)
    while True:
        async with open_as(context) as tx:
            try:
                told = await _retrieve(tx, vectors, query, limits)
            except VectorNeeded as needed:
                model_version = needed.model_version
            else:
                if logged:
                    await log_retrieval(tx, query, text, told.answer, told.decided, time.perf_counter() - began)
                break
        await vectors.fetch(context.workspace_id, model_version)
    if told.foreign:
        async with open_as(Context.system(context.workspace_id, context.correlation_id)) as tx:
            detail = f"{told.foreign} rows of another workspace"
            await publish(tx, "security.anomaly", {"kind": "foreign_rows_in_a_result", "detail": detail})
    return told.answer


async def retrieve(tx: Transaction, vectors: QueryVectors, query: Query, limits: Limits = _DEFAULTS) -> Answer:
    """The best chunks of the workspace for `query`, whose text has `vectors`. All of one answer are of one model. Rows
    of another workspace are thrown away and logged; `answer` reports them too.

    Raises `LimitExceeded` for a query text over the limit, `InvalidInput` for one without any character,
    `VectorNeeded` for a vector that an endpoint makes, `ModelUnavailable` for a model that the lane does not have.
    """
    return (await _retrieve(tx, vectors, query, limits)).answer


@dataclass(frozen=True, slots=True)
class _Retrieved:
    """An answer, what decided it, and how many rows of another workspace were thrown away."""

    answer: Answer
    decided: Decided
    foreign: int


async def _retrieve(tx: Transaction, vectors: QueryVectors, query: Query, limits: Limits) -> _Retrieved:
    QUERY.check(tx.context)
    text, language = check_query(query.query, limits), await search_language(tx)
    foreign = 0
    for _ in range(_ATTEMPTS):
        found = await _search(tx, vectors, query, text, language, limits)
        rows, strangers = await _read(tx, list(found.chosen))
        foreign = max(foreign, strangers)
        if len(rows) == len(found.chosen):
            break  # else a version was replaced after the search saw it: look again, so that no place stays empty
    why = await explain(tx, query, text, language, rows)
    # a hybrid's scores are relative to what the filters left, which nothing was learned of
    tells = query.method is not Method.HYBRID or query.filters is None
    learned = await current(tx, query.method, query.keyword_weight, found.model) if tells else None
    answered = Answer(
        data=[
            _result(tx, query.method, rank, rows[key], found, why, learned)
            for rank, key in enumerate((key for key in found.chosen if key in rows), 1)
        ],
        method=query.method,
        keyword_terms_found=None if query.method is Method.SEMANTIC else bool(found.keyword),
        calibration_id=None if learned is None else learned.calibration_id,
        correlation_id=tx.context.correlation_id,
    )
    return _Retrieved(answered, Decided(language, found.model), foreign)


@dataclass(frozen=True, slots=True)
class _Found:
    """`chosen` chunks with their scores, best first, and what each method gave; the semantic one by `model`."""

    chosen: Mapping[UUID, float]
    keyword: Mapping[UUID, float]
    semantic: Mapping[UUID, float]
    model: str | None


async def _search(
    tx: Transaction, vectors: QueryVectors, query: Query, text: str, language: str, limits: Limits
) -> _Found:
    model, embedding = None, b""
    if query.method is not Method.KEYWORD:
        model = await searched_model(tx, vectors.usual)
        embedding = vectors.at_hand(model.model_version)
    keyword: dict[UUID, float] = {}
    semantic: dict[UUID, float] = {}
    among = None if query.filters is None else await _admitted(tx, query.filters, limits)
    most = max(query.limit, CANDIDATES) if query.method is Method.HYBRID else query.limit
    if query.method is not Method.SEMANTIC:
        keyword = await search_keyword(tx, Collection.CHUNKS, text, language, most, among)
    if model is not None:
        semantic = await search_semantic(tx, model, embedding, most, among)
    scores = fuse(keyword, semantic, query.keyword_weight) if query.method is Method.HYBRID else keyword or semantic
    chosen = {
        key: score
        for key, score in list(scores.items())[: query.limit]
        if query.minimum_score is None or score >= query.minimum_score
    }
    return _Found(chosen, keyword, semantic, None if model is None else model.model_version)


async def _admitted(tx: Transaction, filters: DocumentFilters, limits: Limits) -> list[UUID]:
    """The chunks that are searched. They are chosen before anything is scored, so that a filter hides no match."""
    await tx.state_plans(Plans.OWN)  # a plan for ten chunks looks up ten thousand one by one
    encode_within(filters.metadata, "the metadata to filter by", limits.metadata, limits.metadata_depth)
    tags = filters.tags or TagsWanted()
    admitted: list[UUID] = await _queries.admitted_chunks(
        tx.connection,
        workspace_id=tx.workspace_id,
        any_tag=tags.any,
        all_tags=tags.all,
        metadata=filters.metadata,
        document_ids=filters.document_ids,
        source_uris=filters.source_uris,
    )
    return admitted


def check_query(text: str, limits: Limits = _DEFAULTS) -> str:
    """`text` as it may be searched."""
    if len(text) > limits.query_characters:
        raise LimitExceeded(
            f"the query has {len(text):,} characters, the limit is {limits.query_characters:,}; search for less at once"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the query holds a lone surrogate, which is not a character") from error
    cleaned = text.replace("\x00", " ").strip()
    if not cleaned:
        raise InvalidInput("the query is empty")
    return cleaned


async def search_semantic(
    tx: Transaction, model: Searched, embedding: bytes, most: int, among: Sequence[UUID] | None = None
) -> dict[UUID, float]:
    """Chunks by cosine to a vector of the model, best first; with `among` of those only.

    By the workspace's own index where there is one; among some, every vector is looked at, so that none is missed.
    """
    wanted: dict[str, Any] = {
        "workspace_id": tx.workspace_id,
        "model_version": model.model_version,
        "embedding": embedding,
        "most": most,
    }
    if among is not None:
        rows = await _queries.search_semantic_among(tx.connection, among=among, **wanted)
    elif model.index_dimensions is not None:
        index = {"dimensions": model.index_dimensions, "effort": model.index_effort}
        rows = await _queries.search_own_index(tx.connection, **index, **wanted)
    else:
        rows = await _queries.search_semantic(tx.connection, **wanted)
    return {row["chunk_id"]: row["score"] for row in rows}


async def _read(tx: Transaction, chunk_ids: list[UUID]) -> tuple[Mapping[UUID, Any], int]:
    """The chunks' rows, and how many more were of another workspace. None can come through the wall; should one ever,
    it is thrown away."""
    rows = await _queries.read_chunks(tx.connection, workspace_id=tx.workspace_id, chunk_ids=chunk_ids)
    own = {row["chunk_id"]: row for row in rows if row["workspace_id"] == tx.workspace_id}
    if foreign := len(rows) - len(own):
        log.critical("foreign_rows_in_a_result", rows=foreign, correlation_id=tx.context.correlation_id)
    return own, foreign


def _result(
    tx: Transaction, method: Method, rank: int, row: Any, found: _Found, why: Explanations, learned: Current | None
) -> Result:
    chunk_id: UUID = row["chunk_id"]
    confidence = None if learned is None else learned.curve.of(found.chosen[chunk_id])
    return Result(
        workspace_id=row["workspace_id"],
        document_id=row["document_id"],
        version_id=row["version_id"],
        chunk_id=chunk_id,
        source_uri=row["source_uri"],
        source_title=row["source_title"],
        chunk_start_offset=row["start_offset"],
        chunk_end_offset=row["end_offset"],
        chunk_start_byte=row["start_byte"],
        chunk_end_byte=row["end_byte"],
        page=row["page"],
        heading=row["heading"],
        text=row["text"],
        retrieval_score=found.chosen[chunk_id],
        confidence=confidence,
        confidence_band=None if confidence is None else band_of(confidence),
        component_scores=ComponentScores(keyword=found.keyword.get(chunk_id), semantic=found.semantic.get(chunk_id)),
        **why.of(chunk_id),
        retrieval_rank=rank,
        retrieval_method=method,
        embedding_model_version=found.model or row["embedding_model_version"],
        indexed_at=row["indexed_at"],
        correlation_id=tx.context.correlation_id,
    )

"""Storing an answer with its evidence, and checking that evidence later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, LimitExceeded, NotFound
from datalane.kit.ids import uuid7
from datalane.kit.logs import get_logger
from datalane.knowledge.confidence.bands import band_of
from datalane.knowledge.confidence.service import read_calibrations
from datalane.knowledge.methods import Method
from datalane.knowledge.moderation.schemas import Moderation, Outcome
from datalane.knowledge.moderation.service import moderations_of
from datalane.knowledge.permissions import CITE, READ_CITATIONS
from datalane.knowledge.responses.schemas import Citation, NewCitation, NewResponse, Response

MOST_CITATIONS = 1_000

CITATIONS = Counter(
    "datalane_citations_total",
    "Citations stored, by the band of their confidence and its source: calibration or caller",
    ["band", "source"],
)

_queries = load_queries(__file__)
log = get_logger(__name__)


async def create_response(tx: Transaction, new: NewResponse) -> Response:
    """Store a response with segments and citations, all or none.

    A segment without evidence puts the response into the fallback state `missing_provenance` and leaves a diagnostic
    line in the log. Raises `NotFound` for a chunk that is not in this workspace and `InvalidInput` for a quote outside
    its chunk or an embedding model that the workspace never had, naming segment and citation.
    """
    CITE.check(tx.context)
    tx = tx.following()
    count = sum(len(segment.citations) for segment in new.segments)
    if count > MOST_CITATIONS:
        raise LimitExceeded(f"{count:,} citations, the limit of a response is {MOST_CITATIONS:,}")
    await _check_calibrations(tx, new)
    unproved = [place for place, segment in enumerate(new.segments) if not segment.citations]
    response_id, segment_ids = uuid7(), [uuid7() for _ in new.segments]
    quotes = _quotes(new, segment_ids, await _read_chunks(tx, new))
    await _check_models(tx, quotes)
    await _store(tx, new, response_id, segment_ids, unproved)
    if quotes:
        await _cite(tx, new, response_id, quotes)
        tx.after_commit(lambda: _count(quotes))
    if unproved:
        log.warning(
            "missing_provenance",
            response_id=str(response_id),
            segments=unproved,
            workspace_id=str(tx.workspace_id),
            correlation_id=tx.context.correlation_id,
        )
    return Response(
        response_id=response_id,
        fallback="missing_provenance" if unproved else None,
        segments_without_citation=unproved,
        citations=await _list(tx, response_id=response_id),
        correlation_id=tx.context.correlation_id,
    )


async def list_citations(tx: Transaction, response_id: UUID | None, citation_id: UUID | None) -> list[Citation]:
    """Citations of a response, or one citation, each verified now.

    Raises `InvalidInput` without either id and `NotFound` when there is no such response or citation.
    """
    READ_CITATIONS.check(tx.context)
    if (response_id is None) == (citation_id is None):
        raise InvalidInput("give response_id or citation_id")
    found = await _list(tx, response_id=response_id, citation_id=citation_id)
    if citation_id is not None and not found:
        raise NotFound("no such citation")
    if response_id is not None and not found:
        response = await _queries.get_response(tx.connection, workspace_id=tx.workspace_id, response_id=response_id)
        if response is None:
            raise NotFound("no such response")
    return found


async def _check_calibrations(tx: Transaction, new: NewResponse) -> None:
    """That each is there, and may have told what is said of it."""
    told: dict[UUID, list[tuple[str, float]]] = {}
    for place, segment in enumerate(new.segments):
        for number, citation in enumerate(segment.citations):
            if citation.calibration_id is not None:
                where = f"segments[{place}].citations[{number}].confidence_score"
                told.setdefault(citation.calibration_id, []).append((where, citation.confidence_score))
    known = await read_calibrations(tx, told.keys())
    if len(known) < len(told):
        raise NotFound("no such calibration")
    for learned in known:
        low, high = learned.confidences[0], learned.confidences[-1]
        for where, score in told[learned.calibration_id]:
            if not low <= score <= high:
                fault = f"{where}: the calibration tells {low:.4f} to {high:.4f}, not {score}"
                raise InvalidInput(fault, [{"field": where, "message": "is no confidence of the calibration"}])


async def _read_chunks(tx: Transaction, new: NewResponse) -> Mapping[UUID, Any]:
    wanted = {citation.chunk_id for segment in new.segments for citation in segment.citations}
    rows = await _queries.read_cited(tx.connection, workspace_id=tx.workspace_id, chunk_ids=list(wanted))
    return {row["chunk_id"]: row for row in rows}


async def _check_models(tx: Transaction, quotes: list[_Quote]) -> None:
    """That the models which are said to have found chunks are the workspace's."""
    told = [quote for quote in quotes if quote.citation.embedding_model_version is not None]
    if not told:
        return
    rows = await _queries.list_models(tx.connection, workspace_id=tx.workspace_id)
    registered = {row["model_version"] for row in rows}
    for quote in told:
        model = quote.citation.embedding_model_version
        if model not in registered and model != quote.chunk["ingested_model_version"]:
            where = f"{quote.where}.embedding_model_version"
            raise InvalidInput(
                f"{where}: the workspace never had the model {model}; give that of the result, or leave it out",
                [{"field": where, "message": "is no embedding model of the workspace"}],
            )


async def _store(
    tx: Transaction, new: NewResponse, response_id: UUID, segment_ids: list[UUID], unproved: list[int]
) -> None:
    ends: list[int] = []
    for segment in new.segments:
        ends.append((ends[-1] if ends else 0) + len(segment.text))
    await _queries.add_response(
        tx.connection,
        workspace_id=tx.workspace_id,
        response_id=response_id,
        agent_run_id=new.agent_run_id,
        question=new.question,
        answer_model_version=new.answer_model_version,
        fallback="missing_provenance" if unproved else None,
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
    )
    await _queries.add_segments(
        tx.connection,
        workspace_id=tx.workspace_id,
        response_id=response_id,
        segment_ids=segment_ids,
        ordinals=list(range(len(segment_ids))),
        starts=[0, *ends[:-1]],
        ends=ends,
        texts=[segment.text for segment in new.segments],
    )


@dataclass(frozen=True, slots=True)
class _Quote:
    """A citation that was checked against its chunk; `where` is its place in what was sent."""

    where: str
    segment_id: UUID
    citation: NewCitation
    chunk: Any
    start: int
    end: int

    @property
    def model_version(self) -> str | None:
        """The embedding model that found the chunk, as far as that was said."""
        if self.citation.retrieval_method is Method.KEYWORD:
            return None
        return self.citation.embedding_model_version or self.chunk["embedding_model_version"]

    @property
    def sha256(self) -> bytes:
        first = self.chunk["start_offset"]
        return hashlib.sha256(self.chunk["text"][self.start - first : self.end - first].encode()).digest()


def _quotes(new: NewResponse, segment_ids: list[UUID], chunks: Mapping[UUID, Any]) -> list[_Quote]:
    quotes = []
    for place, segment in enumerate(new.segments):
        for number, citation in enumerate(segment.citations):
            chunk = chunks.get(citation.chunk_id)
            if chunk is None:
                raise NotFound("no such chunk")
            where = f"segments[{place}].citations[{number}]"
            start, end = _borders(citation, chunk, where)
            quotes.append(_Quote(where, segment_ids[place], citation, chunk, start, end))
    return quotes


def _borders(citation: NewCitation, chunk: Any, where: str) -> tuple[int, int]:
    start = chunk["start_offset"] if citation.quote_start_offset is None else citation.quote_start_offset
    end = chunk["end_offset"] if citation.quote_end_offset is None else citation.quote_end_offset
    if not chunk["start_offset"] <= start < end <= chunk["end_offset"]:
        raise InvalidInput(
            f"{where}: the quote {start}:{end} is not inside its chunk {chunk['start_offset']}:{chunk['end_offset']}",
            [{"field": where, "message": "the quote must lie inside the chunk and not be empty"}],
        )
    return start, end


def _count(quotes: list[_Quote]) -> None:
    for quote in quotes:
        source = "caller" if quote.citation.calibration_id is None else "calibration"
        CITATIONS.labels(band_of(quote.citation.confidence_score).value, source).inc()


async def _cite(tx: Transaction, new: NewResponse, response_id: UUID, quotes: list[_Quote]) -> None:
    await _queries.add_citations(
        tx.connection,
        workspace_id=tx.workspace_id,
        response_id=response_id,
        agent_run_id=new.agent_run_id,
        answer_model_version=new.answer_model_version,
        citation_ids=[uuid7() for _ in quotes],
        segment_ids=[quote.segment_id for quote in quotes],
        document_ids=[quote.chunk["document_id"] for quote in quotes],
        version_ids=[quote.chunk["version_id"] for quote in quotes],
        chunk_ids=[quote.citation.chunk_id for quote in quotes],
        starts=[quote.start for quote in quotes],
        ends=[quote.end for quote in quotes],
        sha256s=[quote.sha256 for quote in quotes],
        evidence_types=[quote.citation.evidence_type.value for quote in quotes],
        scores=[quote.citation.confidence_score for quote in quotes],
        bands=[band_of(quote.citation.confidence_score).value for quote in quotes],
        calibration_ids=[quote.citation.calibration_id for quote in quotes],
        model_versions=[quote.model_version for quote in quotes],
    )


async def _list(tx: Transaction, *, response_id: UUID | None = None, citation_id: UUID | None = None) -> list[Citation]:
    rows = await _queries.list_citations(
        tx.connection,
        workspace_id=tx.workspace_id,
        response_id=response_id,
        citation_id=citation_id,
        most=MOST_CITATIONS,
    )
    decided = await moderations_of(tx, [row["citation_id"] for row in rows]) if rows else {}
    return [_citation(row, decided.get(row["citation_id"])) for row in rows]


def _citation(row: Any, moderation: Moderation | None) -> Citation:
    fault = fault_of(row["quote"], row["chunk_quote"], bytes(row["quote_sha256"]))
    suppressed = moderation is not None and moderation.outcome is Outcome.SUPPRESSED
    return Citation(
        **{name: row[name] for name in Citation.model_fields if name in row and name not in {"quote", "heading"}},
        quote=None if suppressed else row["quote"],
        heading=None if suppressed else row["heading"],
        verified=fault is None,
        fault=fault,
        suppressed=suppressed,
        moderation=moderation,
    )


def fault_of(quote: str | None, chunk_quote: str | None, sha256: bytes) -> str | None:
    """Why a citation does not hold, or None: its source is gone, chunk and text disagree, or the bytes changed."""
    if quote is None or chunk_quote is None:
        return "source_deleted"
    if quote != chunk_quote:
        return "offsets_disagree"
    if hashlib.sha256(quote.encode()).digest() != sha256:
        return "text_changed"
    return None

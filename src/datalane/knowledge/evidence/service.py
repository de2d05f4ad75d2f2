"""From an answer, a citation or a thumbs-down to the cited bytes and every version involved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.knowledge.confidence.service import read_calibrations
from datalane.knowledge.evidence.schemas import (
    Trace,
    TracedChunk,
    TracedCitation,
    TracedSegment,
    TracedVersion,
    VersionsInvolved,
)
from datalane.knowledge.feedback.service import feedback_on, feedback_on_chunk
from datalane.knowledge.permissions import READ_CITATIONS
from datalane.knowledge.responses.schemas import Citation
from datalane.knowledge.responses.service import list_citations

_queries = load_queries(__file__)


async def trace(tx: Transaction, traced_id: UUID) -> Trace:
    """All that is known of a response, found by its own id or that of a citation or feedback of it; of the chunk, by
    that of feedback on a chunk.

    Raises `NotFound`.
    """
    READ_CITATIONS.check(tx.context)
    by_id = {"workspace_id": tx.workspace_id, "id": traced_id}
    response_id = await _queries.find_response(tx.connection, **by_id)
    if response_id is not None:
        return await _trace_response(tx, response_id)
    given = await _queries.find_chunk_feedback(tx.connection, **by_id)
    if given is not None:
        return await _trace_chunk(tx, given)
    raise NotFound("no such response, citation or feedback")


async def _trace_response(tx: Transaction, response_id: UUID) -> Trace:
    scope = {"workspace_id": tx.workspace_id, "response_id": response_id}
    response = await _queries.get_response(tx.connection, **scope)
    citations = await list_citations(tx, response_id, None)
    places = {row["citation_id"]: row for row in await _queries.locate_quotes(tx.connection, **scope)}
    versions = await _versions(tx, [one.version_id for one in citations])
    traced = [_citation(one, places[one.citation_id], versions.get(one.version_id)) for one in citations]
    segments = [
        TracedSegment(
            **row, citations=[one for one in traced if one.citation.response_segment_id == row["response_segment_id"]]
        )
        for row in await _queries.list_segments(tx.connection, **scope)
    ]
    shown = [one for one in citations if not one.suppressed]
    return Trace(
        **{**response, "fallback": response["fallback"] or _fallback(segments)},
        verified=bool(shown) and all(one.verified for one in shown),
        segments=segments,
        chunk=None,
        feedback=await feedback_on(tx, response_id, [one.citation_id for one in citations]),
        calibrations=await read_calibrations(
            tx, {one.calibration_id for one in citations if one.calibration_id is not None}
        ),
        versions=_involved(response["answer_model_version"], citations, versions.values()),
    )


async def _trace_chunk(tx: Transaction, given: Any) -> Trace:
    """From feedback on a chunk; `given` is its row."""
    chunk = await _read_chunk(tx, given["chunk_id"])
    version = chunk.document_version
    return Trace(
        response_id=None,
        question=given["question"],
        fallback=None,
        answer_model_version=None,
        agent_run_id=None,
        created_at=given["created_at"],
        actor_id=given["actor_id"],
        correlation_id=given["correlation_id"],
        verified=chunk.verified,
        segments=[],
        chunk=chunk,
        feedback=await feedback_on_chunk(tx, chunk.chunk_id),
        calibrations=[],
        versions=VersionsInvolved(
            documents=[version.document_id] if version else [],
            parsers=_named([version.parser_version if version else None]),
            chunkers=_named([version.chunker_version if version else None]),
            embedding_models=_named([version.embedding_model_version if version else None, *chunk.embedded_by]),
            answer_models=[],
        ),
    )


async def _read_chunk(tx: Transaction, chunk_id: UUID) -> TracedChunk:
    row = await _queries.get_chunk(tx.connection, workspace_id=tx.workspace_id, chunk_id=chunk_id)
    if row is None:
        return TracedChunk(chunk_id=chunk_id, fault="source_deleted")
    holds = row["stored"] == row["text"] and row["bytes_before"] == row["start_byte"]
    versions = await _versions(tx, [row["version_id"]])
    return TracedChunk(
        **{name: row[name] for name in TracedChunk.model_fields if name in row},
        chunk_id=chunk_id,
        verified=holds,
        fault=None if holds else "offsets_disagree",
        document_version=versions.get(row["version_id"]),
    )


def _fallback(segments: Iterable[TracedSegment]) -> str | None:
    lost = any(all(one.citation.suppressed for one in segment.citations) for segment in segments)
    return "suppressed_evidence" if lost else None


async def _versions(tx: Transaction, version_ids: Iterable[UUID]) -> dict[UUID, TracedVersion]:
    rows = await _queries.list_versions(tx.connection, workspace_id=tx.workspace_id, version_ids=list(set(version_ids)))
    return {
        row["version_id"]: TracedVersion(**{**row, "content_sha256": bytes(row["content_sha256"]).hex()})
        for row in rows
    }


def _citation(citation: Citation, place: Any, version: TracedVersion | None) -> TracedCitation:
    return TracedCitation(
        citation=citation,
        page=citation.page,
        heading=citation.heading,
        quote_start_byte=place["quote_start_byte"],
        quote_end_byte=place["quote_end_byte"],
        quote_sha256=None if citation.suppressed else bytes(place["quote_sha256"]).hex(),
        document_version=version,
    )


def _involved(
    answer_model: str | None, citations: Sequence[Citation], versions: Iterable[TracedVersion]
) -> VersionsInvolved:
    made = list(versions)
    return VersionsInvolved(
        documents=sorted({one.document_id for one in citations}),
        parsers=_named(one.parser_version for one in made),
        chunkers=_named(one.chunker_version for one in made),
        embedding_models=_named(one.embedding_model_version for one in citations),
        answer_models=_named([answer_model]),
    )


def _named(versions: Iterable[str | None]) -> list[str]:
    return sorted({one for one in versions if one is not None})

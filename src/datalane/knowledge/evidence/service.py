"""From an answer, a citation or a thumbs-down to the cited bytes and every version involved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.knowledge.confidence.service import read_calibrations
from datalane.knowledge.evidence.schemas import Trace, TracedCitation, TracedSegment, TracedVersion, VersionsInvolved
from datalane.knowledge.feedback.service import feedback_on
from datalane.knowledge.permissions import READ_CITATIONS
from datalane.knowledge.responses.schemas import Citation
from datalane.knowledge.responses.service import list_citations

_queries = load_queries(__file__)


async def trace(tx: Transaction, traced_id: UUID) -> Trace:
    """All that is known of a response, found by its own id or that of a citation or feedback of it.

    Raises `NotFound`.
    """
    READ_CITATIONS.check(tx.context)
    response_id = await _queries.find_response(tx.connection, workspace_id=tx.workspace_id, id=traced_id)
    if response_id is None:
        raise NotFound("no such response, citation or feedback")
    scope = {"workspace_id": tx.workspace_id, "response_id": response_id}
    response = await _queries.get_response(tx.connection, **scope)
    citations = await list_citations(tx, response_id, None)
    places = {row["citation_id"]: row for row in await _queries.locate_quotes(tx.connection, **scope)}
    versions = await _versions(tx, citations)
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
        feedback=await feedback_on(tx, response_id, [one.citation_id for one in citations]),
        calibrations=await read_calibrations(
            tx, {one.calibration_id for one in citations if one.calibration_id is not None}
        ),
        versions=_involved(response["answer_model_version"], citations, versions.values()),
    )


def _fallback(segments: Iterable[TracedSegment]) -> str | None:
    lost = any(all(one.citation.suppressed for one in segment.citations) for segment in segments)
    return "suppressed_evidence" if lost else None


async def _versions(tx: Transaction, citations: Sequence[Citation]) -> dict[UUID, TracedVersion]:
    rows = await _queries.list_versions(
        tx.connection,
        workspace_id=tx.workspace_id,
        version_ids=list({one.version_id for one in citations}),
    )
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

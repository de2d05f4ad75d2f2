"""Answers with citations, and a checker that trusts none of the lane's code.

The checker reads rows by SQL through the tenant door and compares in Python: characters, bytes and the digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from datalane.demo.corpus import Corpus
from datalane.demo.ingest import queries
from datalane.demo.people import Person
from datalane.demo.search import Run
from datalane.knowledge.responses.schemas import EvidenceType, NewCitation, NewResponse, NewSegment
from datalane.knowledge.responses.service import create_response
from datalane.knowledge.retrieval.schemas import Result
from datalane.lane import Lane

CITED = 3
"""Results of a query that its answer cites."""


@dataclass(frozen=True, slots=True)
class Checked:
    responses: int
    citations: int
    failed: int


async def cite_and_check(lane: Lane, person: Person, corpus: Corpus, run: Run) -> Checked:
    """One answer for each query that found something; then every citation is checked."""
    responses: list[UUID] = []
    expected = 0
    for query in corpus.queries:
        results = run.answers[query.id].data[:CITED]
        if not results:
            continue
        answer = NewResponse(question=query.text[:8_000], segments=[_segment(result) for result in results])
        async with lane.transaction(person.context()) as tx:
            response = await create_response(tx, answer)
        expected += len(results)
        responses.append(response.response_id)
    checked, failed = await _check(lane, person, responses)
    # A citation that was asked for and is not there is a failed one.
    return Checked(len(responses), expected, failed + max(0, expected - checked))


def _segment(result: Result) -> NewSegment:
    """A segment that says one sentence of the chunk, and cites exactly that sentence."""
    start, end = sentence(result.text)
    citation = NewCitation(
        chunk_id=result.chunk_id,
        quote_start_offset=result.chunk_start_offset + start,
        quote_end_offset=result.chunk_start_offset + end,
        evidence_type=EvidenceType.DIRECT,
        confidence_score=min(1.0, max(0.0, result.retrieval_score)),
        retrieval_method=result.retrieval_method,
        embedding_model_version=result.embedding_model_version,
    )
    return NewSegment(text=result.text[start:end], citations=[citation])


def sentence(text: str) -> tuple[int, int]:
    """The place of the sentence in the middle of `text`; all of it when it is one sentence."""
    middle = len(text) // 2
    start = text.rfind(". ", 0, middle) + 2
    start = 0 if start == 1 else start
    stop = text.find(". ", middle)
    end = len(text) if stop < 0 else stop + 1
    return (start, end) if start < end else (0, len(text))


async def _check(lane: Lane, person: Person, response_ids: list[UUID]) -> tuple[int, int]:
    checked = failed = 0
    for some in _portions(response_ids, 50):
        async with lane.transaction(person.context()) as tx:
            rows = await queries.read_evidence(tx.connection, workspace_id=person.workspace_id, response_ids=some)
            texts = await queries.read_texts(
                tx.connection, workspace_id=person.workspace_id, version_ids=[row["version_id"] for row in rows]
            )
        stored = {row["version_id"]: row["canonical_text"] for row in texts}
        checked += len(rows)
        failed += sum(not holds(row, stored.get(row["version_id"])) for row in rows)
    return checked, failed


def holds(citation: Any, text: str | None) -> bool:
    """Whether the citation's places, cut out of the stored text, give what was cited."""
    if text is None or citation["chunk_text"] is None:
        return False
    quote = text[citation["quote_start_offset"] : citation["quote_end_offset"]]
    return (
        text[citation["start_offset"] : citation["end_offset"]] == citation["chunk_text"]
        and text.encode()[citation["start_byte"] : citation["end_byte"]] == citation["chunk_text"].encode()
        and citation["start_offset"] <= citation["quote_start_offset"]
        and citation["quote_end_offset"] <= citation["end_offset"]
        and bool(quote)
        and quote == citation["segment_text"]
        and hashlib.sha256(quote.encode()).digest() == bytes(citation["quote_sha256"])
    )


def _portions(values: Iterable[UUID], size: int) -> Iterable[list[UUID]]:
    rest = iter(values)
    while portion := list(islice(rest, size)):
        yield portion

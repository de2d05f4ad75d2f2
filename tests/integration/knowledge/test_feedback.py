"""Feedback, and the way from it to the cited bytes."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import ValidationError
from tests.conftest import a_context
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.schemas import Document
from datalane.knowledge.documents.service import delete_document
from datalane.knowledge.evidence.schemas import Trace
from datalane.knowledge.evidence.service import trace
from datalane.knowledge.feedback.schemas import AnswerThumbs, Feedback, NewFeedback
from datalane.knowledge.feedback.service import give_feedback, judgements, list_feedback, thumbs_on_answers
from datalane.knowledge.methods import Method
from datalane.knowledge.responses.schemas import NewCitation, NewResponse, NewSegment, Response
from datalane.knowledge.responses.service import create_response

TEXT = "Für Elise.\n\nThe heron – grey and patient – stands in the reeds at dawn. " * 3
QUOTE = "The heron – grey and patient"


async def give(library: Library, context: Context | None = None, **said: Any) -> Feedback:
    async with library.lane.transaction(context or library.context) as tx:
        return await give_feedback(tx, NewFeedback(**{"rating": "down"} | said))


async def traced(library: Library, traced_id: UUID, context: Context | None = None) -> Trace:
    async with library.lane.transaction(context or library.context) as tx:
        return await trace(tx, traced_id)


async def answered(library: Library, uri: str = "demo:heron") -> tuple[Document, Response]:
    """A document, and an answer that quotes it."""
    document = await library.bring_in(TEXT, source_uri=uri, title="Herons")
    [chunk] = [
        one for one in (await library.ask("heron", Method.KEYWORD)).data if one.document_id == document.document_id
    ]
    start = chunk.chunk_start_offset + chunk.text.index(QUOTE)
    quoted = NewCitation(
        chunk_id=chunk.chunk_id, quote_start_offset=start, quote_end_offset=start + len(QUOTE), confidence_score=0.9
    )
    new = NewResponse(
        question="Where does the heron stand?",
        answer_model_version="writer/3",
        segments=[NewSegment(text="In the reeds.", citations=[quoted]), NewSegment(text="Always.")],
    )
    async with library.lane.transaction(library.context) as tx:
        return document, await create_response(tx, new)


async def test_a_citation_says_under_which_heading_it_stands(library: Library) -> None:
    await library.bring_in("Birds\n=====\n\nThe heron stands.", filename="birds.md")
    [chunk] = (await library.ask("heron", Method.KEYWORD)).data
    quoted = NewCitation(chunk_id=chunk.chunk_id, quote_start_offset=13, quote_end_offset=30, confidence_score=0.9)
    new = NewResponse(segments=[NewSegment(text="It stands.", citations=[quoted])])
    async with library.lane.transaction(library.context) as tx:
        response = await create_response(tx, new)
    [cited] = (await traced(library, response.response_id)).segments[0].citations
    assert (cited.citation.quote, cited.heading) == ("The heron stands.", "Birds")
    assert response.citations[0].heading == "Birds"


async def test_a_thumbs_down_leads_to_the_cited_bytes_and_every_version_involved(library: Library) -> None:
    document, response = await answered(library)
    [citation] = response.citations
    down = await give(library, citation_id=citation.citation_id, comment="It moved on long ago.")
    found = await traced(library, down.feedback_id)
    assert (found.response_id, found.question) == (response.response_id, "Where does the heron stand?")
    assert [(one.rating, one.comment) for one in found.feedback] == [("down", "It moved on long ago.")]
    assert [(segment.text, len(segment.citations)) for segment in found.segments] == [
        ("In the reeds.", 1),
        ("Always.", 0),
    ]

    [cited] = found.segments[0].citations
    [row] = await library.fetch("SELECT canonical_text FROM datalane.document_versions")
    stored = row["canonical_text"].encode()
    assert stored[cited.quote_start_byte : cited.quote_end_byte] == QUOTE.encode()
    assert cited.quote_sha256 == hashlib.sha256(QUOTE.encode()).hexdigest()
    assert (cited.citation.quote, cited.citation.verified, found.verified) == (QUOTE, True, True)

    version = cited.document_version
    assert version is not None
    assert (version.document_id, version.version, version.is_current) == (document.document_id, 1, True)
    assert version.content_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert version.ingestion_job_id is not None
    involved = found.versions
    assert (involved.documents, involved.answer_models) == ([document.document_id], ["writer/3"])
    assert involved.embedding_models == [library.knowledge.providers.usual]
    assert [involved.parsers, involved.chunkers] == [[version.parser_version], [version.chunker_version]]


async def test_every_id_of_an_answer_leads_to_the_same_trace(library: Library) -> None:
    _, response = await answered(library)
    whole = await give(library, response_id=response.response_id, rating="up")
    ids = [response.response_id, response.citations[0].citation_id, whole.feedback_id]
    first, *others = [await traced(library, one) for one in ids]
    assert all(other == first for other in others)


async def test_a_thumbs_down_on_a_chunk_leads_to_its_bytes_and_every_version_involved(library: Library) -> None:
    document, response = await answered(library)
    chunk_id = response.citations[0].chunk_id
    first = await give(library, chunk_id=chunk_id, question="Where is it?", comment="Not there.")
    await give(library, library.acting(Role.MEMBER), chunk_id=chunk_id, rating="up")
    found = await traced(library, first.feedback_id)
    assert (found.response_id, found.segments, found.question) == (None, [], "Where is it?")
    assert (found.actor_id, found.created_at) == (first.actor_id, first.created_at)
    assert [(one.rating, one.comment) for one in found.feedback] == [("down", "Not there."), ("up", None)]

    chunk, [row] = found.chunk, await library.fetch("SELECT canonical_text FROM datalane.document_versions")
    assert chunk is not None
    assert chunk.text is not None
    assert row["canonical_text"][chunk.start_offset : chunk.end_offset] == chunk.text
    assert row["canonical_text"].encode()[chunk.start_byte : chunk.end_byte] == chunk.text.encode()
    assert (chunk.chunk_id, chunk.source_title, found.verified, chunk.fault) == (chunk_id, "Herons", True, None)
    version, usual = chunk.document_version, library.knowledge.providers.usual
    assert version is not None
    assert (version.document_id, version.is_current, chunk.embedded_by) == (document.document_id, True, [usual])
    involved = found.versions
    assert (involved.documents, involved.embedding_models, involved.answer_models) == (
        [document.document_id],
        [usual],
        [],
    )
    assert [involved.parsers, involved.chunkers] == [[version.parser_version], [version.chunker_version]]


async def test_a_chunk_that_feedback_is_on_is_traced_when_it_was_replaced_moved_and_deleted(library: Library) -> None:
    document, response = await answered(library)
    down = await give(library, chunk_id=response.citations[0].chunk_id)
    told = []

    async def look() -> None:
        found = await traced(library, down.feedback_id)
        assert found.chunk is not None
        told.append((found.verified, found.chunk.fault, found.chunk.embedded_by, len(found.versions.embedding_models)))

    await library.bring_in("Now about storks.", document_id=document.document_id)
    await look()
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await tx.execute(
            "UPDATE datalane.chunks SET start_byte = start_byte + 1, end_byte = end_byte + 1 WHERE chunk_id = $1",
            down.chunk_id,
        )
    await look()
    async with library.lane.transaction(library.acting(Role.OWNER)) as tx:
        await delete_document(tx, document.document_id)
    await look()
    assert told == [(True, None, [], 1), (False, "offsets_disagree", [], 1), (False, "source_deleted", [], 0)]


async def test_a_trace_stays_true_after_the_document_was_replaced_and_says_when_it_is_gone(library: Library) -> None:
    document, response = await answered(library)
    await library.bring_in("Now about storks.", document_id=document.document_id)
    found = await traced(library, response.response_id)
    version = found.segments[0].citations[0].document_version
    assert version is not None
    assert (found.verified, version.is_current) == (True, False)
    async with library.lane.transaction(library.acting(Role.OWNER)) as tx:
        await delete_document(tx, document.document_id)
    gone = await traced(library, response.response_id)
    [cited] = gone.segments[0].citations
    assert (gone.verified, cited.document_version, cited.citation.fault) == (False, None, "source_deleted")
    assert (cited.quote_start_byte, cited.quote_end_byte) == (None, None)


async def test_an_answer_without_evidence_is_not_verified(library: Library) -> None:
    async with library.lane.transaction(library.context) as tx:
        response = await create_response(tx, NewResponse(segments=[NewSegment(text="Because.")]))
    found = await traced(library, response.response_id)
    assert (found.verified, found.fallback) == (False, "missing_provenance")


async def test_a_chunk_that_was_moved_is_a_fault_and_no_error(library: Library) -> None:
    _, response = await answered(library)
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await tx.execute(
            "UPDATE datalane.chunks SET start_offset = start_offset + 40, end_offset = end_offset + 40,"
            " start_byte = start_byte + 40, end_byte = end_byte + 40"
        )
    found = await traced(library, response.response_id)
    assert (found.verified, found.segments[0].citations[0].citation.fault) == (False, "offsets_disagree")


async def test_what_is_not_there_and_what_is_another_workspace_s_are_the_same(
    library: Library, other_context: Context
) -> None:
    _, response = await answered(library)
    down = await give(library, response_id=response.response_id)
    on_chunk = await give(library, chunk_id=response.citations[0].chunk_id)
    ids = (response.response_id, response.citations[0].citation_id, down.feedback_id, on_chunk.feedback_id)
    told = set()
    for unknown in (uuid7(), *ids):
        with pytest.raises(NotFound) as caught:
            await traced(library, unknown, other_context)
        told.add(str(caught.value))
    chunk_id = response.citations[0].chunk_id
    for on in ({"response_id": response.response_id}, {"chunk_id": chunk_id}, {"chunk_id": uuid7()}):
        with pytest.raises(NotFound) as caught:
            await give(library, other_context, **on)
        told.add(str(caught.value))
    assert told == {"no such response, citation or feedback", "no such response, citation or chunk"}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "just one of them"),
        ({"response_id": uuid7(), "chunk_id": uuid7()}, "just one of them"),
        ({"response_id": uuid7(), "question": "what?"}, "for feedback on a chunk"),
        ({"chunk_id": uuid7(), "comment": "x" * 2_001}, "2000"),
        ({"chunk_id": uuid7(), "comment": "a\x00b"}, "NUL"),
        ({"chunk_id": uuid7(), "rating": "sideways"}, "'up' or 'down'"),
    ],
)
def test_feedback_that_cannot_be_is_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        NewFeedback(**{"rating": "up"} | said)


async def test_feedback_is_listed_newest_first_and_by_rating(library: Library) -> None:
    _, response = await answered(library)
    given = [await give(library, response_id=response.response_id, rating=rating) for rating in ("up", "down", "up")]
    async with library.lane.transaction(library.context) as tx:
        first = await list_feedback(tx, page_size=2)
        rest = await list_feedback(tx, cursor=first.next_cursor, page_size=2)
        downs = await list_feedback(tx, rating="down")
    assert [*first.data, *rest.data] == sorted(given, key=lambda one: one.feedback_id, reverse=True)
    assert downs.data == [given[1]]


async def test_feedback_becomes_judgements_and_moves_no_ranking(library: Library) -> None:
    _, response = await answered(library, "demo:heron")
    await library.bring_in("A heron on a roof.", source_uri="demo:roof", filename="roof.txt")
    await library.bring_in("A heron in a file with blanks in its name.", source_uri="demo: blank", filename="b.txt")
    await library.bring_in("A heron in a file with a tab in its name.", source_uri="demo\ttab", filename="t.txt")
    before = (await library.ask("heron", Method.HYBRID)).data
    chunks = {result.source_uri: result.chunk_id for result in before}
    await give(library, citation_id=response.citations[0].citation_id, rating="down")
    await give(library, citation_id=response.citations[0].citation_id, rating="up")
    for actor in (library.acting(), library.acting(Role.MEMBER)):
        await give(library, actor, chunk_id=chunks["demo:roof"], question="heron", rating="down")
    await give(library, chunk_id=chunks["demo: blank"], question="heron", rating="up")
    await give(library, chunk_id=chunks["demo\ttab"], question="heron", rating="up")
    await give(library, chunk_id=chunks["demo:roof"], rating="up", comment="of no question")
    await give(library, response_id=response.response_id, rating="down")
    async with library.lane.transaction(library.context) as tx:
        found = [(one.question, one.source_uri, one.grade) for one in await judgements(tx)]
    assert found == [
        ("Where does the heron stand?", "demo:heron", 1),
        ("heron", "demo: blank", 1),
        ("heron", "demo:roof", 0),
    ]
    after = (await library.ask("heron", Method.HYBRID)).data
    assert [(one.chunk_id, one.retrieval_score) for one in after] == [
        (one.chunk_id, one.retrieval_score) for one in before
    ]


async def test_thumbs_on_answers_are_counted_by_what_wrote_them(library: Library, other_context: Context) -> None:
    _, first = await answered(library)
    async with library.lane.transaction(library.context) as tx:
        second = await create_response(tx, NewResponse(segments=[NewSegment(text="Because.")]))
        assert await thumbs_on_answers(tx) == []
    for rating in ("up", "down"):
        await give(library, response_id=first.response_id, rating=rating)
    await give(library, library.acting(Role.MEMBER), response_id=second.response_id, rating="up")
    for actor in (a_context(library.context.workspace_id), a_context(library.context.workspace_id)):
        await give(library, actor, response_id=first.response_id, rating="up")
    await give(library, citation_id=first.citations[0].citation_id, rating="up")
    async with library.lane.transaction(library.context) as tx:
        assert await thumbs_on_answers(tx) == [
            AnswerThumbs(answer_model_version=None, up=1, down=0),
            AnswerThumbs(answer_model_version="writer/3", up=2, down=1),
        ]
    async with library.lane.transaction(other_context) as tx:
        assert await thumbs_on_answers(tx) == []


async def test_a_viewer_reads_feedback_and_gives_none_and_nobody_changes_it(library: Library) -> None:
    _, response = await answered(library)
    await give(library, response_id=response.response_id)
    viewer = library.acting(Role.VIEWER)
    with pytest.raises(Forbidden):
        await give(library, viewer, response_id=response.response_id)
    async with library.lane.transaction(viewer) as tx:
        assert len((await list_feedback(tx)).data) == 1
    for change in ("UPDATE datalane.feedback SET rating = 1", "DELETE FROM datalane.feedback"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, Forbidden)):
            await attempt(library, change)


async def attempt(library: Library, sql: str) -> None:
    async with library.lane.transaction(library.acting(Role.OWNER)) as tx:
        await tx.execute(sql)

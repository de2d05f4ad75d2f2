"""Answers with evidence, and evidence that is checked at every read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context
from datalane.errors import InvalidInput, LimitExceeded, NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.confidence.bands import Band, band_of
from datalane.knowledge.documents.service import delete_document
from datalane.knowledge.evidence.service import trace
from datalane.knowledge.methods import Method
from datalane.knowledge.responses.schemas import Citation, NewCitation, NewResponse, NewSegment, Response
from datalane.knowledge.responses.service import create_response, fault_of, list_citations
from datalane.knowledge.retrieval.schemas import Result

TEXT = "Größe und Maß. 🦉 Owls hunt at night. Das Ende."


async def found(library: Library, text: str = "owls") -> Result:
    return (await library.ask(text, Method.KEYWORD)).data[0]


def citing(chunk_id: UUID, **said: Any) -> NewResponse:
    citation = NewCitation(chunk_id=chunk_id, confidence_score=said.pop("confidence_score", 0.9), **said)
    return NewResponse(segments=[NewSegment(text="Owls hunt at night.", citations=[citation])])


async def respond(library: Library, new: NewResponse, context: Context | None = None) -> Response:
    async with library.lane.transaction(context or library.context) as tx:
        return await create_response(tx, new)


async def read(library: Library, response_id: UUID, context: Context | None = None) -> list[Citation]:
    async with library.lane.transaction(context or library.context) as tx:
        return await list_citations(tx, response_id, None)


async def test_a_citation_quotes_the_stored_text(library: Library) -> None:
    await library.bring_in(TEXT, title="Owls", source_uri="file:owls")
    chunk = await found(library)
    start = TEXT.index("Owls hunt")
    response = await respond(library, citing(chunk.chunk_id, quote_start_offset=start, quote_end_offset=start + 19))
    citation = response.citations[0]
    assert (citation.quote, citation.verified, citation.fault) == ("Owls hunt at night.", True, None)
    assert (citation.document_id, citation.version_id) == (chunk.document_id, chunk.version_id)
    assert (citation.confidence_band, citation.is_current, citation.version) == (Band.HIGH, True, 1)
    assert (citation.source_title, citation.source_uri) == ("Owls", "file:owls")
    assert citation.embedding_model_version == chunk.embedding_model_version
    assert await read(library, response.response_id) == response.citations


async def test_without_offsets_the_whole_chunk_is_quoted(library: Library) -> None:
    await library.bring_in(TEXT)
    response = await respond(library, citing((await found(library)).chunk_id))
    assert response.citations[0].quote == TEXT


async def test_a_quote_has_its_own_page_and_a_result_that_on_which_its_chunk_begins(
    library: Library, make_pdf: Callable[..., bytes]
) -> None:
    pages = ("A page about otters", "A page about badgers", "Lynxes hunt alone. " * 104)
    await library.bring_in(make_pdf(*pages), filename="animals.pdf")
    assert [(await found(library, one)).page for one in ("otters", "badgers", "lynxes")] == [1, 1, 3]
    chunk = await found(library, "badgers")
    told = []
    for word in ("otters", "A page about badgers", "badgers"):
        start = chunk.chunk_start_offset + chunk.text.index(word)
        quoted = {"quote_start_offset": start, "quote_end_offset": start + len(word)}
        response = await respond(library, citing(chunk.chunk_id, **quoted))
        async with library.lane.transaction(library.context) as tx:
            [traced] = (await trace(tx, response.response_id)).segments[0].citations
        assert traced.page == response.citations[0].page
        told.append((response.citations[0].quote, traced.page))
    assert told == [("otters", 1), ("A page about badgers", 2), ("badgers", 2)]
    await library.bring_in(TEXT)
    assert (await respond(library, citing((await found(library)).chunk_id))).citations[0].page is None


@pytest.mark.parametrize(("start", "end"), [(0, 10_000), (5, 5), (6, 5)])
async def test_a_quote_outside_its_chunk_is_refused_and_nothing_is_kept(library: Library, start: int, end: int) -> None:
    await library.bring_in(TEXT)
    new = citing((await found(library)).chunk_id, quote_start_offset=start, quote_end_offset=end)
    with pytest.raises(InvalidInput, match=r"segments\[0\]\.citations\[0\]"):
        await respond(library, new)
    assert await library.count("responses") == 0


async def test_a_chunk_of_another_workspace_is_not_there(library: Library, other_context: Context) -> None:
    await library.bring_in(TEXT)
    chunk = await found(library)
    with pytest.raises(NotFound) as foreign:
        await respond(library, citing(chunk.chunk_id), other_context)
    with pytest.raises(NotFound) as missing:
        await respond(library, citing(uuid7()), other_context)
    assert str(foreign.value) == str(missing.value)
    assert await library.count("responses", other_context) == 0


async def test_a_response_of_another_workspace_is_not_there(library: Library, other_context: Context) -> None:
    await library.bring_in(TEXT)
    response = await respond(library, citing((await found(library)).chunk_id))
    with pytest.raises(NotFound) as foreign:
        await read(library, response.response_id, other_context)
    with pytest.raises(NotFound) as missing:
        await read(library, uuid7(), other_context)
    assert str(foreign.value) == str(missing.value)


async def test_a_segment_without_evidence_puts_the_response_into_the_fallback_state(library: Library) -> None:
    await library.bring_in(TEXT)
    cited = citing((await found(library)).chunk_id).segments[0]
    with capture_logs() as lines:
        response = await respond(library, NewResponse(segments=[cited, NewSegment(text="And so on.")]))
    assert (response.fallback, response.segments_without_citation) == ("missing_provenance", [1])
    assert [line["segments"] for line in lines if line["event"] == "missing_provenance"] == [[1]]
    stored = await library.fetch("SELECT fallback FROM datalane.responses")
    assert [row[0] for row in stored] == ["missing_provenance"]


async def test_a_response_without_any_citation_can_be_read(idle_library: Library) -> None:
    response = await respond(idle_library, NewResponse(segments=[NewSegment(text="Unproved.")]))
    assert await read(idle_library, response.response_id) == []


async def test_too_many_citations_are_refused(idle_library: Library) -> None:
    citation = NewCitation(chunk_id=uuid7(), confidence_score=1)
    segments = [NewSegment(text="x", citations=[citation] * 100) for _ in range(11)]
    with pytest.raises(LimitExceeded, match="limit of a response is 1,000"):
        await respond(idle_library, NewResponse(segments=segments))


async def test_a_citation_of_each_version_still_holds_after_five_re_ingests(library: Library) -> None:
    longer = "Größer als zuvor. 🦉🦉 " * 200 + TEXT
    texts = [TEXT, longer, "Owls.", TEXT + " Owls again.", "Maß für Maß: owls. " * 150, TEXT]
    document_id, cited = None, []
    for text in texts:
        document_id = (await library.bring_in(text, document_id=document_id)).document_id
        chunk = await found(library)
        word = re.search("owls", chunk.text, re.IGNORECASE)
        assert word is not None
        start = chunk.chunk_start_offset + word.start()
        quoted = {"quote_start_offset": start, "quote_end_offset": start + 4}
        whole, part = [await respond(library, citing(chunk.chunk_id, **said)) for said in ({}, quoted)]
        cited.append((chunk.text, word.group(), whole, part))
    for number, (text, word_, whole, part) in enumerate(cited, 1):
        for quote, response in ((text, whole), (word_, part)):
            [citation] = await read(library, response.response_id)
            assert (citation.quote, citation.verified, citation.fault) == (quote, True, None)
            assert (citation.document_id, citation.version) == (document_id, number)
            assert citation.is_current == (number == len(texts))
            assert texts[number - 1][citation.quote_start_offset : citation.quote_end_offset] == quote


async def test_citations_of_a_deleted_document_say_so(library: Library) -> None:
    document = await library.bring_in(TEXT)
    response = await respond(library, citing((await found(library)).chunk_id))
    async with library.lane.transaction(library.context) as tx:
        await delete_document(tx, document.document_id)
    citation = (await read(library, response.response_id))[0]
    assert (citation.quote, citation.verified, citation.fault) == (None, False, "source_deleted")


def test_a_text_that_changed_is_found_out() -> None:
    sha256 = hashlib.sha256(b"what was said").digest()
    assert fault_of("what was said", "what was said", sha256) is None
    assert fault_of("what is said", "what is said", sha256) == "text_changed"
    assert fault_of("what was said", "what was sai", sha256) == "offsets_disagree"
    assert fault_of(None, None, sha256) == "source_deleted"


@pytest.mark.parametrize(
    ("score", "expected"), [(1.0, "high"), (0.8, "high"), (0.79, "medium"), (0.5, "medium"), (0.49, "low")]
)
def test_bands_follow_the_score(score: float, expected: str) -> None:
    assert band_of(score) == expected

"""A text that is indexed directly and comes again is one document, if it is cut alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.integration.knowledge.library import Library, until_somebody_waits
from tests.integration.knowledge.site import open_site

from datalane.knowledge.chunking import CHUNKER_VERSION
from datalane.knowledge.indexing import IndexChunks, Indexed, Span, index_chunks
from datalane.knowledge.methods import Method

TEXT = "Äpfel und Birnen. Kräuter und Salz."
HALVES, WHOLE = ((0, 17), (18, 35)), ((0, 35),)


async def index(
    library: Library, text: str = TEXT, cut: Sequence[tuple[int, int]] | None = None, **said: Any
) -> Indexed:
    chunks = None if cut is None else [Span(start_offset=start, end_offset=end) for start, end in cut]
    prepared = await library.prepare(IndexChunks(text=text, chunks=chunks, **said))
    async with library.lane.transaction(library.context) as tx:
        return await index_chunks(tx, prepared)


def same(first: Indexed, again: Indexed) -> bool:
    """Answered with what the first one made."""
    return again == first.model_copy(update={"created": False})


async def test_a_text_that_is_indexed_twice_is_one_document(idle_library: Library) -> None:
    library = idle_library
    first = await index(library)
    before = await library.counts()
    again = await index(library)
    assert first.created
    assert same(first, again)
    assert (await library.counts(), await library.stored_files()) == (before, 1)


async def test_a_text_in_the_same_chunks_is_one_document_and_cut_otherwise_another(idle_library: Library) -> None:
    library = idle_library
    halves = await index(library, cut=HALVES)
    whole = await index(library, cut=WHOLE)
    assert (halves.created, whole.created) == (True, True)
    assert halves.document_id != whole.document_id
    assert same(halves, await index(library, cut=HALVES))
    assert same(whole, await index(library, cut=WHOLE))
    assert same(whole, await index(library)), "the lane would draw the same borders"
    assert (await library.count("documents"), await library.stored_files()) == (2, 2)


async def test_a_text_that_a_former_chunker_of_the_lane_cut_otherwise_is_the_same(idle_library: Library) -> None:
    library = idle_library
    first = await index(library, cut=HALVES)
    async with library.lane.transaction(library.context) as tx:
        await tx.execute("UPDATE datalane.document_versions SET chunker_version = $1", f"before-{CHUNKER_VERSION}")
    assert same(first, await index(library))


async def test_a_document_gets_no_second_version_of_what_its_newest_one_holds(idle_library: Library) -> None:
    library = idle_library
    first = await index(library, tags=["old"])
    again = await index(library, document_id=first.document_id, tags=["new"])
    assert same(first, again)
    assert (await library.document(first.document_id)).tags == ["new"]
    cut = await index(library, document_id=first.document_id, cut=HALVES)
    assert (cut.created, cut.document_id, cut.chunks) == (True, first.document_id, 2)
    back = await index(library, document_id=first.document_id)
    assert (back.created, (await library.document(first.document_id)).version) == (True, 3)


async def test_the_same_text_of_another_source_is_another_document(idle_library: Library) -> None:
    first = await index(idle_library, source_uri="file:a")
    second = await index(idle_library, source_uri="file:b")
    assert second.created
    assert first.document_id != second.document_id


async def test_a_text_that_was_uploaded_is_recognised_once_it_is_searched(idle_library: Library) -> None:
    library = idle_library
    waiting = await library.upload(TEXT.encode(), filename="a.txt")
    early = await index(library, source_uri="file:early")
    at_once = await index(library)
    assert (early.created, at_once.created) == (True, True), "what waits for its job is not searched"
    assert len((await library.ask("Kräuter", Method.KEYWORD)).data) == 2
    async with library.working():
        await library.through()
    assert (await library.document(waiting.document_id)).chunks == 1
    other = await library.upload(TEXT.encode(), filename="a.txt", source_uri="file:c")
    async with library.working():
        await library.through()
    late = await index(library, source_uri="file:c")
    assert (late.created, late.document_id, late.version_id) == (False, other.document_id, other.version_id)


async def test_of_two_that_index_the_same_text_at_once_the_second_finds_the_first(idle_library: Library) -> None:
    library = idle_library
    prepared = await library.prepare(IndexChunks(text=TEXT))
    async with library.lane.transaction(library.context) as tx:
        first = await index_chunks(tx, prepared)
        second = asyncio.create_task(index(library))
        await until_somebody_waits(tx.connection)
    assert same(first, await second)
    assert (await library.count("documents"), await library.stored_files()) == (1, 1)


async def test_over_http_the_answer_says_that_the_text_was_here(idle_library: Library) -> None:
    async with open_site(idle_library) as site:
        body = {"text": TEXT, "chunks": [{"start_offset": 0, "end_offset": 17}]}
        first, again = [await site.post("/retrieval/index-chunks", "member", json=body) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == {**first.json(), "created": False}
        assert first.json()["created"]

"""From a file to searchable chunks; versions follow one another whole."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Role
from datalane.errors import NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import add_ready, upload_batch
from datalane.knowledge.extraction.types import Extracted, Source
from datalane.knowledge.indexing import IndexChunks, Span, index_chunks
from datalane.knowledge.ingestion import Arrival, write
from datalane.knowledge.methods import Method

OLD = "The granary stores barley.\n\n" * 200
NEW = "The granary stores rye now."


@pytest.mark.parametrize("method", list(Method))
async def test_an_uploaded_file_is_found_by_every_method(library: Library, method: Method) -> None:
    document = await library.bring_in("The heron stands still in the reeds.", title="Birds", source_uri="file:heron")
    await library.bring_in("Bicycles need oil on their chains.")
    answer = await library.ask("a heron in the reeds", method)
    first = answer.data[0]
    assert document.ingestion.status == "completed"
    assert (first.document_id, first.version_id) == (document.document_id, document.current_version_id)
    assert (first.source_title, first.source_uri, first.retrieval_rank) == ("Birds", "file:heron", 1)
    assert first.text == "The heron stands still in the reeds."
    assert (first.retrieval_method, first.workspace_id) == (method, library.context.workspace_id)
    assert isinstance(first.indexed_at, datetime)
    assert first.correlation_id == answer.correlation_id


async def test_chunks_are_cut_out_of_the_canonical_text_in_characters_and_in_bytes(library: Library) -> None:
    sentence = "Ein Fläschchen Öl, ein 👩‍👩‍👧 und ein e\u0301.\r\nNeue Zeile.\r\n\r\n"
    document = await library.bring_in(sentence * 120)
    rows = await library.fetch(
        "SELECT c.start_offset, c.end_offset, c.start_byte, c.end_byte, c.text, v.canonical_text AS whole"
        " FROM datalane.chunks c JOIN datalane.document_versions v USING (workspace_id, version_id)"
        " WHERE c.document_id = $1 ORDER BY c.ordinal",
        document.document_id,
    )
    assert len(rows) > 3
    assert rows[0]["whole"] == (sentence * 120).replace("\r\n", "\n")
    for row in rows:
        assert row["whole"][row["start_offset"] : row["end_offset"]] == row["text"]
        assert row["whole"].encode()[row["start_byte"] : row["end_byte"]] == row["text"].encode()
        assert not row["text"].startswith(("\u0301", "\u200d"))


async def test_the_same_bytes_of_the_same_source_are_one_document(library: Library) -> None:
    first = await library.upload(b"Salt and pepper.", filename="a.txt", source_uri="file:a")
    await library.through()
    before, files = await library.counts(), await library.stored_files()
    again = await library.upload(b"Salt and pepper.", filename="a.txt", source_uri="file:a")
    assert (again.created, again.document_id, again.version_id) == (False, first.document_id, first.version_id)
    assert await library.counts() == before
    assert await library.stored_files() == files == 1


async def test_the_same_bytes_sent_again_for_a_document_are_no_new_version(idle_library: Library) -> None:
    """As a client does whose first answer was lost; the source is that of the file, not of the document's first one."""
    library = idle_library
    first = await library.upload(OLD.encode(), filename="a.txt", source_uri="file:a")
    said: dict[str, Any] = {"filename": "b.txt", "source_uri": "file:b", "document_id": first.document_id}
    second = await library.upload(NEW.encode(), **said)
    again = await library.upload(NEW.encode(), **said)
    assert (second.created, again.created) == (True, False)
    assert (again.document_id, again.version_id, again.job_id) == (first.document_id, second.version_id, second.job_id)
    assert await library.stored_files() == 2
    back = await library.upload(OLD.encode(), filename="a.txt", document_id=first.document_id)
    assert back.created
    assert (await library.document(first.document_id)).version == 3


async def test_versions_that_come_together_are_compared_with_the_newest_before_them(idle_library: Library) -> None:
    library, context = idle_library, idle_library.context
    first = await library.upload(OLD.encode(), filename="a.txt")
    originals = [
        await store_original(
            library.knowledge.files, context.workspace_id, NewDocument(document_id=first.document_id), text.encode()
        )
        for text in (OLD, NEW, NEW, OLD)
    ]
    async with library.lane.transaction(context) as tx:
        answers = await upload_batch(tx, originals)
    assert [answer.created for answer in answers] == [False, True, False, True]
    assert (answers[0].version_id, answers[2].version_id) == (first.version_id, answers[1].version_id)


async def test_the_same_bytes_of_another_source_are_another_document(library: Library) -> None:
    first = await library.bring_in("Salt and pepper.", source_uri="file:a")
    second = await library.bring_in("Salt and pepper.", source_uri="file:b")
    assert first.document_id != second.document_id


async def test_a_new_version_leaves_nothing_of_the_old_one_in_the_index(library: Library) -> None:
    old = await library.bring_in(OLD)
    new = await library.bring_in(NEW, document_id=old.document_id)
    assert old.chunks > 1
    assert (new.document_id, new.version, new.chunks) == (old.document_id, 2, 1)
    current = {
        row["chunk_id"]
        for row in await library.fetch("SELECT chunk_id FROM datalane.chunks WHERE version_id = $1", new.version_id)
    }
    for table, column in (
        ("search_postings", "entry_id"),
        ("search_entries", "entry_id"),
        ("chunk_vectors", "chunk_id"),
    ):
        rows = await library.fetch(f"SELECT DISTINCT {column} AS id FROM datalane.{table}")
        assert {row["id"] for row in rows} == current, table
    for method in Method:
        answer = await library.ask("barley granary", method)
        assert {result.version_id for result in answer.data} == {new.current_version_id}
    assert not (await library.ask("barley", Method.KEYWORD)).keyword_terms_found


async def test_a_member_may_replace_a_text_and_nothing_of_the_old_one_stays(idle_library: Library) -> None:
    library = idle_library
    context = library.acting(Role.MEMBER)
    first = await library.prepare(IndexChunks(text=OLD))
    async with library.lane.transaction(context) as tx:
        old = await index_chunks(tx, first)
    again = IndexChunks(text=NEW, document_id=old.document_id)
    second = await library.prepare(again)
    async with library.lane.transaction(context) as tx:
        new = await index_chunks(tx, second)
    assert (new.document_id, new.chunks) == (old.document_id, 1)
    assert await library.count("search_entries") == 1
    assert await library.count("chunk_vectors") == 1
    totals = await library.fetch("SELECT sum(entries) AS n FROM datalane.search_totals")
    assert totals[0]["n"] == 1


async def test_a_version_for_a_document_that_is_not_there_is_refused_and_leaves_no_file(library: Library) -> None:
    with pytest.raises(NotFound):
        await library.upload(b"text", filename="a.txt", document_id=uuid7())
    assert set((await library.counts()).values()) == {0}
    assert await library.stored_files() == 0


async def test_an_older_version_that_arrives_late_does_not_replace_the_newer_one(idle_library: Library) -> None:
    library, context = idle_library, idle_library.context
    usual = library.knowledge.providers.usual
    extracted = await library.knowledge.pool.extract_many(
        [Source(OLD.encode(), "a.txt"), Source(NEW.encode(), "a.txt")]
    )
    arrivals: list[Arrival] = []
    for text, one in zip((OLD, NEW), extracted, strict=True):
        assert isinstance(one, Extracted)
        said = NewDocument(filename="a.txt", document_id=arrivals[0].document_id if arrivals else None)
        original = await store_original(library.knowledge.files, context.workspace_id, said, text.encode())
        async with library.lane.transaction(context) as tx:
            document_id, ordinal = await add_ready(tx, original)
        arrivals.append(Arrival(original.version_id, document_id, ordinal, one, {usual: one.embeddings}))
    older, newer = arrivals
    for late in (newer, older):
        async with library.lane.transaction(library.acting()) as tx:
            assert await write(tx, [late], usual) == {late.version_id}
    document = await library.document(newer.document_id)
    assert (document.current_version_id, document.chunks) == (newer.version_id, 1)
    assert not (await library.ask("barley", Method.KEYWORD)).data
    assert await library.count("search_entries") == 1
    # The older text and its chunks are kept, for citations.
    assert await library.count("chunks") > 1


async def test_two_versions_that_arrive_together_make_the_newer_one_current(idle_library: Library) -> None:
    first = await idle_library.upload(OLD.encode(), filename="a.txt")
    second = await idle_library.upload(NEW.encode(), filename="a.txt", document_id=first.document_id)
    async with idle_library.working():
        await idle_library.through(2)
    document = await idle_library.document(first.document_id)
    assert document.current_version_id == second.version_id
    assert await idle_library.count("search_entries") == 1


async def test_readers_see_one_version_whole_while_it_is_replaced(idle_library: Library) -> None:
    library = idle_library
    sizes: dict[UUID, int] = {}
    document_id: UUID | None = None

    async def replace_with(text: str) -> None:
        nonlocal document_id
        request = IndexChunks(text=text, document_id=document_id)
        prepared = await library.prepare(request)
        sizes[prepared.original.version_id] = len(prepared.extracted.chunks)
        async with library.lane.transaction(library.context) as tx:
            document_id = (await index_chunks(tx, prepared)).document_id

    async def replace_often() -> None:
        for number in range(12):
            await replace_with(f"The granary stores barley, lot {number}.\n\n" * (60 + 60 * (number % 3)))

    await replace_with(OLD)
    writing, looks = asyncio.create_task(replace_often()), 0
    while not writing.done():
        for method in Method:
            seen = [result.version_id for result in (await library.ask("granary barley", method, limit=100)).data]
            assert len(set(seen)) == 1
            assert len(seen) == sizes[seen[0]]
            looks += 1
    await writing
    assert looks > 12


async def test_a_document_deleted_before_its_turn_is_passed_over(idle_library: Library) -> None:
    library, usual = idle_library, idle_library.knowledge.providers.usual
    extracted = (await library.knowledge.pool.extract_many([Source(NEW.encode(), "a.txt")]))[0]
    assert isinstance(extracted, Extracted)
    async with library.lane.transaction(library.context) as tx:
        gone = Arrival(uuid7(), uuid7(), 1, extracted, {usual: extracted.embeddings})
        assert await write(tx, [gone], usual) == set()
    assert set((await library.counts()).values()) == {0}


async def test_a_caller_may_draw_the_borders_of_chunks(idle_library: Library) -> None:
    library = idle_library
    text = "Äpfel und Birnen. Kräuter und Salz."
    request = IndexChunks(text=text, chunks=[Span(start_offset=0, end_offset=17), Span(start_offset=18, end_offset=35)])
    prepared = await library.prepare(request)
    async with library.lane.transaction(library.context) as tx:
        assert (await index_chunks(tx, prepared)).chunks == 2
    answer = await library.ask("Kräuter", Method.KEYWORD)
    found = answer.data[0]
    assert (found.text, found.chunk_start_offset, found.chunk_end_offset) == ("Kräuter und Salz.", 18, 35)
    assert text.encode()[found.chunk_start_byte : found.chunk_end_byte].decode() == found.text

"""Number, length and frequency stay what a recount says, through deletes and new versions."""

from __future__ import annotations

from tests.integration.knowledge.library import Library

from datalane.engine.search.index import Collection, add_entries, remove_entries
from datalane.engine.search.keyword import search_keyword
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.service import delete_document


async def recount(library: Library) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Entries and total length: as kept, as the entries say, as the postings say."""
    rows = await library.fetch(
        "SELECT (SELECT coalesce(sum(entries), 0)::bigint FROM datalane.search_totals),"
        " (SELECT coalesce(sum(length), 0)::bigint FROM datalane.search_totals),"
        " (SELECT count(*) FROM datalane.search_entries),"
        " (SELECT coalesce(sum(length), 0)::bigint FROM datalane.search_entries),"
        " (SELECT count(DISTINCT entry_id) FROM datalane.search_postings),"
        " (SELECT coalesce(sum(tf), 0)::bigint FROM datalane.search_postings)"
    )
    kept = rows[0]
    return (kept[0], kept[1]), (kept[2], kept[3]), (kept[4], kept[5])


async def test_totals_follow_deletes_and_new_versions(library: Library) -> None:
    first = await library.bring_in("Alder and ash. " * 200, filename="a.txt")
    second = await library.bring_in("Ash and beech. " * 300, filename="b.txt")
    kept, entries, postings = await recount(library)
    assert kept == entries == postings
    assert kept[0] == first.chunks + second.chunks
    await library.bring_in("Only ash.", filename="a.txt", document_id=first.document_id)
    kept, entries, postings = await recount(library)
    assert kept == entries == postings
    assert kept[0] == 1 + second.chunks
    async with library.lane.transaction(library.context) as tx:
        await delete_document(tx, second.document_id)
    kept, entries, postings = await recount(library)
    assert kept == entries == postings == (1, 1)


async def test_indexing_again_what_was_taken_out_gives_the_same_scores(idle_library: Library) -> None:
    library, texts = idle_library, ["ash and oak", "oak oak beech", "larch"]
    ids = [uuid7() for _ in texts]
    async with library.lane.transaction(library.context) as tx:
        await add_entries(tx, Collection.CHUNKS, ids, texts, "english")
        before = await search_keyword(tx, Collection.CHUNKS, "oak larch", "english", 10)
        await remove_entries(tx, Collection.CHUNKS, [*ids[1:], uuid7()])
        assert set(await search_keyword(tx, Collection.CHUNKS, "oak larch", "english", 10)) == {ids[0]}
        await add_entries(tx, Collection.CHUNKS, ids[1:], texts[1:], "english")
        assert await search_keyword(tx, Collection.CHUNKS, "oak larch", "english", 10) == before


async def test_a_text_of_stop_words_is_no_entry(idle_library: Library) -> None:
    library = idle_library
    async with library.lane.transaction(library.context) as tx:
        await add_entries(tx, Collection.CHUNKS, [uuid7()], ["the and of"], "english")
    kept, entries, postings = await recount(library)
    assert kept == entries == postings == (0, 0)


async def test_equal_scores_come_in_the_order_of_their_ids(idle_library: Library) -> None:
    library, ids = idle_library, sorted((uuid7() for _ in range(20)), key=lambda one: one.int)
    async with library.lane.transaction(library.context) as tx:
        await add_entries(tx, Collection.CHUNKS, ids[::-1], ["the same oak"] * 20, "english")
        found = await search_keyword(tx, Collection.CHUNKS, "oak", "english", 20)
    assert list(found) == ids

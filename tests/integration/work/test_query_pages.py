"""Lists of items: pages while others write, cursors, counts, words, fields that were renamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.work.board import DAY, Board, Row, at, define, insert, lay, people

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection, add_entries
from datalane.errors import Forbidden, InvalidInput, LimitExceeded
from datalane.kit.ids import uuid7
from datalane.settings import Limits
from datalane.work.fields.definitions import Fields
from datalane.work.query import service
from datalane.work.query.schemas import ItemPage, read_query
from datalane.work.query.service import list_items

pytestmark = pytest.mark.one_database


@pytest.fixture
async def other(database: Database, users: tuple[list[UUID], list[UUID]]) -> Board:
    return await lay(database, users[0][1], users[1])


async def ask(board: Board, cursor: str | None = None, **said: Any) -> ItemPage:
    async with board.database.transaction(board.context) as tx:
        return await list_items(tx, read_query({**said, "cursor": cursor} if cursor else said))


async def refused(board: Board, cursor: str | None = None, **said: Any) -> list[dict[str, Any]]:
    with pytest.raises(InvalidInput) as raised:
        await ask(board, cursor, **said)
    return raised.value.errors


def titles(page: ItemPage) -> list[str]:
    return [item.title for item in page.data]


# Pages ---------------------------------------------------------------------------------------------------------


async def test_items_of_another_workspace_are_not_shown_or_counted(board: Board, other: Board) -> None:
    await other.add(*(Row(title="heron theirs", tags=("red",), metadata={"team": "ant"}) for _ in range(5)))
    await board.add(Row(title="heron ours", tags=("red",), metadata={"team": "ant"}))
    for filters in ({}, {"tags": {"any": ["red"]}}, {"metadata": {"team": "ant"}}, {"text": "heron"}):
        page = await ask(board, filters=filters)
        assert (titles(page), page.total_count) == (["heron ours"], 1)


async def test_the_newest_change_comes_first_unless_asked_otherwise(board: Board) -> None:
    await board.add(*(Row(title=f"item {minute}", updated_at=at(minute)) for minute in (2, 0, 1)))
    assert titles(await ask(board)) == ["item 2", "item 1", "item 0"]
    assert titles(await ask(board, sort="updated_at")) == ["item 0", "item 1", "item 2"]


async def test_an_empty_workspace_has_an_empty_page(board: Board) -> None:
    page = await ask(board, filters={"status": ["draft", "active"]})
    assert (page.data, page.total_count, page.next_cursor) == ([], 0, None)
    assert page.applied_filters == {"status": {"in": ["active", "draft"]}, "deleted": False}


async def test_a_page_that_was_emptied_meanwhile_still_counts(board: Board) -> None:
    rows = [Row(updated_at=at(minute)) for minute in range(3)]
    await board.add(*rows)
    first = await ask(board, page_size=1)
    for row in rows[:2]:
        await board.touch(row, deleted=True)
    page = await ask(board, first.next_cursor, page_size=1)
    assert (page.data, page.total_count, page.next_cursor) == ([], 1, None)


SORTS = ["updated_at", "-updated_at", "created_at", "-created_at", "priority", "-priority"]
writes = st.lists(
    st.tuples(st.sampled_from(["add", "touch", "delete"]), st.integers(0, 11), st.integers(0, 9)), max_size=4
)


def test_what_nobody_touches_is_neither_skipped_nor_seen_twice(urls: Prepared, cluster: EmbeddedPostgres) -> None:
    workspaces = [uuid7() for _ in range(200)]
    present = people(cluster.url(urlsplit(urls.database_url).path.removeprefix("/")), workspaces, 1)
    left = iter(workspaces)
    with asyncio.Runner() as runner:
        database = runner.run(Database.connect(urls.database_url, size=2))

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(SORTS), st.integers(1, 5), st.lists(writes, max_size=12))
        def nothing_is_missed(sort: str, size: int, between: list[list[tuple[str, int, int]]]) -> None:
            runner.run(
                assert_nothing_is_missed(Board(database, next(left), present, [], Fields()), sort, size, between)
            )

        nothing_is_missed()
        runner.run(database.close())


async def assert_nothing_is_missed(
    board: Board, sort: str, size: int, between: list[list[tuple[str, int, int]]]
) -> None:
    rows = [Row(priority=n % 5, created_at=at(n % 4), updated_at=at(n % 3)) for n in range(12)]
    await board.add(*rows)
    touched, seen, cursor, turns = set[UUID](), list[UUID](), None, iter(between)
    while True:
        page = await ask(board, cursor, sort=sort, page_size=size)
        seen += [item.item_id for item in page.data]
        cursor = page.next_cursor
        assert len(seen) <= 12 + 4 * 12, "every item at most once, and again when it was touched"
        if cursor is None:
            break
        for kind, which, minute in next(turns, []):
            if kind == "add":
                await board.add(fresh := Row(priority=minute % 5, created_at=at(minute), updated_at=at(minute)))
                touched.add(fresh.item_id)
            else:
                touched.add(rows[which].item_id)
                changed = {"deleted": True} if kind == "delete" else {"priority": minute % 5, "updated_at": at(minute)}
                rows[which] = await board.touch(rows[which], **changed)
    column = sort.removeprefix("-")
    kept = sorted(
        (row for row in rows if row.item_id not in touched),
        key=lambda row: (getattr(row, column), row.item_id.int),
        reverse=sort.startswith("-"),
    )
    assert [item_id for item_id in seen if item_id not in touched] == [row.item_id for row in kept]


# Cursors -------------------------------------------------------------------------------------------------------


async def test_a_cursor_is_good_for_its_query_and_any_page_size(board: Board) -> None:
    await board.add(*(Row(title=f"item {n}", updated_at=at(n)) for n in range(5)))
    first = await ask(board, filters={"status": "active"}, page_size=2)
    rest = await ask(board, first.next_cursor, filters={"status": {"eq": "active"}}, page_size=100)
    assert titles(first) + titles(rest) == ["item 4", "item 3", "item 2", "item 1", "item 0"]


@pytest.mark.parametrize(
    "said",
    [{}, {"filters": {"status": "draft"}}, {"filters": {"status": "active"}, "sort": "updated_at"}],
    ids=["without the filter", "another filter", "another order"],
)
async def test_a_cursor_of_another_query_is_refused(board: Board, said: dict[str, Any]) -> None:
    await board.add(Row(), Row())
    cursor = (await ask(board, filters={"status": "active"}, page_size=1)).next_cursor
    assert cursor is not None
    assert [error["code"] for error in await refused(board, cursor, **said)] == ["invalid_cursor"]


async def test_a_cursor_of_another_workspace_is_refused(board: Board, other: Board) -> None:
    await other.add(Row(), Row())
    cursor = (await ask(other, page_size=1)).next_cursor
    assert cursor is not None
    assert [error["code"] for error in await refused(board, cursor)] == ["invalid_cursor"]


@pytest.mark.parametrize("cursor", ["", "x", "A" * 5_000, "Ag" + "A" * 80, "\u202e", "é"])
async def test_a_forged_cursor_is_refused(board: Board, cursor: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        async with board.database.transaction(board.context) as tx:
            await list_items(tx, read_query({"cursor": cursor}))
    assert [error["code"] for error in raised.value.errors] == ["invalid_cursor"]


async def test_pages_of_items_that_changed_within_a_microsecond_of_another_are_whole(board: Board) -> None:
    rows = [Row(title=str(n), updated_at=DAY.replace(microsecond=n)) for n in (0, 1, 999_998, 999_999)]
    await board.add(*rows)
    seen, cursor = list[str](), None
    for _ in rows:
        page = await ask(board, cursor, page_size=1)
        cursor = page.next_cursor
        seen += titles(page)
    assert (seen, cursor) == (["999999", "999998", "1", "0"], None)


# Counts --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def small_counts(urls: Prepared) -> AsyncIterator[Database]:
    connected = await Database.connect(urls.database_url, limits=Limits(exact_count=5, page_size=3))
    yield connected
    await connected.close()


async def test_past_its_bound_a_count_is_an_estimate_that_says_so(board: Board, small_counts: Database) -> None:
    few = replace(board, database=small_counts)
    await board.add(*(Row(status="draft") for _ in range(5)), *(Row() for _ in range(40)))
    exact = await ask(few, filters={"status": "draft"})
    assert (exact.total_count, exact.total_count_estimated) == (5, False)
    estimate = await ask(few)
    assert estimate.total_count_estimated
    assert estimate.total_count >= 6
    further = await ask(few, estimate.next_cursor)
    assert further.total_count_estimated


async def test_a_page_is_at_most_as_large_as_the_lane_allows(board: Board, small_counts: Database) -> None:
    few = replace(board, database=small_counts)
    await board.add(*(Row() for _ in range(5)))
    assert (await ask(few)).page_size == 3, "the default is no more than the limit"
    assert await refused(few, page_size=4) == [
        {"field": "page_size", "message": "is at most 3 (limits.page_size)", "code": "less_than_equal"}
    ]
    assert (await refused(board, page_size=101))[0]["message"] == "is at most 100 (limits.page_size)"


# Text ----------------------------------------------------------------------------------------------------------


async def test_every_word_must_occur_in_title_or_description(board: Board) -> None:
    await board.add(
        Row(title="Herons of the lake", description="stand in reeds"), Row(title="heron"), Row(title="lake")
    )
    assert titles(await ask(board, filters={"text": "reed, HERON!"})) == ["Herons of the lake"]
    assert titles(await ask(board, filters={"text": "heron submarine"})) == []


async def test_a_text_without_words_is_refused(board: Board) -> None:
    for text in ("", "  ", "the of", "?!", "\u202e"):
        assert [error["code"] for error in await refused(board, filters={"text": text})] == ["no_words"], ascii(text)


async def test_a_text_with_too_many_words_is_refused(board: Board) -> None:
    fitting = " ".join(f"w{n}" for n in range(32))
    assert titles(await ask(board, filters={"text": fitting})) == []
    assert [error["code"] for error in await refused(board, filters={"text": f"{fitting} submarine"})] == [
        "too_many_words"
    ]
    with pytest.raises(LimitExceeded, match=r"limits\.query_characters"):
        await ask(board, filters={"text": "x" * 1_000_000})


async def test_a_word_that_more_items_have_than_are_looked_at_gives_the_newest_and_says_so(board: Board) -> None:
    old = [UUID(int=0x01000000000070008000000000000000 + n) for n in range(10_020)]
    async with board.database.transaction(board.admin) as tx:
        await tx.execute(
            "INSERT INTO datalane.items (workspace_id, item_id, title, status, created_at, updated_at, "
            "created_by_actor_id, updated_by_actor_id) SELECT $1, id, 'old', 'active', $3, $3, $4, $4 "
            "FROM unnest($2::uuid[]) AS id",
            tx.workspace_id,
            old,
            DAY,
            board.users[0],
        )
        await tx.execute(
            "INSERT INTO datalane.search_postings (workspace_id, collection, term_id, entry_id, tf, length) "
            "SELECT $1, 2, hashtextextended('heron', 0), id, 1, 1 FROM unnest($2::uuid[]) AS id",
            tx.workspace_id,
            old,
        )
        await insert(tx, [Row(title="heron of the reeds", updated_at=at(-5))], board.fields, board.users[0])
    common = await ask(board, filters={"text": "heron"}, sort="updated_at")
    assert (common.text_bounded, common.total_count, titles(common)[0]) == (True, 10_000, "heron of the reeds")
    rare = await ask(board, filters={"text": "heron reed"})
    assert (rare.text_bounded, rare.total_count, titles(rare)) == (False, 1, ["heron of the reeds"])


async def test_a_word_of_which_a_language_makes_several_is_looked_for_by_all_of_them(
    board: Board, cluster: EmbeddedPostgres, urls: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    superuser = await asyncpg.connect(cluster.url(urlsplit(urls.database_url).path.lstrip("/")))
    await superuser.execute(
        "CREATE TEXT SEARCH DICTIONARY datalane.compounds (Template = ispell, DictFile = ispell_sample, "
        "AffFile = ispell_sample); CREATE TEXT SEARCH CONFIGURATION datalane.compounds (COPY = simple); "
        "ALTER TEXT SEARCH CONFIGURATION datalane.compounds ALTER MAPPING FOR asciiword WITH datalane.compounds, simple"
    )
    await superuser.close()

    rows = [
        Row(title="foot and ball and klubber and football and footballklubber", tags=("red",)),
        Row(title="a football", tags=("red",)),
        Row(title="a footballklubber", tags=("blue",)),
    ]
    async with board.database.transaction(board.admin) as tx:
        await insert(tx, rows, board.fields, board.users[0], texts=False)
        titles_of = {row.item_id: row.title for row in rows}
        await add_entries(tx, Collection.ITEMS, list(titles_of), list(titles_of.values()), "datalane.compounds")

    async def compounds(tx: Transaction) -> str:
        return "datalane.compounds"

    monkeypatch.setattr(service, "search_language", compounds)
    found = await ask(board, filters={"text": "footballklubber", "tags": {"any": ["red"]}})
    assert titles(found) == ["foot and ball and klubber and football and footballklubber"]


# Tags and fields -----------------------------------------------------------------------------------------------


async def test_more_conditions_than_the_planner_joins_hold_as_well(board: Board) -> None:
    tags = tuple(f"tag {n}" for n in range(12))
    metadata = {"team": "ant", "cost": 1, "done": True, "due": "2026-03-01"}
    await board.add(
        Row(title="whole", tags=tags, metadata=metadata), Row(title="part", tags=tags[:-1], metadata=metadata)
    )
    filters = {"tags": {"all": list(tags), "any": ["x", tags[3]]}, "metadata": metadata}
    assert titles(await ask(board, filters=filters)) == ["whole"]
    assert titles(await ask(board, filters={**filters, "metadata": {**metadata, "cost": 2}})) == []


async def test_tags_that_cannot_be_are_refused(board: Board) -> None:
    for tag in ("", " ", "x" * 65, "a\u202eb", "a\tb"):
        assert [error["code"] for error in await refused(board, filters={"tags": {"all": [tag]}})] == ["invalid_text"]


@pytest.mark.parametrize(
    ("metadata", "code", "says"),
    [
        ({"colour": "red"}, "unknown_field", "cost, done, due, team"),
        ({"crew": "red"}, "renamed_field", "was renamed to squad"),
        ({"note": "red"}, "not_indexed", "cost, done, due, team"),
        ({"slow": 3}, "index_building", "try again"),
        ({"cost": "3"}, "wrong_type", "must be a number"),
        ({"cost": True}, "wrong_type", "must be a number"),
        ({"cost": [1, "2"]}, "wrong_type", "must be a number"),
        ({"team": 3}, "wrong_type", "must be a text"),
        ({"team": "x" * 501}, "wrong_type", "501 characters"),
        ({"done": "true"}, "wrong_type", "true or false"),
        ({"done": {"gte": True}}, "unknown_comparison", "compare with eq"),
        ({"due": "tomorrow"}, "wrong_type", "ISO 8601"),
        ({"due": {"gte": "2026-03-01T09:00:00"}}, "wrong_type", "offset"),
    ],
)
async def test_metadata_that_cannot_be_filtered_so_is_refused(
    board: Board, metadata: dict[str, Any], code: str, says: str
) -> None:
    async with board.database.transaction(board.admin) as tx:
        await define(tx, "squad", "text", "none", "crew")
    errors = await refused(board, filters={"metadata": metadata})
    assert [error["code"] for error in errors] == [code]
    assert says in errors[0]["message"]
    assert errors[0]["field"].startswith(f"filters.metadata.{next(iter(metadata))}")


async def test_every_field_that_is_wrong_is_named(board: Board) -> None:
    errors = await refused(board, filters={"metadata": {"cost": "3", "note": 1, "team": "ant"}})
    assert [error["field"] for error in errors] == ["filters.metadata.cost.eq", "filters.metadata.note"]


async def test_metadata_is_shown_under_the_keys_of_now(board: Board) -> None:
    await board.add(Row(metadata={"crew": "red", "free": [1, {"deep": None}]}))
    assert (await ask(board)).data[0].metadata == {"crew": "red", "free": [1, {"deep": None}]}
    async with board.database.transaction(board.admin) as tx:
        await define(tx, "squad", "text", "ready", "crew", "gang")
    assert (await ask(board)).data[0].metadata == {"squad": "red", "free": [1, {"deep": None}]}
    assert (await ask(board, filters={"text": "heron"})).data[0].metadata["squad"] == "red"


# The door ------------------------------------------------------------------------------------------------------


async def test_a_key_whose_scopes_leave_items_out_is_refused(board: Board) -> None:
    scoped = Context(board.workspace_id, board.users[0], Role.OWNER, scopes=frozenset({"document.read"}))
    with pytest.raises(Forbidden):
        async with board.database.transaction(scoped) as tx:
            await list_items(tx, read_query({}))

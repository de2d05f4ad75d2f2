"""How the statements of a list are planned, and how many there are, in whatever transaction it is asked."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest
from tests.integration.work.board import Board, Row, at

from datalane.contracts.plans import Plans
from datalane.work.query import walking
from datalane.work.query.compose import compose, plans_of
from datalane.work.query.schemas import read_query
from datalane.work.query.service import list_items

pytestmark = pytest.mark.one_database


async def test_a_list_in_a_transaction_of_its_own_kind_sends_one_statement(board: Board) -> None:
    sent: list[str] = []

    def saw(record: asyncpg.pool.LoggedQuery) -> None:
        sent.append(record.query)

    async with board.database.transaction(board.context, plans=Plans.OWN) as tx:
        tx.connection.add_query_logger(saw)
        await list_items(tx, read_query({"filters": {"priority": 1}}))
        tx.connection.remove_query_logger(saw)
    assert len(sent) == 1
    async with board.database.transaction(board.context) as tx:
        tx.connection.add_query_logger(saw)
        await list_items(tx, read_query({"filters": {"priority": 1}}))
        await list_items(tx, read_query({"filters": {"priority": 1}}))
        tx.connection.remove_query_logger(saw)
    assert len(sent) == 4, "once, it says how to plan"


async def test_a_single_tag_takes_one_statement_of_a_shared_plan_unless_its_items_are_far_from_the_beginning(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "FEW", 2)
    await board.add(*[Row(tags=("red",) if n < 3 else (), updated_at=at(n)) for n in range(9)])
    query = read_query({"filters": {"tags": {"any": ["red"]}}, "page_size": 2})
    for steps, way in [(9, "force_generic_plan"), (8, "force_custom_plan")]:
        monkeypatch.setattr(walking, "MOST_LOOKUPS", steps)
        async with board.database.transaction(board.context, plans=Plans.ONE) as tx:
            tx.limits = tx.limits.model_copy(update={"exact_count": 1})
            page = await list_items(tx, query)
            assert await tx.fetchval("SHOW plan_cache_mode") == way
        assert (len(page.data), page.total_count_estimated) == (2, True)


async def test_only_what_an_index_has_in_the_order_of_the_list_shares_a_plan(board: Board) -> None:
    someone = str(board.users[0])
    for filters, sort, shared in [
        ({}, "-updated_at", True),
        ({}, "priority", True),
        ({"deleted": True}, "updated_at", True),
        ({"deleted": True}, "-created_at", False),
        ({"status": "active"}, "updated_at", True),
        ({"status": "active"}, "-priority", False),
        ({"status": ["active", "draft"]}, "updated_at", False),
        ({"assignee_id": None}, "-updated_at", True),
        ({"assignee_id": someone, "status": "active"}, "-updated_at", False),
        ({"updated_at": {"gte": "2026-03-01"}}, "-updated_at", True),
        ({"created_at": {"gte": "2026-03-01"}}, "-updated_at", False),
        ({"priority": 1}, "-updated_at", False),
        ({"priority": 1}, "priority", True),
        ({"priority": [0, 4]}, "priority", False),
        ({"tags": {"any": ["red"]}}, "-updated_at", True),
        ({"tags": {"all": ["red"]}}, "priority", True),
        ({"tags": {"all": ["red", "blue"]}}, "-updated_at", False),
        ({"tags": {"any": ["red"], "all": ["blue"]}}, "-updated_at", False),
        ({"tags": {"any": ["red"]}, "status": "active"}, "-updated_at", False),
        ({"tags": {"any": ["red"]}, "updated_at": {"gte": "2026-03-01"}}, "-updated_at", False),
        ({"metadata": {"a": 1}}, "-updated_at", True),
        ({"metadata": {"a": 1, "b": 2}}, "-updated_at", False),
        ({"text": "heron"}, "-updated_at", True),
        ({"text": "heron", "status": ["active", "draft"]}, "priority", True),
        ({"text": "heron", "tags": {"any": ["red"]}}, "-updated_at", False),
        ({"text": "grey heron", "tags": {"any": ["red"]}}, "-updated_at", True),
    ]:
        found = plans_of(read_query({"filters": filters, "sort": sort}))
        assert found is (Plans.ONE if shared else Plans.OWN), (filters, sort)


async def test_a_text_is_looked_up_by_the_keys_of_items_also_among_deleted_ones(board: Board) -> None:
    """By the index of deleted items each candidate would pass over all of them."""
    asked = read_query({"filters": {"text": "heron", "deleted": True, "status": "active"}})
    async with board.database.transaction(board.context, plans=plans_of(asked)) as tx:
        await list_items(tx, asked)
        assert await tx.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
        composed = compose(asked, board.fields, "english", tx.workspace_id, tx.limits)
        plan = "".join(row[0] for row in await tx.fetch(f"EXPLAIN {composed.sql}", *composed.args))
    assert re.findall(r"items_\w+ on items", plan) == ["items_pkey on items"] * 2


@pytest.mark.parametrize(
    ("filters", "way"),
    [
        ({"text": "heron"}, "force_generic_plan"),
        ({"text": "heron", "tags": {"any": ["red"]}}, "force_custom_plan"),
        ({"tags": {"any": ["red"]}}, "force_generic_plan"),
        ({"priority": 1}, "force_custom_plan"),
    ],
)
async def test_a_list_is_planned_as_it_should_be_however_its_transaction_began(
    board: Board, filters: dict[str, Any], way: str
) -> None:
    for began in Plans:
        async with board.database.transaction(board.context, plans=began) as tx:
            await list_items(tx, read_query({"filters": filters}))
            assert await tx.fetchval("SHOW plan_cache_mode") == way


async def test_the_next_transaction_is_planned_as_ever(board: Board) -> None:
    async with board.database.transaction(board.context) as tx:
        await list_items(tx, read_query({"filters": {"priority": 1}}))
    async with board.database.transaction(board.context) as tx:
        assert await tx.fetchval("SHOW plan_cache_mode") == "auto", "the next transaction begins as ever"

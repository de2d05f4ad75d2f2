"""Lists of items over HTTP, asked both ways."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import Person, bob
from tests.integration.work.board import Board, Row, at, lay

from datalane.db.database import Database
from datalane.work.query.schemas import ItemPage, ItemQuery
from datalane.work.query.service import list_items

pytestmark = pytest.mark.one_database

__all__ = ["bob"]


@pytest.fixture
async def board(database: Database, ada: Person) -> Board:
    laid = await lay(database, ada.workspace_id, [ada.user_id])
    await laid.add(
        Row(title="heron", tags=("red", "tall"), priority=3, updated_at=at(2), metadata={"cost": 3, "done": True}),
        Row(title="reed", tags=("red",), status="draft", updated_at=at(1), metadata={"cost": 10, "done": False}),
        Row(title="lake", assignee_id=ada.user_id, project_id=laid.projects[0], updated_at=at(0)),
        Row(title="gone", deleted=True),
    )
    return laid


async def listed(client: httpx.AsyncClient, person: Person, query: str = "") -> httpx.Response:
    return await client.get(f"/items/list?{query}", headers=person.headers)


async def queried(client: httpx.AsyncClient, person: Person, body: Any) -> httpx.Response:
    return await client.post("/items/query", json=body, headers=person.headers)


def titles(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["title"] for item in answer.json()["data"]]


def faults(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(error["field"], error["code"]) for error in answer.json()["errors"]]


BOTH_WAYS: list[tuple[str, Any, list[str]]] = [
    ("", {}, ["heron", "reed", "lake"]),
    ("sort=priority&status=active", {"sort": "priority", "filters": {"status": "active"}}, ["lake", "heron"]),
    ("status=draft&status=archived", {"filters": {"status": ["draft", "archived"]}}, ["reed"]),
    ("priority.gte=1&priority.lt=4", {"filters": {"priority": {"gte": 1, "lt": 4}}}, ["heron"]),
    ("tags.any=red&tags.any=blue", {"filters": {"tags": {"any": ["red", "blue"]}}}, ["heron", "reed"]),
    ("tags.all=red&tags.all=tall", {"filters": {"tags": {"all": ["red", "tall"]}}}, ["heron"]),
    ("metadata.cost.gte=4", {"filters": {"metadata": {"cost": {"gte": 4}}}}, ["reed"]),
    ("metadata.cost=3&metadata.cost=4.5", {"filters": {"metadata": {"cost": [3, 4.5]}}}, ["heron"]),
    ("metadata.done=false", {"filters": {"metadata": {"done": False}}}, ["reed"]),
    ("assignee_id=null", {"filters": {"assignee_id": None}}, ["heron", "reed"]),
    ("text=Herons", {"filters": {"text": "Herons"}}, ["heron"]),
    ("deleted=true", {"filters": {"deleted": True}}, ["gone"]),
    (
        "updated_at.gt=2026-03-01T00:00:30Z",
        {"filters": {"updated_at": {"gt": "2026-03-01T02:00:30+02:00"}}},
        ["heron", "reed"],
    ),
]


async def test_a_query_string_and_a_body_ask_the_same(client: httpx.AsyncClient, ada: Person, board: Board) -> None:
    for query, body, found in BOTH_WAYS:
        by_string, by_body = await listed(client, ada, query), await queried(client, ada, body)
        assert titles(by_string) == titles(by_body) == found, query
        assert by_string.json() == by_body.json()
        assert set(by_body.json()) == set(ItemPage.model_fields)


async def test_the_answer_is_what_the_model_would_write(client: httpx.AsyncClient, ada: Person, board: Board) -> None:
    values = {"whole": 2**53 + 1, "part": 0.1, "small": -1e-7, "null": None, "deep": [{"é": "\u2028 \U0001f40b"}, []]}
    await board.add(
        Row(
            title='"quoted" \\ \x7f\u202e',
            tags=("a", "é"),
            metadata=values,
            updated_at=at(3),
            project_id=board.projects[0],
        )
    )
    async with board.database.transaction(board.context) as tx:
        modelled = await list_items(tx, ItemQuery())
    answer = await listed(client, ada)
    assert ItemPage.model_validate(answer.json()) == modelled
    assert answer.json() == modelled.model_dump(mode="json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["data"][0]["metadata"] == values


async def test_a_cursor_goes_on_in_either_form(client: httpx.AsyncClient, ada: Person, board: Board) -> None:
    first = await listed(client, ada, "page_size=2&tags.any=red&tags.any=tall&metadata.cost.gte=1")
    assert first.json()["next_cursor"] is None
    first = await listed(client, ada, "page_size=1&metadata.cost.gte=1")
    asked = {"filters": {"metadata": {"cost": {"gte": 1}}}, "cursor": first.json()["next_cursor"]}
    assert (titles(first), titles(await queried(client, ada, asked))) == (["heron"], ["reed"])


WRONG_STRINGS: list[tuple[str, tuple[str, str]]] = [
    ("colour=red", ("query.colour", "unknown_filter")),
    ("sort=title", ("query.sort", "literal_error")),
    ("page_size=0", ("query.page_size", "greater_than_equal")),
    ("page_size=101", ("query.page_size", "less_than_equal")),
    ("page_size=-1", ("query.page_size", "greater_than_equal")),
    ("page_size=x", ("query.page_size", "int_type")),
    ("page_size=1&page_size=2", ("query.page_size", "repeated_parameter")),
    ("cursor=forged", ("query.cursor", "invalid_cursor")),
    ("status=lost", ("query.status", "literal_error")),
    ("priority=high", ("query.priority", "int_type")),
    ("created_at.gte=yesterday", ("query.created_at.gte", "invalid_moment")),
    ("metadata.cost=three", ("query.metadata.cost.eq", "wrong_type")),
    ("metadata.cost=nan", ("query.metadata.cost.eq", "wrong_type")),
    ("metadata.note=x", ("query.metadata.note", "not_indexed")),
    ("text=%00", ("query.text", "invalid_text")),
    ("tags.any=%00", ("query.tags.any.0", "invalid_text")),
    ("tags.any=%E2%80%AE", ("query.tags.any", "invalid_text")),
    ("&".join(f"tags.any=t{n}" for n in range(4_000)), ("query.tags.any", "too_long")),
    ("deleted=perhaps", ("query.deleted", "bool_type")),
]


async def test_what_cannot_be_asked_is_named(client: httpx.AsyncClient, ada: Person, board: Board) -> None:
    for query, fault in WRONG_STRINGS:
        assert faults(await listed(client, ada, query)) == [fault], query[:80]


WRONG_BODIES: list[tuple[Any, tuple[str, str]]] = [
    ({"filters": {"colour": "red"}}, ("body.filters.colour", "unknown_filter")),
    ({"where": {}}, ("body.where", "unknown_member")),
    ({"filters": {"priority": {"above": 2}}}, ("body.filters.priority.above", "unknown_comparison")),
    ({"filters": {"priority": "2"}}, ("body.filters.priority", "int_type")),
    ({"sort": "title"}, ("body.sort", "literal_error")),
    ({"page_size": 0}, ("body.page_size", "greater_than_equal")),
    ({"page_size": 101}, ("body.page_size", "less_than_equal")),
    ({"page_size": "x"}, ("body.page_size", "int_type")),
    ({"cursor": "forged"}, ("body.cursor", "invalid_cursor")),
    ({"filters": {"metadata": {"cost": "3"}}}, ("body.filters.metadata.cost.eq", "wrong_type")),
    ({"filters": {"tags": {"all": ["x"] * 10_000}}}, ("body.filters.tags.all", "too_long")),
    ({"filters": {"text": "a\x00b"}}, ("body.filters.text", "invalid_text")),
    ({"filters": {"metadata": {"team": "\x00"}}}, ("body.filters.metadata.team", "invalid_text")),
    ({"filters": {"text": "the"}}, ("body.filters.text", "no_words")),
    ({"filters": {"status": None}}, ("body.filters", "null_filter")),
    ([], ("body", "model_attributes_type")),
]


async def test_a_body_that_cannot_be_asked_is_named(client: httpx.AsyncClient, ada: Person, board: Board) -> None:
    for body, fault in WRONG_BODIES:
        assert faults(await queried(client, ada, body)) == [fault], str(body)[:80]


async def test_an_unknown_filter_is_told_with_those_that_exist(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await queried(client, ada, {"filters": {"colour": "red"}})
    assert answer.json()["errors"][0]["message"] == (
        "there is no filter colour; there are status, project_id, assignee_id, created_by, priority, created_at, "
        "updated_at, tags, metadata, text, deleted"
    )


async def test_a_text_past_the_limit_names_it(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await queried(client, ada, {"filters": {"text": "x" * 900_000}})
    assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")
    assert "limits.query_characters" in answer.json()["detail"]
    assert len(answer.text) < 1_000


async def test_a_body_of_a_megabyte_of_text_is_refused_before_it_is_read(
    client: httpx.AsyncClient, ada: Person
) -> None:
    answer = await queried(client, ada, {"filters": {"text": "x" * 1_100_000}})
    assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")


async def test_another_workspace_s_items_and_cursors_are_not_there(
    client: httpx.AsyncClient, ada: Person, bob: Person, board: Board
) -> None:
    assert titles(await listed(client, bob)) == []
    cursor = (await listed(client, ada, "page_size=1")).json()["next_cursor"]
    assert faults(await listed(client, bob, f"cursor={cursor}")) == [("query.cursor", "invalid_cursor")]
    elsewhere = await client.get("/items/list", headers=bob.within(ada.workspace_id))
    assert elsewhere.status_code in {403, 404}


async def test_nobody_lists_without_a_credential(client: httpx.AsyncClient) -> None:
    assert (await client.get("/items/list")).status_code == 401
    assert (await client.post("/items/query", json={})).status_code == 401


async def test_the_parameters_are_described(app: FastAPI) -> None:
    described = app.openapi()["paths"]["/items/list"]["get"]
    names = {parameter["name"] for parameter in described["parameters"] if parameter["in"] == "query"}
    assert names >= {
        "status",
        "priority.gte",
        "created_at.lt",
        "tags.any",
        "text",
        "deleted",
        "sort",
        "page_size",
        "cursor",
    }
    assert described["x-permission"] == "item.read"

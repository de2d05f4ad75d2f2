"""Saved views over HTTP: versions as ETags, faults by their place, roles."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, join
from tests.integration.work.test_work_routes import post

from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

__all__ = ["join"]

BUSY = {"name": "Busy", "query": {"filters": {"status": "active"}, "sort": "-priority"}}


async def make(client: httpx.AsyncClient, who: Person, kind: str = "", **said: Any) -> dict[str, Any]:
    answer = await post(client, who, f"/items/views{kind}/create", {**BUSY, **said})
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"'), answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.parametrize("kind", ["", "/shared"])
async def test_a_view_is_saved_read_changed_and_deleted(client: httpx.AsyncClient, ada: Person, kind: str) -> None:
    view = await make(client, ada, kind)
    path = f"/items/views/{view['view_id']}"
    read = await client.get(path, headers=ada.headers)
    assert (read.json(), read.headers["etag"]) == (view, '"1"')
    assert (view["shared"], view["query"]) == (
        kind == "/shared",
        {"filters": {"status": {"eq": "active"}}, "sort": "-priority"},
    )
    change = {"view_id": view["view_id"], "changes": {"name": "Quiet"}}
    changed = await post(client, ada, f"/items/views{kind}/update", change, **{"If-Match": '"1"'})
    assert (changed.json()["name"], changed.headers["etag"]) == ("Quiet", '"2"')
    late = await post(client, ada, f"/items/views{kind}/update", {**change, "version": 1})
    failed = await post(client, ada, f"/items/views{kind}/delete", {"view_id": view["view_id"]}, **{"If-Match": '"1"'})
    for answer, status in ((late, 409), (failed, 412)):
        assert (answer.status_code, answer.json()["current"]) == (status, changed.json())
    listed = await client.get("/items/views/list", headers=ada.headers)
    assert listed.json() == {"data": [changed.json()], "page_size": 25, "next_cursor": None}
    deleted = await post(client, ada, f"/items/views{kind}/delete", {"view_id": view["view_id"]})
    assert deleted.json() == changed.json()
    assert (await client.get(path, headers=ada.headers)).status_code == 404


async def test_a_view_lists_what_it_asks_for_page_by_page(client: httpx.AsyncClient, ada: Person) -> None:
    for number in range(5):
        said = {"title": f"Item {number}", "priority": number, "status": "active" if number else "draft"}
        assert (await post(client, ada, "/items/create", said)).status_code == 201
    path = f"/items/views/{(await make(client, ada))['view_id']}/items"
    first = (await client.get(path, params={"page_size": 3}, headers=ada.headers)).json()
    rest = (await client.get(path, params={"cursor": first["next_cursor"]}, headers=ada.headers)).json()
    assert [item["title"] for item in (*first["data"], *rest["data"])] == [f"Item {number}" for number in (4, 3, 2, 1)]
    assert (first["total_count"], rest["next_cursor"]) == (4, None)
    asked = await client.get(f"/items/views/{uuid7()}/items", headers=ada.headers)
    assert (asked.status_code, asked.json()["code"]) == (404, "not_found")


async def test_a_broken_view_says_what_is_wrong_and_is_mended(client: httpx.AsyncClient, ada: Person) -> None:
    field = {"key": "cost", "type": "number", "indexed": True}
    assert (await post(client, ada, "/items/fields/define", field)).status_code == 201
    view = await make(client, ada, query={"filters": {"metadata": {"cost": {"gte": 1}}}})
    await post(client, ada, "/items/fields/rename", {"key": "cost", "new_key": "price"})
    broken = (await client.get(f"/items/views/{view['view_id']}", headers=ada.headers)).json()
    asked = await client.get(f"/items/views/{view['view_id']}/items", headers=ada.headers)
    assert (asked.status_code, asked.json()["errors"]) == (422, broken["errors"])
    assert (broken["valid"], broken["errors"]) == (
        False,
        [
            {
                "field": "query.filters.metadata.cost",
                "message": "was renamed to price; filter by that",
                "code": "renamed_field",
            }
        ],
    )
    mend = {"view_id": view["view_id"], "version": 1}
    still = await post(client, ada, "/items/views/update", {**mend, "changes": {"query": view["query"]}})
    assert (still.status_code, still.json()["errors"][0]["field"]) == (422, "changes.query.filters.metadata.cost")
    query = {"filters": {"metadata": {"price": {"gte": 1}}}}
    mended = await post(client, ada, "/items/views/update", {**mend, "changes": {"query": query}})
    assert (mended.json()["valid"], mended.json()["query"]) == (True, query)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("create", {"name": "x"}, "body.query"),
        ("create", {"query": {}}, "body.name"),
        ("create", {"name": "x", "query": [], "shared": True}, "body.query"),
        ("create", {"name": "x", "query": {"filters": {"colour": "red"}}}, "body.query.filters.colour"),
        (
            "create",
            {"name": "x", "query": {"filters": {"priority": {"gte": "high"}}}},
            "body.query.filters.priority.gte",
        ),
        ("create", {"name": "x", "query": {"cursor": "x"}}, "query.cursor"),
        ("create", {"name": "x", "query": {}, "shared": True}, "body.shared"),
        ("shared/create", {"name": " ", "query": {}}, "name"),
        ("update", {"view_id": str(uuid7()), "changes": {"owner": "x"}}, "body.changes.owner"),
        ("update", {"view_id": "1", "changes": {}}, "body.view_id"),
        ("shared/delete", {}, "body.view_id"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, ada: Person, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await post(client, ada, f"/items/views/{path}", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_everybody_keeps_views_members_share_them_and_admins_take_them_away(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    mine, ours = await make(client, ada), await make(client, ada, "/shared")
    for role in ("viewer", "member", "admin"):
        headers = await join(ada, await sign_up(role), role)

        async def ask(path: str, body: Any, headers: dict[str, str] = headers) -> int:
            return (await client.post(f"/items/views/{path}", json=body, headers=headers)).status_code

        assert await ask("create", BUSY) == 201
        assert (await client.get(f"/items/views/{ours['view_id']}", headers=headers)).json() == ours
        assert (await client.get(f"/items/views/{mine['view_id']}", headers=headers)).status_code == 404
        assert await ask("delete", {"view_id": mine["view_id"]}) == 404
        assert await ask("shared/create", {**BUSY, "name": role}) == (403 if role == "viewer" else 201)
        assert await ask("shared/delete", {"view_id": ours["view_id"]}) == (200 if role == "admin" else 403)


async def test_the_list_of_views_has_pages(client: httpx.AsyncClient, ada: Person) -> None:
    made = [await make(client, ada, kind, name=name) for kind, name in (("", "a"), ("/shared", "b"), ("", "c"))]
    first = (await client.get("/items/views/list?page_size=2", headers=ada.headers)).json()
    rest = await client.get(f"/items/views/list?page_size=2&cursor={first['next_cursor']}", headers=ada.headers)
    assert [*first["data"], *rest.json()["data"]] == made
    assert rest.json()["next_cursor"] is None
    for page_size in ("0", "101", "-1", "x"):
        answer = await client.get(f"/items/views/list?page_size={page_size}", headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.page_size")
    forged = await client.get("/items/views/list?cursor=x", headers=ada.headers)
    assert (forged.status_code, forged.json()["errors"][0]["code"]) == (422, "invalid_cursor")

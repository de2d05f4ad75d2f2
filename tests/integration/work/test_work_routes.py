"""Projects and items over HTTP: versions as ETags, conflicts as documents, batches row by row."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Person

pytestmark = pytest.mark.one_database


async def post(client: httpx.AsyncClient, who: Person, path: str, body: Any, **headers: str) -> httpx.Response:
    return await client.post(path, json=body, headers={**who.headers, **headers})


async def make(client: httpx.AsyncClient, who: Person, **said: Any) -> dict[str, Any]:
    answer = await post(client, who, "/items/create", {"title": "Paint the fence", **said})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_an_answer_says_its_version_and_a_request_may_send_it_back(
    client: httpx.AsyncClient, ada: Person
) -> None:
    item = await make(client, ada)
    read = await client.get(f"/items/{item['item_id']}", headers=ada.headers)
    assert (read.json(), read.headers["etag"]) == (item, '"1"')
    edit = {"item_id": item["item_id"], "changes": {"title": "Mend the fence"}}
    changed = await post(client, ada, "/items/update", edit, **{"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["version"], changed.headers["etag"]) == (200, 2, '"2"')


async def test_a_stale_version_is_a_conflict_and_a_stale_header_a_failed_precondition(
    client: httpx.AsyncClient, ada: Person
) -> None:
    item = await make(client, ada)
    edit = {"item_id": item["item_id"], "changes": {"title": "Mend the fence"}}
    newest = (await post(client, ada, "/items/update", {**edit, "version": 1})).json()
    late = {"item_id": item["item_id"], "changes": {"title": "Burn the fence", "priority": 1}}
    conflict = await post(client, ada, "/items/update", {**late, "version": 1})
    failed = await post(client, ada, "/items/update", late, **{"If-Match": '"1"'})
    for answer, status, code in ((conflict, 409, "stale_version"), (failed, 412, "precondition_failed")):
        told = answer.json()
        assert (answer.status_code, told["status"], told["code"]) == (status, status, code)
        assert (told["current"], told["changed_fields"], told["conflicting_fields"]) == (newest, ["title"], ["title"])


@pytest.mark.parametrize("header", ["1", '"x"', 'W/"1"', "*", '"1", "2"', '"0"'])
async def test_a_header_that_is_no_version_is_refused(client: httpx.AsyncClient, ada: Person, header: str) -> None:
    item = await make(client, ada)
    edit = {"item_id": item["item_id"], "changes": {"title": "Mend the fence"}}
    answer = await post(client, ada, "/items/update", edit, **{"If-Match": header})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "header.if-match")


async def test_a_step_that_does_not_exist_names_the_states(client: httpx.AsyncClient, ada: Person) -> None:
    item = await make(client, ada)
    step = {"item_id": item["item_id"], "version": 1, "status": "archived"}
    answer = await post(client, ada, "/items/transition", step)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "from draft to archived; allowed: active" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "x", "colour": "red"}, "body.colour"),
        ({"title": "x", "priority": "high"}, "body.priority"),
        ({"title": "x", "priority": 5}, "body.priority"),
        ({"title": "x", "status": "archived"}, "body.status"),
        ({}, "body.title"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, ada: Person, body: Any, field: str) -> None:
    answer = await post(client, ada, "/items/create", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_batch_answers_row_by_row(client: httpx.AsyncClient, ada: Person) -> None:
    rows = {"items": [{"title": "One"}, {"title": " "}]}
    made = (await post(client, ada, "/items/bulk/create", rows)).json()
    assert (made["succeeded"], made["failed"]) == (1, 1)
    assert made["results"][1]["error"]["errors"][0]["field"] == "title"
    item_id = made["results"][0]["item"]["item_id"]
    edits = {"items": [{"item_id": item_id, "version": 1, "changes": {"title": "Uno"}}]}
    assert (await post(client, ada, "/items/bulk/update", edits)).json()["succeeded"] == 1
    again = (await post(client, ada, "/items/bulk/update", edits)).json()["results"][0]["error"]
    assert (again["code"], again["status"], again["current"]["title"]) == ("stale_version", 409, "Uno")
    steps = {"items": [{"item_id": item_id, "version": 2, "status": "active"}]}
    moved = (await post(client, ada, "/items/bulk/transition", steps)).json()
    assert moved["results"][0]["item"]["status"] == "active"


async def test_the_same_key_makes_one_item(client: httpx.AsyncClient, ada: Person) -> None:
    first, again = [
        await post(client, ada, "/items/create", {"title": "Once"}, **{"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert (first.json(), first.status_code) == (again.json(), again.status_code)


async def test_a_deleted_item_is_found_on_request_only(client: httpx.AsyncClient, ada: Person) -> None:
    item = await make(client, ada)
    target = {"item_id": item["item_id"], "version": 1}
    assert (await post(client, ada, "/items/delete", target)).json()["deleted_at"] is not None
    path = f"/items/{item['item_id']}"
    assert (await client.get(path, headers=ada.headers)).status_code == 404
    assert (await client.get(f"{path}?deleted=true", headers=ada.headers)).status_code == 200
    restored = await post(client, ada, "/items/restore", {**target, "version": 2})
    assert (restored.json()["deleted_at"], restored.headers["etag"]) == (None, '"3"')


async def test_a_project_goes_the_same_way(client: httpx.AsyncClient, ada: Person) -> None:
    made = (await post(client, ada, "/projects/create", {"title": "The garden"})).json()
    target = {"project_id": made["project_id"]}
    changed = await post(
        client, ada, "/projects/update", {**target, "changes": {"title": "The yard"}}, **{"If-Match": '"1"'}
    )
    assert (changed.json()["title"], changed.headers["etag"]) == ("The yard", '"2"')
    moved = await post(client, ada, "/projects/transition", {**target, "version": 2, "status": "active"})
    assert moved.json()["status"] == "active"
    item = await make(client, ada, project_id=made["project_id"])
    assert item["project_id"] == made["project_id"]
    assert (await post(client, ada, "/projects/delete", {**target, "version": 3})).status_code == 409

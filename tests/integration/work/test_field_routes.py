"""Fields over HTTP: versions as ETags, faults by their place, roles."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, join
from tests.integration.work.test_work_routes import make, post

from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

__all__ = ["join"]


async def define(client: httpx.AsyncClient, who: Person, **said: Any) -> dict[str, Any]:
    answer = await post(client, who, "/items/fields/define", {"key": "cost", "type": "number", **said})
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"'), answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_field_is_defined_changed_renamed_and_removed(client: httpx.AsyncClient, ada: Person) -> None:
    field = await define(client, ada, indexed=True)
    item = await make(client, ada, metadata={"cost": 3})
    change = {"key": "cost", "changes": {"required": True}}
    changed = await post(client, ada, "/items/fields/change", change, **{"If-Match": '"1"'})
    assert (changed.json()["required"], changed.headers["etag"]) == (True, '"2"')
    rename = {"field_id": field["field_id"], "new_key": "price"}
    renamed = await post(client, ada, "/items/fields/rename", rename)
    assert (renamed.json()["key"], renamed.json()["old_keys"]) == ("price", ["cost"])
    listed = await client.get("/items/fields/list", headers=ada.headers)
    assert listed.json() == {"data": [renamed.json()]}
    assert (await client.get(f"/items/{item['item_id']}", headers=ada.headers)).json()["metadata"] == {"price": 3}
    removed = await post(client, ada, "/items/fields/remove", {"key": "price"}, **{"If-Match": '"3"'})
    assert removed.json() == renamed.json()
    assert (await client.get("/items/fields/list", headers=ada.headers)).json() == {"data": []}


async def test_a_stale_version_is_a_conflict_and_a_stale_header_a_failed_precondition(
    client: httpx.AsyncClient, ada: Person
) -> None:
    await define(client, ada)
    change = {"key": "cost", "changes": {"required": True}}
    newest = (await post(client, ada, "/items/fields/change", {**change, "version": 1})).json()
    late = {"key": "cost", "changes": {"sensitive": True}}
    conflict = await post(client, ada, "/items/fields/change", {**late, "version": 1})
    failed = await post(client, ada, "/items/fields/change", late, **{"If-Match": '"1"'})
    for answer, status, code in ((conflict, 409, "stale_version"), (failed, 412, "precondition_failed")):
        told = answer.json()
        assert (answer.status_code, told["code"], told["current"]) == (status, code, newest)
    unseen = await post(client, ada, "/items/fields/change", late)
    assert (unseen.status_code, unseen.json()["errors"][0]["code"]) == (422, "missing_version")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("define", {"key": "Cost", "type": "number"}, "body.key"),
        ("define", {"key": "cost", "type": "money"}, "body.type"),
        ("define", {"key": "cost"}, "body.type"),
        ("define", {"key": "cost", "type": "text", "unique": True}, "body.unique"),
        ("change", {"key": "cost", "changes": {"type": "text"}}, "body.changes.type"),
        ("change", {"key": "cost"}, "body.changes"),
        ("rename", {"key": "cost", "new_key": "a-b"}, "body.new_key"),
        ("remove", {"field_id": "1"}, "body.field_id"),
        ("remove", {}, "body"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, ada: Person, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await post(client, ada, f"/items/fields/{path}", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_key_in_use_is_a_conflict_and_a_field_that_is_not_there_not_found(
    client: httpx.AsyncClient, ada: Person
) -> None:
    await define(client, ada)
    again = await post(client, ada, "/items/fields/define", {"key": "cost", "type": "text"})
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "there is a field cost already; change it, or choose another key",
    )
    for body in ({"key": "price"}, {"field_id": str(uuid7())}):
        missing = await post(client, ada, "/items/fields/remove", body)
        assert (missing.status_code, missing.json()["detail"]) == (404, "no such field")


async def test_members_list_fields_and_admins_define_them(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    await define(client, ada)
    for role, status in (("viewer", 403), ("member", 403), ("admin", 201)):
        headers = await join(ada, await sign_up(role), role)
        assert len((await client.get("/items/fields/list", headers=headers)).json()["data"]) == 1
        body = {"key": f"of_{role}", "type": "text"}
        assert (await client.post("/items/fields/define", json=body, headers=headers)).status_code == status
        if status == 403:
            continue
        gone = await client.post("/items/fields/remove", json={"key": f"of_{role}"}, headers=headers)
        assert gone.status_code == 200


async def test_the_same_key_of_a_request_defines_one_field(client: httpx.AsyncClient, ada: Person) -> None:
    body = {"key": "cost", "type": "number"}
    first, again = [await post(client, ada, "/items/fields/define", body, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert (first.json(), first.status_code) == (again.json(), again.status_code)

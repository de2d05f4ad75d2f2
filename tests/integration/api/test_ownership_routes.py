"""The ownership changes hands over HTTP."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Conflict, Forbidden
from datalane.identity import ownership

pytestmark = pytest.mark.one_database


async def transfer(client: httpx.AsyncClient, headers: dict[str, str], user_id: object) -> httpx.Response:
    return await client.post("/workspaces/ownership/transfer", json={"user_id": str(user_id)}, headers=headers)


async def roles(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, str]:
    members = (await client.get("/workspaces/members/list", headers=headers)).json()["data"]
    return {member["user_id"]: member["role"] for member in members}


async def test_the_owner_hands_the_workspace_over_and_becomes_an_admin(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    there = await join(ada, bob, "viewer")
    key = (await client.post("/api-keys/create", json={"name": "k", "role": "owner"}, headers=ada.headers)).json()[
        "key"
    ]
    moved = await transfer(client, ada.headers, bob.user_id)
    assert moved.status_code == 200
    assert (moved.json()["owner_id"], moved.json()["former_owner_id"]) == (str(bob.user_id), str(ada.user_id))
    assert await roles(client, there) == {str(ada.user_id): "admin", str(bob.user_id): "owner"}
    assert (await client.get("/workspaces/get", headers=there)).json()["owner_id"] == str(bob.user_id)
    me = (await client.get("/auth/me", headers={"Authorization": f"Bearer {key}"})).json()
    assert me["role"] == "admin", "a key of the former owner falls with them"
    async with database.transaction(Context(ada.workspace_id, bob.user_id, Role.OWNER)) as tx:
        audit = await tx.fetch(
            "SELECT action, actor_id, correlation_id FROM datalane.audit_log ORDER BY audit_id DESC LIMIT 3"
        )
        events = await tx.fetch(
            "SELECT payload->>'role' FROM datalane.events WHERE event_type = 'membership.changed' ORDER BY event_id"
        )
    correlation_id = moved.headers["x-correlation-id"]
    assert [tuple(row) for row in audit] == [
        ("ownership.transferred", ada.user_id, correlation_id),
        ("membership.changed", ada.user_id, correlation_id),
        ("membership.changed", ada.user_id, correlation_id),
    ]
    assert [row[0] for row in events] == ["admin", "owner"]


async def test_what_has_changed_hands_is_not_handed_over_again(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    await join(ada, bob, "admin")
    await transfer(client, ada.headers, bob.user_id)
    assert (await transfer(client, ada.headers, bob.user_id)).status_code == 403
    late = Context(ada.workspace_id, ada.user_id, Role.OWNER)
    with pytest.raises(Conflict, match="another owner now"):
        async with database.transaction(late) as tx:
            await ownership.transfer_ownership(tx, bob.user_id)


async def test_it_goes_to_an_active_member_only(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    bobs = {"user_id": str(bob.user_id)}
    stranger, unknown = [await transfer(client, ada.headers, one) for one in (bob.user_id, uuid4())]
    assert without_correlation(stranger) == without_correlation(unknown)
    assert stranger.status_code == 404
    await join(ada, bob, "admin")
    await client.post("/workspaces/members/change", json={**bobs, "status": "suspended"}, headers=ada.headers)
    assert (await transfer(client, ada.headers, bob.user_id)).status_code == 409
    await client.post("/workspaces/members/remove", json=bobs, headers=ada.headers)
    assert (await transfer(client, ada.headers, bob.user_id)).status_code == 404
    again = {"email": bob.email, "role": "admin"}
    await client.post("/workspaces/invites/create", json=again, headers=ada.headers)
    assert (await transfer(client, ada.headers, bob.user_id)).status_code == 409
    assert (await transfer(client, ada.headers, ada.user_id)).status_code == 409
    assert (await client.get("/auth/me", headers=ada.headers)).json()["role"] == "owner"


async def test_only_the_owner_in_person_hands_over(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    there = await join(ada, bob, "admin")
    assert (await transfer(client, there, bob.user_id)).status_code == 403
    key = (await client.post("/api-keys/create", json={"name": "k", "role": "owner"}, headers=ada.headers)).json()[
        "key"
    ]
    assert (await transfer(client, {"Authorization": f"Bearer {key}"}, bob.user_id)).status_code == 403
    with pytest.raises(Forbidden, match="in person"):
        async with database.transaction(Context.system(ada.workspace_id)) as tx:
            await ownership.transfer_ownership(tx, bob.user_id)
    with pytest.raises(Conflict):
        async with database.transaction(Context(ada.workspace_id, bob.user_id, Role.OWNER)) as tx:
            await ownership.transfer_ownership(tx, bob.user_id)
    assert await roles(client, ada.headers) == {str(ada.user_id): "owner", str(bob.user_id): "admin"}


async def test_afterwards_the_former_owner_can_be_removed_and_the_new_one_cannot(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    there = await join(ada, bob, "member")
    await transfer(client, ada.headers, bob.user_id)
    for path in ("/workspaces/members/remove", "/workspaces/members/change"):
        body = {"user_id": str(bob.user_id), **({"role": "viewer"} if path.endswith("change") else {})}
        assert (await client.post(path, json=body, headers=ada.headers)).status_code == 409
    former = {"user_id": str(ada.user_id)}
    assert (await client.post("/workspaces/members/remove", json=former, headers=there)).status_code == 200
    assert await roles(client, there) == {str(bob.user_id): "owner"}

"""Scopes of API keys: a key may do what both its role and its scopes allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Log, Person

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Forbidden, InvalidInput
from datalane.identity import memberships
from datalane.identity.accounts import authenticate

pytestmark = pytest.mark.one_database


async def make(client: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> httpx.Response:
    return await client.post("/api-keys/create", json={"name": "k", **fields}, headers=headers)


async def a_key(client: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, str]:
    """Headers that authenticate as a new key."""
    answer = await make(client, headers, **fields)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['key']}"}


async def test_a_key_does_what_its_scopes_name_and_nothing_else(
    client: httpx.AsyncClient, ada: Person, log: Log
) -> None:
    key = await a_key(client, ada.headers, role="admin", scopes=["membership.read", "invite.*"])
    assert (await client.get("/workspaces/members/list", headers=key)).status_code == 200
    offer = {"email": "cem@example.com", "role": "viewer"}
    assert (await client.post("/workspaces/invites/create", json=offer, headers=key)).status_code == 201
    for method, path, body in (
        ("GET", "/api-keys/list", None),
        ("GET", "/workspaces/get", None),
        ("GET", "/workspaces/list", None),
        ("POST", "/workspaces/members/change", {"user_id": str(ada.user_id), "role": "viewer"}),
        ("POST", "/api-keys/create", {"name": "more"}),
    ):
        answer = await client.request(method, path, json=body, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        assert "scopes" in answer.json()["detail"]
    denied = [line["denial"] for line in log.lines if line["event"] == "access_denied"]
    assert denied == ["scope"] * 5


async def test_scopes_give_no_more_than_the_role(client: httpx.AsyncClient, ada: Person) -> None:
    key = await a_key(client, ada.headers, role="viewer", scopes=["invite.*"])
    answer = await client.get("/workspaces/invites/list", headers=key)
    assert (answer.status_code, "takes admin" in answer.json()["detail"]) == (403, True)


async def test_services_hold_a_key_to_its_scopes_without_http_too(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    made = (await make(client, ada.headers, role="admin", scopes=["membership.read"])).json()
    identity = await authenticate(database, made["key"])
    context = Context(ada.workspace_id, identity.actor_id, Role.ADMIN, scopes=identity.scopes)
    async with database.transaction(context) as tx:
        assert (await memberships.list_members(tx)).total_count == 1
        with pytest.raises(Forbidden, match=r"scopes leave this out \(membership.remove\)"):
            await memberships.remove_member(tx, ada.user_id)


async def test_scopes_are_shown_wherever_the_key_is(client: httpx.AsyncClient, ada: Person) -> None:
    made = (await make(client, ada.headers, scopes=["invite.*", "api_key.read", "invite.*"])).json()
    assert made["scopes"] == ["api_key.read", "invite.*"]
    listed = (await client.get("/api-keys/list", headers=ada.headers)).json()["data"]
    me = (await client.get("/auth/me", headers={"Authorization": f"Bearer {made['key']}"})).json()
    assert listed[0]["scopes"] == me["scopes"] == made["scopes"]
    assert (await client.get("/auth/me", headers=ada.headers)).json()["scopes"] is None


async def test_a_scope_that_names_no_permission_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    for wrong in ("thing.sell", "*", "membership", "Membership.read", "membership.read; --", "membership.read\n"):
        answer = await make(client, ada.headers, scopes=["invite.read", wrong])
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), wrong
        assert [fault["field"] for fault in answer.json()["errors"]] in (["body.scopes"], ["body.scopes.1"])
    for number in (0, 101):
        assert (await make(client, ada.headers, scopes=["invite.read"] * number)).status_code == 422


async def test_the_database_refuses_malformed_scopes_too(database: Database, ada: Person) -> None:
    for scopes in ("'{}'", "ARRAY['*']", "ARRAY['membership.read', NULL]", "ARRAY['a b.c']"):
        with pytest.raises(InvalidInput, match="names of permissions"):
            async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
                await tx.execute(
                    f"SELECT datalane.create_api_key(app.uuid7(), sha256('x'), 'k', 'viewer', NULL, {scopes})"
                )


async def test_a_key_makes_no_key_that_may_do_more_than_itself(client: httpx.AsyncClient, ada: Person) -> None:
    own = ["api_key.*", "invite.read"]
    key = await a_key(client, ada.headers, role="admin", scopes=own)
    for less in (own, ["invite.read"], ["api_key.revoke", "invite.read"], ["api_key.*"]):
        assert (await make(client, key, scopes=less)).status_code == 201
    for more in (["invite.*"], ["invite.revoke"], [*own, "workspace.read"], None):
        assert (await make(client, key, scopes=more)).status_code == 403
    assert (await make(client, key, role="owner", scopes=own)).status_code == 403


async def test_a_key_makes_no_key_that_outlives_it(client: httpx.AsyncClient, ada: Person) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    key = await a_key(client, ada.headers, role="admin", expires_at=end.isoformat())
    for later in (None, (end + timedelta(seconds=1)).isoformat()):
        answer = await make(client, key, expires_at=later)
        assert (answer.status_code, "outlives" in answer.json()["detail"]) == (403, True)
    assert (await make(client, key, expires_at=end.isoformat())).status_code == 201


async def test_a_suspended_members_sessions_and_keys_stop_at_once_in_that_workspace_only(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Any
) -> None:
    there = await join(ada, bob, "admin")
    key, own_key = await a_key(client, there), await a_key(client, bob.headers)
    for change, path in (
        ({"status": "suspended"}, "/workspaces/members/change"),
        ({}, "/workspaces/members/remove"),
    ):
        body = {"user_id": str(bob.user_id), **change}
        assert (await client.post(path, json=body, headers=ada.headers)).status_code == 200
        assert (await client.get("/workspaces/get", headers=there)).status_code == 404
        assert (await client.get("/auth/me", headers=key)).status_code == 401
        assert (await client.get("/workspaces/get", headers=bob.headers)).status_code == 200
        assert (await client.get("/auth/me", headers=own_key)).status_code == 200

"""API keys over HTTP: shown once, bound to a workspace, never above their creator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from tests.integration.api.conftest import Join, Person, without_correlation

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Forbidden, Unauthenticated
from datalane.identity import api_keys
from datalane.identity.accounts import authenticate
from datalane.identity.schemas import NewApiKey


async def create(client: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = await client.post("/api-keys/create", json={"name": "ci", **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


async def test_a_key_names_its_workspace_and_acts_with_its_own_role(client: httpx.AsyncClient, ada: Person) -> None:
    key = await create(client, ada.headers, role="viewer")
    assert key["key"].startswith(f"dl_{ada.workspace_id.hex}_{UUID(key['key_id']).hex}_")
    me = (await client.get("/auth/me", headers=bearer(key))).json()
    assert (me["actor_id"], me["role"], me["auth_method"]) == (key["key_id"], "viewer", "api_key")
    assert (me["workspace_id"], me["user_id"]) == (str(ada.workspace_id), str(ada.user_id))
    assert (await client.post("/api-keys/create", json={"name": "x"}, headers=bearer(key))).status_code == 403


async def test_only_a_hash_of_the_secret_is_stored(client: httpx.AsyncClient, ada: Person, urls: Prepared) -> None:
    key = await create(client, ada.headers)
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        rows = connection.execute("SELECT k::text FROM datalane.api_keys k").fetchall()
    assert len(rows) == 1
    assert key["key"].split("_", 3)[3] not in rows[0][0]
    listed = (await client.get("/api-keys/list", headers=ada.headers)).json()["data"]
    assert [one["key_id"] for one in listed] == [key["key_id"]]
    assert not {"key", "secret", "secret_hash"} & set(listed[0])


async def test_a_revoked_key_is_refused_like_an_unknown_one(client: httpx.AsyncClient, ada: Person) -> None:
    key = await create(client, ada.headers)
    revoked = await client.post("/api-keys/revoke", json={"key_id": key["key_id"]}, headers=ada.headers)
    again = await client.post("/api-keys/revoke", json={"key_id": key["key_id"]}, headers=ada.headers)
    assert revoked.json() == again.json()
    refused = await client.get("/auth/me", headers=bearer(key))
    unknown = await client.get("/auth/me", headers={"Authorization": f"Bearer {key['key'][:-43]}{'A' * 43}"})
    assert without_correlation(refused) == without_correlation(unknown)
    assert refused.status_code == 401


async def test_a_key_expires_at_its_time(database: Database, ada: Person) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        made = await api_keys.create_api_key(tx, NewApiKey(name="k", expires_at=noon + timedelta(hours=1)), now=noon)
    assert made.key is not None
    assert (await authenticate(database, made.key, now=noon + timedelta(minutes=59))).role is Role.MEMBER
    with pytest.raises(Unauthenticated, match="expired"):
        await authenticate(database, made.key, now=noon + timedelta(hours=1))


async def test_a_key_that_would_be_expired_already_is_not_made(client: httpx.AsyncClient, ada: Person) -> None:
    body = {"name": "k", "expires_at": "2001-01-01T00:00:00Z"}
    answer = await client.post("/api-keys/create", json=body, headers=ada.headers)
    assert (answer.status_code, answer.json()["detail"]) == (422, "expires_at must be in the future")
    for never in ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999Z"):
        answer = await client.post("/api-keys/create", json={"name": "k", "expires_at": never}, headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.expires_at")


async def test_a_key_is_never_above_its_creator(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    there = await join(ada, bob, "admin")
    answer = await client.post("/api-keys/create", json={"name": "k", "role": "owner"}, headers=there)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    with pytest.raises(Forbidden, match="above"):
        async with database.transaction(Context(ada.workspace_id, bob.user_id, Role.ADMIN)) as tx:
            await tx.execute("SELECT datalane.create_api_key(app.uuid7(), sha256('x'), 'k', 'owner', NULL)")


async def test_a_key_follows_its_creator_down_and_out(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    key = await create(client, await join(ada, bob, "admin"), role="admin")

    async def change(**fields: str) -> None:
        body = {"user_id": str(bob.user_id), **fields}
        assert (await client.post("/workspaces/members/change", json=body, headers=ada.headers)).status_code == 200

    await change(role="viewer")
    assert (await client.get("/auth/me", headers=bearer(key))).json()["role"] == "viewer"
    await change(status="suspended")
    assert (await client.get("/auth/me", headers=bearer(key))).status_code == 401
    await change(status="active", role="admin")
    assert (await client.get("/auth/me", headers=bearer(key))).json()["role"] == "admin"
    await client.post("/workspaces/members/remove", json={"user_id": str(bob.user_id)}, headers=ada.headers)
    await join(ada, bob, "admin")
    assert (await client.get("/auth/me", headers=bearer(key))).status_code == 401, "removal revokes for good"


async def test_a_key_made_by_a_key_belongs_to_the_person_behind_it(client: httpx.AsyncClient, ada: Person) -> None:
    first = await create(client, ada.headers, role="admin")
    second = await create(client, bearer(first), role="member")
    assert (await client.get("/auth/me", headers=bearer(second))).json()["user_id"] == str(ada.user_id)


async def test_a_key_acts_in_its_own_workspace_only(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    key = await create(client, ada.headers, role="admin")
    other = (await client.post("/workspaces/create", json={"name": "Other"}, headers=ada.headers)).json()
    for workspace_id in (other["workspace_id"], str(bob.workspace_id), str(uuid4())):
        headers = {**bearer(key), "X-Workspace-Id": workspace_id}
        assert (await client.get("/workspaces/members/list", headers=headers)).status_code == 404
    mine = (await client.get("/workspaces/list", headers=bearer(key))).json()["data"]
    assert [(one["workspace_id"], one["role"]) for one in mine] == [(str(ada.workspace_id), "admin")]
    assert (await client.post("/workspaces/create", json={"name": "x"}, headers=bearer(key))).status_code == 403
    assert (await client.post("/auth/sign-out", headers=bearer(key))).status_code == 422


async def test_a_key_of_another_workspace_is_like_one_that_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    key = await create(client, bob.headers)
    foreign = await client.post("/api-keys/revoke", json={"key_id": key["key_id"]}, headers=ada.headers)
    unknown = await client.post("/api-keys/revoke", json={"key_id": str(uuid4())}, headers=ada.headers)
    assert without_correlation(foreign) == without_correlation(unknown)
    assert foreign.status_code == 404
    assert (await client.get("/auth/me", headers=bearer(key))).status_code == 200


async def test_the_time_of_use_is_kept_to_the_minute(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    key = await create(client, ada.headers)
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    seen = []
    for seconds in (0, 30, 90):
        await authenticate(database, key["key"], now=noon + timedelta(seconds=seconds))
        listed = (await client.get("/api-keys/list", headers=ada.headers)).json()["data"]
        seen.append((datetime.fromisoformat(listed[0]["last_used_at"]) - noon).total_seconds())
    assert seen == [0, 0, 90]


async def test_making_and_revoking_leave_audit_records(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    key = await create(client, ada.headers)
    await client.post("/api-keys/revoke", json={"key_id": key["key_id"]}, headers=ada.headers)
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        rows = await tx.fetch(
            "SELECT action, actor_id, after::text FROM datalane.audit_records WHERE resource_id = $1 ORDER BY audit_id",
            key["key_id"],
        )
    assert [(row["action"], row["actor_id"]) for row in rows] == [
        ("api_key.created", ada.user_id),
        ("api_key.revoked", ada.user_id),
    ]
    assert key["key"].split("_", 3)[3] not in rows[0]["after"]

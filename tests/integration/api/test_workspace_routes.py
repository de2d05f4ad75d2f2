"""Workspaces and memberships over HTTP, with every role."""

from __future__ import annotations

from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Forbidden

pytestmark = pytest.mark.one_database


async def test_a_user_makes_and_lists_workspaces(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    made = await client.post("/workspaces/create", json={"name": "Second"}, headers=ada.headers)
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["role"], made.json()["search_language"]) == ("Second", "owner", "english")
    mine = (await client.get("/workspaces/list", headers=ada.headers)).json()["data"]
    assert [workspace["workspace_id"] for workspace in mine] == [str(ada.workspace_id), made.json()["workspace_id"]]
    members = (await client.get("/workspaces/members/list", headers=ada.within(made.json()["workspace_id"]))).json()
    assert [member["user_id"] for member in members["data"]] == [str(ada.user_id)]


async def test_a_user_who_is_in_no_workspace_makes_one(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    await join(ada, bob, "admin")
    taker = {"user_id": str(bob.user_id)}
    assert (await client.post("/workspaces/ownership/transfer", json=taker, headers=ada.headers)).status_code == 200
    assert (await client.post("/workspaces/members/leave", headers=ada.headers)).status_code == 200
    assert (await client.get("/auth/me", headers=ada.headers)).json()["workspace_id"] is None
    made = await client.post("/workspaces/create", json={"name": "Anew"}, headers=ada.headers)
    assert (made.status_code, made.json()["name"], made.json()["role"]) == (201, "Anew", "owner")
    listed = await client.get("/workspaces/list", headers=ada.headers)
    assert listed.json()["data"] == [made.json()]


@pytest.mark.parametrize("role", list(Role))
async def test_only_the_person_at_the_door_owns_a_workspace_made_with_sql(
    ada: Person, bob: Person, database: Database, role: Role
) -> None:
    create = "SELECT workspace_id FROM datalane.create_workspace('Second')"
    with pytest.raises(Forbidden, match="only a person who is an active member"):
        async with database.transaction(Context(ada.workspace_id, bob.user_id, role)) as tx:
            await tx.execute(create)
    async with database.transaction(Context(ada.workspace_id, ada.user_id, role)) as tx:
        made = await tx.fetchval(create)
    async with database.transaction(Context(made, ada.user_id, Role.OWNER)) as tx:
        owner = await tx.fetchval("SELECT owner_id FROM datalane.workspaces WHERE workspace_id = $1", made)
    assert owner == ada.user_id


async def test_a_member_joins_is_changed_suspended_and_removed(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    there = await join(ada, bob, "viewer")
    change = {"user_id": str(bob.user_id), "role": "member"}
    changed = await client.post("/workspaces/members/change", json=change, headers=ada.headers)
    assert (changed.json()["role"], changed.json()["status"]) == ("member", "active")
    suspend = {"user_id": str(bob.user_id), "status": "suspended"}
    assert (await client.post("/workspaces/members/change", json=suspend, headers=ada.headers)).status_code == 200
    assert (await client.get("/workspaces/members/list", headers=there)).status_code == 404
    reactivate = {**suspend, "status": "active"}
    await client.post("/workspaces/members/change", json=reactivate, headers=ada.headers)
    assert (await client.get("/auth/me", headers=there)).json()["role"] == "member"
    gone = await client.post("/workspaces/members/remove", json={"user_id": str(bob.user_id)}, headers=ada.headers)
    assert gone.json()["status"] == "removed"
    assert (await client.get("/workspaces/members/list", headers=there)).status_code == 404
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        audit = await tx.fetch(
            "SELECT action, before->>'status' AS was, after->>'status' AS is_now, correlation_id "
            "FROM datalane.audit_records WHERE resource_id = $1 ORDER BY audit_id",
            str(bob.user_id),
        )
        events = await tx.fetch("SELECT event_type FROM datalane.events WHERE subject_id = $1", str(bob.user_id))
    assert [tuple(row)[:3] for row in audit] == [
        ("membership.added", None, "active"),
        ("membership.changed", "active", "active"),
        ("membership.changed", "active", "suspended"),
        ("membership.changed", "suspended", "active"),
        ("membership.removed", "active", "removed"),
    ]
    assert audit[-1]["correlation_id"] == gone.headers["x-correlation-id"]
    assert len(events) == len(audit)


async def test_a_removed_member_comes_back_with_a_new_role(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    await join(ada, bob, "admin")
    await client.post("/workspaces/members/remove", json={"user_id": str(bob.user_id)}, headers=ada.headers)
    there = await join(ada, bob, "viewer")
    assert (await client.get("/auth/me", headers=there)).json()["role"] == "viewer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/workspaces/members/change", {"role": "viewer"}),
        ("/workspaces/members/change", {"status": "suspended"}),
        ("/workspaces/members/remove", {}),
    ],
)
async def test_the_owner_cannot_be_demoted_suspended_or_removed(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, path: str, body: dict[str, str]
) -> None:
    there = await join(ada, bob, "admin")
    answer = await client.post(path, json={"user_id": str(ada.user_id), **body}, headers=there)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "ownership" in answer.json()["detail"]


async def test_ownership_is_not_granted(client: httpx.AsyncClient, ada: Person, bob: Person, join: Join) -> None:
    offer = {"email": bob.email, "role": "owner"}
    assert (await client.post("/workspaces/invites/create", json=offer, headers=ada.headers)).status_code == 409
    await join(ada, bob, "member")
    promoted = {"user_id": str(bob.user_id), "role": "owner"}
    assert (await client.post("/workspaces/members/change", json=promoted, headers=ada.headers)).status_code == 409


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_below_admin_nobody_manages_members_or_keys(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, role: str
) -> None:
    there = await join(ada, bob, role)
    attempts = {
        "/workspaces/invites/create": {"email": "cem@example.com", "role": "viewer"},
        "/workspaces/invites/revoke": {"invite_id": str(uuid4())},
        "/workspaces/ownership/transfer": {"user_id": str(bob.user_id)},
        "/workspaces/rename": {"name": "Mine"},
        "/workspaces/search-language/set": {"search_language": "german"},
        "/workspaces/members/change": {"user_id": str(ada.user_id), "role": "viewer"},
        "/workspaces/members/remove": {"user_id": str(ada.user_id)},
        "/api-keys/create": {"name": "mine"},
        "/api-keys/revoke": {"key_id": str(uuid4())},
    }
    for path, body in attempts.items():
        answer = await client.post(path, json=body, headers=there)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    assert (await client.get("/api-keys/list", headers=there)).status_code == 403
    assert (await client.get("/workspaces/invites/list", headers=there)).status_code == 403
    assert (await client.get("/workspaces/members/list", headers=there)).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT datalane.create_invite(app.uuid7(), sha256('x'), 'eve@example.com', 'admin', '1 day')",
        "SELECT datalane.revoke_invite(app.uuid7())",
        "SELECT FROM datalane.list_invites()",
        "SELECT FROM datalane.invites",
        "SELECT datalane.transfer_ownership(app.actor_id())",
        "SELECT datalane.rename_workspace('mine now')",
        "SELECT datalane.set_search_language('german')",
        "SELECT datalane.change_member('{ada}', 'viewer')",
        "SELECT datalane.remove_member('{ada}')",
        "SELECT datalane.create_api_key(app.uuid7(), sha256('x'), 'k', 'viewer', NULL)",
        "SELECT datalane.revoke_api_key(app.uuid7())",
        "SELECT FROM datalane.list_api_keys()",
        "INSERT INTO datalane.memberships SELECT * FROM datalane.memberships",
        "UPDATE datalane.memberships SET role = 'owner'",
        "DELETE FROM datalane.memberships",
        "UPDATE datalane.workspaces SET name = 'mine now'",
    ],
)
async def test_the_database_refuses_a_viewer_too(
    database: Database, ada: Person, bob: Person, join: Join, statement: str
) -> None:
    await join(ada, bob, "viewer")
    with pytest.raises(Forbidden):
        async with database.transaction(Context(ada.workspace_id, bob.user_id, Role.VIEWER)) as tx:
            await tx.execute(statement.format(ada=ada.user_id))


async def test_everybody_may_leave(client: httpx.AsyncClient, ada: Person, bob: Person, join: Join) -> None:
    there = await join(ada, bob, "viewer")
    left = await client.post("/workspaces/members/leave", headers=there)
    assert (left.status_code, left.json()["user_id"], left.json()["status"]) == (200, str(bob.user_id), "removed")
    assert (await client.get("/auth/me", headers=there)).status_code == 404


async def test_the_owner_cannot_leave_and_a_key_leaves_for_nobody(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.post("/workspaces/members/leave", headers=ada.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    key = (await client.post("/api-keys/create", json={"name": "k", "role": "admin"}, headers=ada.headers)).json()
    answer = await client.post("/workspaces/members/leave", headers={"Authorization": f"Bearer {key['key']}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_workspace_is_shown_and_renamed(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    there = await join(ada, bob, "admin")
    renamed = await client.post("/workspaces/rename", json={"name": " Looms "}, headers=there)
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["role"]) == (200, "Looms", "admin")
    shown = (await client.get("/workspaces/get", headers=ada.headers)).json()
    assert shown == {**renamed.json(), "role": "owner"}
    assert (shown["workspace_id"], shown["owner_id"]) == (str(ada.workspace_id), str(ada.user_id))
    assert (await client.get("/workspaces/get", headers=bob.headers)).json()["name"] == "bob's workspace"
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        audit = await tx.fetch(
            "SELECT actor_id, before, after FROM datalane.audit_records WHERE action = 'workspace.renamed'"
        )
    assert [tuple(row) for row in audit] == [(bob.user_id, {"name": "ada's workspace"}, {"name": "Looms"})]
    for name in ("", "x" * 201):
        assert (await client.post("/workspaces/rename", json={"name": name}, headers=there)).status_code == 422


async def test_an_admin_stands_not_above_another_and_nobody_changes_the_owner(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    cem = await sign_up("cem")
    there, _ = await join(ada, bob, "admin"), await join(ada, cem, "admin")
    for body in ({"user_id": str(cem.user_id), "role": "owner"}, {"user_id": str(bob.user_id), "role": "owner"}):
        assert (await client.post("/workspaces/members/change", json=body, headers=there)).status_code == 409
    demoted = {"user_id": str(cem.user_id), "role": "member"}
    assert (await client.post("/workspaces/members/change", json=demoted, headers=there)).status_code == 200
    members = (await client.get("/workspaces/members/list", headers=ada.headers)).json()["data"]
    assert {member["email"]: member["role"] for member in members} == {
        ada.email: "owner",
        bob.email: "admin",
        cem.email: "member",
    }


async def test_a_change_that_changes_nothing_leaves_no_record(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, database: Database
) -> None:
    await join(ada, bob, "viewer")
    same = {"user_id": str(bob.user_id), "role": "viewer", "status": "active"}
    assert (await client.post("/workspaces/members/change", json=same, headers=ada.headers)).status_code == 200
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.audit_log WHERE action = 'membership.changed'") == 0


async def test_a_member_of_another_workspace_is_like_one_that_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    for path, body in {
        "/workspaces/members/change": {"role": "viewer"},
        "/workspaces/members/remove": {},
    }.items():
        foreign = await client.post(path, json={"user_id": str(bob.user_id), **body}, headers=ada.headers)
        unknown = await client.post(path, json={"user_id": str(uuid4()), **body}, headers=ada.headers)
        assert without_correlation(foreign) == without_correlation(unknown)
        assert foreign.status_code == 404


async def test_members_come_in_pages(client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join) -> None:
    people = [ada, *[await sign_up(name) for name in ("bob", "cem")]]
    for person in people[1:]:
        await join(ada, person, "viewer")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in people:
        page = await client.get("/workspaces/members/list", params={"page_size": 1, **cursor}, headers=ada.headers)
        seen += [member["user_id"] for member in page.json()["data"]]
        assert page.json()["total_count"] == len(people)
        cursor = {"cursor": page.json()["next_cursor"]}
    assert cursor == {"cursor": None}
    assert seen == [str(person.user_id) for person in people]


@pytest.mark.parametrize("size", ["0", "101", "x"])
async def test_a_page_size_outside_the_limit_is_an_error(client: httpx.AsyncClient, ada: Person, size: str) -> None:
    answer = await client.get("/workspaces/members/list", params={"page_size": size}, headers=ada.headers)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["query.page_size"]


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE datalane.memberships SET role = 'admin' WHERE role = 'owner'", "at_least_one_owner"),
        ("UPDATE datalane.memberships SET role = 'owner' WHERE role = 'admin'", "at_most_one_owner"),
        ("UPDATE datalane.memberships SET status = 'suspended' WHERE role = 'owner'", "owner_is_active"),
        ("UPDATE datalane.workspaces SET owner_role = 'admin' WHERE true", "owner_role_is_owner"),
    ],
)
async def test_a_workspace_has_exactly_one_owner_also_against_the_verbs_own_role(
    urls: Prepared, ada: Person, bob: Person, join: Join, statement: str, constraint: str
) -> None:
    await join(ada, bob, "admin")
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        script = f"{statement} AND workspace_id = '{ada.workspace_id}'; COMMIT"
        with pytest.raises(psycopg.errors.IntegrityError, match=constraint):
            connection.execute(script.encode())

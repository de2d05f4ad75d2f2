"""Invites over HTTP: one address, one workspace, one use."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.integration.api.conftest import Join, Log, OpenLane, Person, SignUp, without_correlation

from datalane.api.app import create_app
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Conflict
from datalane.identity import invites
from datalane.identity.schemas import NewInvite
from datalane.identity.tokens import InviteToken, new_secret
from datalane.settings import InviteSettings, Settings

WEEK = timedelta(days=7)


async def offer(client: httpx.AsyncClient, headers: dict[str, str], email: str, role: str = "member") -> dict[str, Any]:
    answer = await client.post("/workspaces/invites/create", json={"email": email, "role": role}, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def accept(client: httpx.AsyncClient, headers: dict[str, str], token: str) -> httpx.Response:
    return await client.post("/workspaces/invites/accept", json={"token": token}, headers=headers)


async def revoke(client: httpx.AsyncClient, headers: dict[str, str], invite_id: object) -> httpx.Response:
    return await client.post("/workspaces/invites/revoke", json={"invite_id": str(invite_id)}, headers=headers)


async def statuses(client: httpx.AsyncClient, person: Person) -> list[str]:
    listed = await client.get("/workspaces/invites/list", headers=person.headers)
    return [one["status"] for one in listed.json()["data"]]


def owner(person: Person) -> Context:
    return Context(person.workspace_id, person.user_id, Role.OWNER)


async def test_an_invited_person_joins_with_the_offered_role(
    client: httpx.AsyncClient, ada: Person, bob: Person, database: Database
) -> None:
    invite = await offer(client, ada.headers, " BOB@example.com ", "admin")
    lives = datetime.fromisoformat(invite["expires_at"]) - datetime.fromisoformat(invite["created_at"])
    assert (invite["email"], invite["status"], invite["invited_by"], lives) == (
        bob.email,
        "open",
        str(ada.user_id),
        WEEK,
    )
    assert invite["token"].startswith(f"dli_{ada.workspace_id.hex}_{UUID(invite['invite_id']).hex}_")
    assert (await client.get("/auth/me", headers=bob.within(ada.workspace_id))).status_code == 404
    joined = await accept(client, bob.headers, invite["token"])
    assert (joined.status_code, joined.json()["role"], joined.json()["status"]) == (200, "admin", "active")
    assert (await client.get("/auth/me", headers=bob.within(ada.workspace_id))).json()["role"] == "admin"
    listed = (await client.get("/workspaces/invites/list", headers=ada.headers)).json()["data"]
    assert [(one["status"], one["accepted_by"]) for one in listed] == [("accepted", str(bob.user_id))]
    async with database.transaction(owner(ada)) as tx:
        audit = await tx.fetch(
            "SELECT action, actor_id, correlation_id FROM datalane.audit_log ORDER BY audit_id DESC LIMIT 3"
        )
    assert [(row["action"], row["actor_id"]) for row in audit] == [
        ("invite.accepted", bob.user_id),
        ("membership.added", bob.user_id),
        ("invite.created", ada.user_id),
    ]
    assert audit[0]["correlation_id"] == audit[1]["correlation_id"] == joined.headers["x-correlation-id"]


async def test_somebody_signs_up_for_an_invite_and_joins(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp
) -> None:
    invite = await offer(client, ada.headers, "late@example.com", "viewer")
    late = await sign_up("late")
    assert (await accept(client, late.headers, invite["token"])).json()["role"] == "viewer"


async def test_an_invite_to_an_account_and_to_none_cannot_be_told_apart(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    known, unknown = [await offer(client, ada.headers, email) for email in (bob.email, "nobody@example.com")]
    assert known.keys() == unknown.keys()
    told = {"role", "status", "invited_by", "accepted_at", "accepted_by", "revoked_at"}
    assert {name: known[name] for name in told} == {name: unknown[name] for name in told}
    members = (await client.get("/workspaces/members/list", headers=ada.headers)).json()
    assert (members["total_count"], [member["email"] for member in members["data"]]) == (1, [ada.email])


async def test_to_anybody_else_an_invite_is_like_one_that_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, log: Log
) -> None:
    invite = InviteToken(ada.workspace_id, uuid4(), new_secret())
    token = (await offer(client, ada.headers, bob.email))["token"]
    eve = await sign_up("eve")
    another_workspace = token.replace(ada.workspace_id.hex, eve.workspace_id.hex)
    another_secret = f"{token[:-43]}{new_secret()}"
    tries = [
        await accept(client, eve.headers, str(invite)),
        await accept(client, eve.headers, token),
        await accept(client, ada.headers, token),
        await accept(client, bob.headers, another_workspace),
        await accept(client, bob.headers, another_secret),
        await accept(client, bob.headers, "no token at all"),
        await accept(client, bob.headers, f"{token}x"),
    ]
    assert {answer.status_code for answer in tries} == {404}
    assert len({str(without_correlation(answer)) for answer in tries}) == 1
    denied = [line for line in log.lines if line["event"] == "access_denied"]
    assert [line["denial"] for line in denied] == ["invite"] * len(tries)
    assert token.split("_", 3)[3] not in log.stream.getvalue()
    assert await statuses(client, ada) == ["open"]
    assert (await accept(client, bob.headers, token)).status_code == 200


async def test_a_closed_invite_says_why_to_its_own_address_alone(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, database: Database
) -> None:
    eve = await sign_up("eve")
    long_ago = datetime.now(UTC) - WEEK
    async with database.transaction(owner(ada)) as tx:
        old = await invites.create_invite(tx, NewInvite(email=bob.email, role="admin"), lifetime=WEEK, now=long_ago)
    revoked = await offer(client, ada.headers, bob.email)
    assert (await revoke(client, ada.headers, revoked["invite_id"])).json()["status"] == "revoked"
    used = await offer(client, ada.headers, bob.email)
    assert (await accept(client, bob.headers, used["token"])).status_code == 200
    for token, reason in ((old.token, "revoked"), (revoked["token"], "revoked"), (used["token"], "already")):
        assert token is not None
        answer = await accept(client, bob.headers, token)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert reason in answer.json()["detail"]
        assert (await accept(client, eve.headers, token)).status_code == 404


async def test_an_invite_expires_at_its_time(
    client: httpx.AsyncClient, ada: Person, bob: Person, database: Database, lane: OpenLane
) -> None:
    now = datetime.now(UTC)
    async with database.transaction(owner(ada)) as tx:
        made = await invites.create_invite(
            tx, NewInvite(email=bob.email, role="viewer"), lifetime=WEEK, now=now - WEEK + timedelta(minutes=1)
        )
    assert made.token is not None
    with pytest.raises(Conflict, match="has expired; ask for a new one"):
        await invites.accept_invite(database, bob.token, made.token, correlation_id="c", now=now + timedelta(minutes=1))
    almost = now + timedelta(seconds=59)
    joined = await invites.accept_invite(database, bob.token, made.token, correlation_id="c", now=almost)
    assert joined.user_id == bob.user_id
    short = OpenLane(lane.database, Settings(invites=InviteSettings(lifetime=timedelta(microseconds=1))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(short)), base_url="http://lane") as brief:
        await offer(brief, ada.headers, "cem@example.com")
        assert await statuses(brief, ada) == ["accepted", "expired"]


async def test_of_two_invites_to_an_address_only_the_later_counts(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    first, second = await offer(client, ada.headers, bob.email, "admin"), await offer(client, ada.headers, bob.email)
    assert (await accept(client, bob.headers, first["token"])).status_code == 409
    assert (await accept(client, bob.headers, second["token"])).json()["role"] == "member"
    assert await statuses(client, ada) == ["revoked", "accepted"]


async def test_accepted_many_times_at_once_an_invite_counts_once(
    client: httpx.AsyncClient, ada: Person, bob: Person, database: Database
) -> None:
    invite = await offer(client, ada.headers, bob.email)
    answers = await asyncio.gather(*(accept(client, bob.headers, invite["token"]) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    async with database.transaction(owner(ada)) as tx:
        count = "SELECT count(*) FROM datalane.events WHERE event_type = 'membership.added' AND subject_id = $1"
        assert await tx.fetchval(count, str(bob.user_id)) == 1


async def test_whoever_is_a_member_is_not_invited_but_changed(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    await join(ada, bob, "viewer")
    for status in ("active", "suspended"):
        change = {"user_id": str(bob.user_id), "status": status}
        await client.post("/workspaces/members/change", json=change, headers=ada.headers)
        again = {"email": bob.email, "role": "admin"}
        answer = await client.post("/workspaces/invites/create", json=again, headers=ada.headers)
        assert (answer.status_code, "member already" in answer.json()["detail"]) == (409, True)
    own = {"email": ada.email, "role": "viewer"}
    assert (await client.post("/workspaces/invites/create", json=own, headers=ada.headers)).status_code == 409


async def test_who_was_a_member_is_invited_back_and_answers(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    there = await join(ada, bob, "admin")
    bobs = {"user_id": str(bob.user_id)}

    async def standing() -> list[str]:
        members = (await client.get("/workspaces/members/list", headers=ada.headers)).json()["data"]
        return [member["status"] for member in members if member["user_id"] == str(bob.user_id)]

    await client.post("/workspaces/members/remove", json=bobs, headers=ada.headers)
    invite = await offer(client, ada.headers, bob.email, "viewer")
    assert await standing() == ["invited"]
    assert (await client.get("/auth/me", headers=there)).status_code == 404, "an invite opens nothing"
    for change in ({"status": "active"}, {"role": "admin"}):
        forced = await client.post("/workspaces/members/change", json={**bobs, **change}, headers=ada.headers)
        assert (forced.status_code, forced.json()["code"]) == (409, "illegal_transition")
    await revoke(client, ada.headers, invite["invite_id"])
    assert await standing() == []
    await offer(client, ada.headers, bob.email, "viewer")
    await client.post("/workspaces/members/remove", json=bobs, headers=ada.headers)
    assert (await standing(), await statuses(client, ada)) == ([], ["accepted", "revoked", "revoked"])
    invite = await offer(client, ada.headers, bob.email, "viewer")
    assert (await accept(client, bob.headers, invite["token"])).json()["role"] == "viewer"
    assert await standing() == ["active"]


@pytest.mark.parametrize("change", [{"role": "member"}, {"status": "suspended"}])
async def test_an_invite_counts_as_long_as_its_maker_may_invite(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, join: Join, change: dict[str, str]
) -> None:
    cem = await sign_up("cem")
    invite = await offer(client, await join(ada, bob, "admin"), cem.email, "admin")
    await client.post("/workspaces/members/change", json={"user_id": str(bob.user_id), **change}, headers=ada.headers)
    answer = await accept(client, cem.headers, invite["token"])
    assert (answer.status_code, "may no longer invite" in answer.json()["detail"]) == (409, True)


async def test_removing_a_member_revokes_the_invites_they_made(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    await offer(client, await join(ada, bob, "admin"), "cem@example.com", "admin")
    await offer(client, ada.headers, "dee@example.com")
    await client.post("/workspaces/members/remove", json={"user_id": str(bob.user_id)}, headers=ada.headers)
    assert await statuses(client, ada) == ["accepted", "revoked", "open"]


async def test_an_invite_that_was_accepted_is_not_revoked_and_revoking_twice_is_once(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    invite = await offer(client, ada.headers, bob.email)
    first, second = [await revoke(client, ada.headers, invite["invite_id"]) for _ in range(2)]
    assert first.json() == second.json()
    invite = await offer(client, ada.headers, bob.email)
    await accept(client, bob.headers, invite["token"])
    assert (await revoke(client, ada.headers, invite["invite_id"])).status_code == 409


async def test_an_invite_of_another_workspace_is_like_one_that_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    invite = await offer(client, bob.headers, "cem@example.com")
    foreign = await revoke(client, ada.headers, invite["invite_id"])
    unknown = await revoke(client, ada.headers, uuid4())
    assert without_correlation(foreign) == without_correlation(unknown)
    assert (foreign.status_code, await statuses(client, bob)) == (404, ["open"])
    assert await statuses(client, ada) == []


async def test_nobody_but_a_person_accepts(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    invite = await offer(client, ada.headers, bob.email)
    key = (await client.post("/api-keys/create", json={"name": "k"}, headers=bob.headers)).json()["key"]
    answer = await accept(client, {"Authorization": f"Bearer {key}"}, invite["token"])
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await accept(client, {}, invite["token"])).status_code == 401
    await client.post("/auth/sign-out", headers=bob.headers)
    assert (await accept(client, bob.headers, invite["token"])).status_code == 401


async def test_the_verb_believes_a_session_and_nobody(database: Database, ada: Person, bob: Person) -> None:
    """The sign-in role cannot say who accepts: it would have to know a session's token."""
    async with database.transaction(owner(ada)) as tx:
        made = await invites.create_invite(tx, NewInvite(email=bob.email, role="admin"), lifetime=WEEK)
    assert made.token is not None
    for stranger in (new_secret(), ada.token):
        with pytest.raises(Exception, match="no such invite"):
            await invites.accept_invite(database, stranger, made.token, correlation_id="c")
    with pytest.raises(Exception, match="no such invite"):
        await invites.accept_invite(
            database, bob.token, made.token, correlation_id="c", now=datetime.now(UTC) + timedelta(hours=2)
        )

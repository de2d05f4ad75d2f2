"""Signing up where it takes an invite: account and membership come together or not at all, and nobody learns anything
about an address from an invite that is not good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import psycopg
import pytest
from asyncpg.connection import LoggedQuery
from tests.integration.api.conftest import PASSWORD, Log, OpenLane, Person, SignUp, without_correlation

from datalane.api.app import create_app
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.identity import invites
from datalane.identity.schemas import NewInvite
from datalane.identity.tokens import InviteToken, new_secret
from datalane.settings import AttemptSettings, IdentitySettings, Rate, Settings
from datalane.settings import SignUp as Mode

STRANGER = "cem@example.com"
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Door:
    """The lane as an outsider meets it."""

    client: httpx.AsyncClient

    async def sign_up(self, email: str, invite: str | None = None, **fields: str) -> httpx.Response:
        given = {} if invite is None else {"invite": invite}
        account = {"email": email, "password": PASSWORD, "name": email.partition("@")[0]}
        return await self.client.post("/auth/sign-up", json={**account, **given, **fields})

    async def invite(self, owner: Person, email: str, role: str = "member") -> str:
        offer = {"email": email, "role": role}
        made = await self.client.post("/workspaces/invites/create", json=offer, headers=owner.headers)
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    async def invites_of(self, owner: Person) -> list[str]:
        listed = await self.client.get("/workspaces/invites/list", headers=owner.headers)
        return [one["status"] for one in listed.json()["data"]]


def settings(mode: Mode) -> Settings:
    often = AttemptSettings(sign_up=Rate(1_000, timedelta(seconds=1)))
    return Settings(identity=IdentitySettings(sign_up=mode), attempts=often)


async def opened(lane: OpenLane, mode: Mode) -> Door:
    app = create_app(replace(lane, settings=settings(mode)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Door(httpx.AsyncClient(transport=transport, base_url="http://lane"))


@pytest.fixture
async def door(lane: OpenLane) -> AsyncIterator[Door]:
    """Where it takes an invite; `ada` and `bob` came before that."""
    made = await opened(lane, "invite_only")
    yield made
    await made.client.aclose()


@pytest.fixture
def people(urls: Prepared) -> psycopg.Connection[tuple[int, ...]]:
    connection = psycopg.connect(urls.maintenance_url, autocommit=True)
    connection.execute("SET ROLE datalane_definer")
    return connection


def left_behind(people: psycopg.Connection[tuple[int, ...]]) -> tuple[int, ...]:
    """How many users, sessions and workspaces there are."""
    row = people.execute(
        "SELECT (SELECT count(*) FROM datalane.users), (SELECT count(*) FROM datalane.sessions), "
        "(SELECT count(*) FROM datalane.workspaces)"
    ).fetchone()
    assert row is not None
    return row


def owner(person: Person) -> Context:
    return Context(person.workspace_id, person.user_id, Role.OWNER)


async def test_without_an_invite_every_address_gets_the_same_refusal(
    door: Door, ada: Person, people: psycopg.Connection[tuple[int, ...]], log: Log
) -> None:
    before = left_behind(people)
    known, unknown = [await door.sign_up(email) for email in (ada.email, STRANGER)]
    assert without_correlation(known) == without_correlation(unknown)
    assert (known.status_code, known.json()["code"]) == (403, "forbidden")
    assert left_behind(people) == before
    assert [line["denial"] for line in log.lines if line["event"] == "access_denied"] == ["invite_required"] * 2


async def test_a_wrong_invite_leaves_nothing_behind_and_tells_nothing_of_the_address(
    door: Door, ada: Person, bob: Person, people: psycopg.Connection[tuple[int, ...]], log: Log
) -> None:
    good, used = await door.invite(ada, STRANGER), await door.invite(ada, "dia@example.com")
    assert (await door.sign_up("dia@example.com", used)).status_code == 201
    wrong = {
        "to another": await door.invite(ada, "eve@example.com"),
        "used by another": used,
        "another secret": f"{good[:-43]}{new_secret()}",
        "another workspace": good.replace(ada.workspace_id.hex, bob.workspace_id.hex),
        "unknown": str(InviteToken(ada.workspace_id, uuid4(), new_secret())),
        "malformed": "dli_of_nothing\x00",
        "a key": good.replace("dli_", "dl_"),
    }
    before, answers = left_behind(people), list[httpx.Response]()
    for token in wrong.values():
        answers += [await door.sign_up(email, token) for email in (ada.email, STRANGER)]
        assert left_behind(people) == before
        assert token[-43:] not in log.stream.getvalue()
    assert {answer.status_code for answer in answers} == {404}
    assert len({str(without_correlation(answer)) for answer in answers}) == 1
    denied = [line["denial"] for line in log.lines if line["event"] == "access_denied"]
    assert denied == ["invite"] * 2 * len(wrong)
    assert (await door.sign_up(STRANGER, good)).status_code == 201, "the good one is as good as before"


async def test_a_wrong_invite_takes_the_same_statements_for_every_address(
    lane: OpenLane, ada: Person, urls: Prepared
) -> None:
    database = await Database.connect(urls.database_url, size=1)
    asked: list[str] = []

    def note(query: LoggedQuery) -> None:
        asked.append(query.query)

    try:
        async with database.pool.acquire() as connection:
            connection.add_query_logger(note)
        door = await opened(replace(lane, database=database), "invite_only")
        wrong = str(InviteToken(ada.workspace_id, uuid4(), new_secret()))
        seen = {}
        for email in ("first@example.com", ada.email, STRANGER):
            asked.clear()
            assert (await door.sign_up(email, wrong)).status_code == 404
            seen[email] = tuple(asked)
        await door.client.aclose()
    finally:
        await database.close()
    assert any("accept_invite" in statement for statement in seen[STRANGER])
    assert seen[ada.email] == seen[STRANGER]


async def test_a_closed_invite_says_why_to_its_own_address_and_makes_no_account(
    door: Door, ada: Person, database: Database, people: psycopg.Connection[tuple[int, ...]]
) -> None:
    async with database.transaction(owner(ada)) as tx:
        offer = NewInvite(email="late@example.com", role="member")
        expired = await invites.create_invite(tx, offer, lifetime=WEEK, now=datetime.now(UTC) - WEEK)
    void, fresh = await door.invite(ada, STRANGER), await door.invite(ada, STRANGER)
    before = left_behind(people)
    for email, token, reason in (("late@example.com", expired.token, "has expired"), (STRANGER, void, "been revoked")):
        answer = await door.sign_up(email, token)
        assert (answer.status_code, reason in answer.json()["detail"]) == (409, True), answer.text
    assert left_behind(people) == before
    assert (await door.sign_up(STRANGER, fresh)).status_code == 201
    again = await door.sign_up(STRANGER, fresh)
    assert (again.status_code, again.json()["detail"]) == (409, "you have accepted this invite already")


async def test_an_invite_counts_as_long_as_its_maker_may_invite(
    door: Door, ada: Person, people: psycopg.Connection[tuple[int, ...]]
) -> None:
    admin = (await door.sign_up("admin@example.com", await door.invite(ada, "admin@example.com", "admin"))).json()
    inviter = Person("admin@example.com", admin["token"], admin["user_id"], ada.workspace_id)
    token = await door.invite(inviter, STRANGER)
    before = left_behind(people)
    demotion = {"user_id": admin["user_id"], "role": "viewer"}
    assert (await door.client.post("/workspaces/members/change", json=demotion, headers=ada.headers)).status_code == 200
    answer = await door.sign_up(STRANGER, token)
    assert (answer.status_code, "may no longer invite" in answer.json()["detail"]) == (409, True)
    assert left_behind(people) == before


async def test_an_account_that_exists_signs_in_to_accept(
    door: Door, ada: Person, bob: Person, people: psycopg.Connection[tuple[int, ...]]
) -> None:
    """Only whoever has the good invite to an address learns that it has an account."""
    token = await door.invite(ada, bob.email)
    before = left_behind(people)
    taken = await door.sign_up(bob.email, token, password="a password of somebody else")
    assert (taken.status_code, "sign in and accept the invite" in taken.json()["detail"]) == (409, True)
    assert left_behind(people) == before
    assert await door.invites_of(ada) == ["open"]
    again = await door.client.post("/auth/sign-in", json={"email": bob.email, "password": PASSWORD})
    assert again.status_code == 200
    accepted = await door.client.post("/workspaces/invites/accept", json={"token": token}, headers=bob.headers)
    assert accepted.status_code == 200


async def test_of_racing_sign_ups_with_one_invite_one_makes_the_account(
    door: Door, ada: Person, people: psycopg.Connection[tuple[int, ...]]
) -> None:
    token, before = await door.invite(ada, STRANGER), left_behind(people)
    answers = await asyncio.gather(*(door.sign_up(STRANGER, token) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert {answer.json()["detail"] for answer in answers if answer.status_code == 409} == {
        "you have accepted this invite already"
    }
    assert left_behind(people) == tuple(count + 1 for count in before)


async def test_a_wrong_invite_that_races_with_the_good_one_learns_nothing(door: Door, ada: Person) -> None:
    good, wrong = await door.invite(ada, STRANGER), str(InviteToken(ada.workspace_id, uuid4(), new_secret()))
    answers = await asyncio.gather(*(door.sign_up(STRANGER, token) for token in (wrong, good, wrong, wrong)))
    assert [answer.status_code for answer in answers] == [404, 201, 404, 404]


async def test_of_racing_invites_of_two_workspaces_one_makes_the_account_and_the_other_stays_open(
    door: Door, ada: Person, bob: Person
) -> None:
    tokens = [await door.invite(person, STRANGER) for person in (ada, bob)]
    answers = await asyncio.gather(*(door.sign_up(STRANGER, token) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert sorted([await door.invites_of(ada), await door.invites_of(bob)]) == [["accepted"], ["open"]]


async def test_who_is_invited_signs_up_into_the_workspace_of_the_invite(
    door: Door, ada: Person, database: Database
) -> None:
    answer = await door.sign_up(" CEM@example.com ", await door.invite(ada, STRANGER, "viewer"))
    session = answer.json()
    assert (answer.status_code, session["workspace_id"]) == (201, str(ada.workspace_id))
    headers = {"Authorization": f"Bearer {session['token']}"}
    me = (await door.client.get("/auth/me", headers=headers)).json()
    assert (me["email"], me["workspace_id"], me["role"]) == (STRANGER, str(ada.workspace_id), "viewer")
    own = (await door.client.get("/workspaces/list", headers=headers)).json()["data"]
    assert [workspace["role"] for workspace in own] == ["viewer", "owner"]
    signed_in = await door.client.post("/auth/sign-in", json={"email": STRANGER, "password": PASSWORD})
    assert signed_in.json()["workspace_id"] == str(ada.workspace_id)
    async with database.transaction(owner(ada)) as tx:
        audit = await tx.fetch(
            "SELECT action, actor_id::text, correlation_id FROM datalane.audit_log ORDER BY audit_id DESC LIMIT 2"
        )
    by = (session["user_id"], answer.headers["x-correlation-id"])
    assert [tuple(row) for row in audit] == [("invite.accepted", *by), ("membership.added", *by)]


async def test_where_signing_up_is_open_an_invite_is_accepted_too_or_nothing_is_made(
    lane: OpenLane, ada: Person, people: psycopg.Connection[tuple[int, ...]]
) -> None:
    door = await opened(lane, "open")
    good, wrong = await door.invite(ada, STRANGER), str(InviteToken(ada.workspace_id, uuid4(), new_secret()))
    before = left_behind(people)
    assert [(await door.sign_up(email, wrong)).status_code for email in (STRANGER, ada.email)] == [404, 404]
    assert (await door.sign_up(ada.email)).status_code == 409
    assert left_behind(people) == before
    assert (await door.sign_up(STRANGER, good)).json()["workspace_id"] == str(ada.workspace_id)
    await door.client.aclose()


async def test_where_signing_up_is_closed_no_invite_opens_it(lane: OpenLane, ada: Person) -> None:
    door = await opened(lane, "closed")
    good = await door.invite(ada, STRANGER)
    assert [(await door.sign_up(STRANGER, invite)).status_code for invite in (None, good)] == [403, 403]
    assert await door.invites_of(ada) == ["open"]
    await door.client.aclose()


async def test_trying_invites_out_is_limited(lane: OpenLane, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    tight = Settings(
        identity=IdentitySettings(sign_up="invite_only"), attempts=AttemptSettings(sign_up=Rate(2, timedelta(hours=1)))
    )
    app = create_app(replace(lane, settings=tight))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://lane") as client:
        wrong = str(InviteToken(ada.workspace_id, uuid4(), new_secret()))
        statuses = [(await Door(client).sign_up(STRANGER, wrong)).status_code for _ in range(2)]
    assert 429 in statuses

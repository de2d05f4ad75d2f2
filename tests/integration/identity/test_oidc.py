"""Exchanging ID tokens for sessions: whose account it is."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from tests.integration.identity.issuer import LocalIssuer
from tests.integration.identity.test_id_tokens import AUDIENCE, NAME, NOON, claims

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.migrate import downgrade, upgrade
from datalane.db.provision import Prepared
from datalane.errors import Conflict, Forbidden, Unauthenticated
from datalane.identity import accounts
from datalane.identity.oidc import IdTokens, exchange_id_token
from datalane.identity.passwords import at_usual_cost, hash_password
from datalane.identity.schemas import Credentials, FederatedSession, IdTokenExchange, NewAccount, Session
from datalane.settings import Issuer, OidcSettings, SessionSettings

SESSIONS = SessionSettings()
PASSWORD = "correct horse battery"
OTHER = "https://other.example"


@pytest.fixture
def tokens(issuer: LocalIssuer) -> IdTokens:
    """Two issuers, whose tokens the same process signs."""
    entries = (Issuer(issuer=name, audience=AUDIENCE, jwks_url=issuer.keys_url) for name in (NAME, OTHER))
    return IdTokens(OidcSettings(issuers=tuple(entries)))


class Front:
    """The door of the lane for holders of ID tokens."""

    def __init__(self, database: Database, issuer: LocalIssuer, tokens: IdTokens) -> None:
        self.database, self.issuer, self.tokens = database, issuer, tokens

    async def enter(self, **changes: Any) -> FederatedSession:
        given = IdTokenExchange(id_token=self.issuer.sign(claims(**changes)))
        return await exchange_id_token(
            self.database, self.tokens, given, sessions=SESSIONS, correlation_id="entering", sign_up="open", now=NOON
        )

    async def sign_up(self) -> Session:
        account = NewAccount(email="ada@example.com", password=PASSWORD, name="Ada")
        return await accounts.sign_up(self.database, account, sessions=SESSIONS, correlation_id="c", now=NOON)


@pytest.fixture
def front(database: Database, issuer: LocalIssuer, tokens: IdTokens) -> Front:
    return Front(database, issuer, tokens)


async def test_somebody_new_gets_an_account_with_a_workspace_and_no_password(front: Front) -> None:
    entered = await front.enter()
    identity = await accounts.authenticate(front.database, entered.token, now=NOON)
    me = await accounts.describe(front.database, identity)
    assert (entered.outcome, me.email, me.name, me.role) == ("created_new", "ada@example.com", "Ada", Role.OWNER)
    assert me.workspace_id == entered.workspace_id
    for password in (PASSWORD, "", "None"):
        with pytest.raises(Unauthenticated, match="e-mail address or the password"):
            await accounts.sign_in(
                front.database,
                Credentials.model_construct(email="ada@example.com", password=password),
                sessions=SESSIONS,
            )


async def test_trying_a_password_where_there_is_none_takes_the_same_work(front: Front) -> None:
    await front.enter()
    async with front.database.sign_in_door() as tx:
        stored = await tx.fetchval("SELECT password_hash FROM datalane.find_login('ada@example.com')")
    with at_usual_cost():
        usual = await hash_password("x")
    assert stored.rsplit("$", 2)[0] == usual.rsplit("$", 2)[0], "the same Argon2 parameters"


async def test_coming_again_is_the_same_account_whatever_the_address_is_now(front: Front) -> None:
    first = await front.enter()
    for changes in ({}, {"email": "moved@example.com"}, {"email_verified": False}, {"email": None, "name": None}):
        again = await front.enter(**changes)
        assert (again.outcome, again.user_id) == ("linked_existing", first.user_id)


async def test_the_same_subject_of_another_issuer_is_somebody_else(front: Front) -> None:
    ada = await front.enter()
    other = await front.enter(iss=OTHER, email="eve@example.com")
    assert (other.outcome, other.user_id == ada.user_id) == ("created_new", False)
    with pytest.raises(Forbidden):
        await front.enter(iss=OTHER, sub="another", email_verified=False)


async def test_another_issuer_that_vouches_for_the_address_is_linked(front: Front) -> None:
    ada = await front.enter()
    linked = await front.enter(iss=OTHER, sub="ada-there")
    assert (linked.outcome, linked.user_id) == ("linked_existing", ada.user_id)


@pytest.mark.parametrize("changes", [{"email_verified": False}, {"email_verified": None}, {"email": None}])
async def test_an_unverified_address_neither_links_nor_makes_an_account(
    front: Front, urls: Prepared, changes: dict[str, Any]
) -> None:
    ada = await front.sign_up()
    with pytest.raises(Forbidden, match="does not vouch") as refused:
        await front.enter(**changes)
    assert refused.value.denial == "email_unverified"
    assert (await accounts.authenticate(front.database, ada.token, now=NOON)).user_id == ada.user_id
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        assert connection.execute("SELECT count(*) FROM datalane.user_identities").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM datalane.users").fetchone() == (1,)


async def test_an_account_that_somebody_made_in_advance_is_the_owners_after_linking(front: Front) -> None:
    """Whoever signs up under another's address must not stay inside when the owner of the address comes."""
    planted = await front.sign_up()
    owner = await front.enter()
    assert (owner.outcome, owner.user_id) == ("linked_existing", planted.user_id)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(front.database, planted.token, now=NOON)
    with pytest.raises(Unauthenticated):
        await accounts.sign_in(
            front.database, Credentials(email="ada@example.com", password=PASSWORD), sessions=SESSIONS, now=NOON
        )
    again = await front.enter()
    assert (await accounts.authenticate(front.database, owner.token, now=NOON)).user_id == again.user_id
    assert owner.workspace_id is not None
    async with front.database.transaction(Context(owner.workspace_id, owner.user_id, Role.OWNER)) as tx:
        records = await tx.fetch("SELECT after FROM datalane.audit_records WHERE action = 'identity.linked'")
    assert [record["after"] for record in records] == [{"issuer": NAME}]


async def test_an_address_that_went_to_another_person_does_not_take_the_account_along(front: Front) -> None:
    ada = await front.enter()
    with pytest.raises(Conflict, match="another identity"):
        await front.enter(sub="the next holder of the address")
    assert (await front.enter()).user_id == ada.user_id


async def test_racing_first_entries_make_one_account(front: Front) -> None:
    entered = await asyncio.gather(*(front.enter() for _ in range(6)))
    assert len({session.user_id for session in entered}) == 1
    assert sorted(session.outcome for session in entered) == ["created_new"] + ["linked_existing"] * 5


async def test_racing_issuers_that_vouch_for_one_address_make_one_account(front: Front) -> None:
    entered = await asyncio.gather(*(front.enter(iss=name) for name in (NAME, OTHER)))
    assert {session.outcome for session in entered} == {"created_new", "linked_existing"}
    assert len({session.user_id for session in entered}) == 1


async def test_going_back_a_revision_keeps_accounts_that_have_no_password(front: Front, urls: Prepared) -> None:
    ada = await front.enter()
    await front.database.close()
    downgrade(urls.maintenance_url, revision="0005")
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        stored = connection.execute("SELECT user_id, password_hash FROM datalane.users").fetchall()
    upgrade(urls.maintenance_url)
    assert [row[0] for row in stored] == [ada.user_id]
    database = await Database.connect(urls.database_url)
    try:
        with pytest.raises(Unauthenticated, match="e-mail address or the password"):
            await accounts.sign_in(
                database, Credentials(email="ada@example.com", password=PASSWORD), sessions=SESSIONS, now=NOON
            )
    finally:
        await database.close()

"""Accounts and sessions against the real database, as the login role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from datalane.identity import accounts, passwords
from datalane.identity.schemas import Credentials, NewAccount, Session
from datalane.identity.tokens import digest, new_secret
from datalane.kit.ids import uuid7
from datalane.settings import SessionSettings

SESSIONS = SessionSettings()
PASSWORD = "correct horse battery"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


async def sign_up(database: Database, email: str = "ada@example.com", now: datetime | None = None) -> Session:
    account = NewAccount(email=email, password=PASSWORD, name="Ada", workspace_name="Engines")
    return await accounts.sign_up(database, account, sessions=SESSIONS, correlation_id="signing-up", now=now)


async def test_signing_up_makes_the_user_the_owner_of_a_first_workspace(database: Database) -> None:
    session = await sign_up(database)
    identity = await accounts.authenticate(database, session.token)
    assert identity.workspace_id == session.workspace_id
    assert identity.role is Role.OWNER
    assert identity.actor_id == session.user_id
    assert identity.auth_method == "session"


async def test_signing_up_leaves_audit_records_and_events_with_the_correlation_id(database: Database) -> None:
    session = await sign_up(database)
    assert session.workspace_id is not None
    async with database.transaction(Context(session.workspace_id, session.user_id, Role.OWNER)) as tx:
        audit = await tx.fetch("SELECT action, actor_id, correlation_id FROM datalane.audit_log ORDER BY audit_id")
        events = await tx.fetch("SELECT event_type, correlation_id FROM datalane.events ORDER BY event_id")
    assert [tuple(row) for row in audit] == [
        ("workspace.created", session.user_id, "signing-up"),
        ("membership.added", session.user_id, "signing-up"),
    ]
    assert [tuple(row) for row in events] == [("workspace.created", "signing-up"), ("membership.added", "signing-up")]


async def test_an_address_has_one_account_in_any_case(database: Database) -> None:
    await sign_up(database, "ada@example.com")
    with pytest.raises(Conflict, match="exists"):
        await sign_up(database, " ADA@Example.com ")


async def test_a_short_password_is_refused_naming_the_limit(database: Database) -> None:
    account = NewAccount(email="a@example.com", password="short", name="A")
    with pytest.raises(InvalidInput, match="10 to 1000 characters"):
        await accounts.sign_up(database, account, sessions=SESSIONS, correlation_id="c")


async def test_signing_in_takes_the_right_password(database: Database) -> None:
    made = await sign_up(database)
    session = await accounts.sign_in(
        database, Credentials(email="Ada@example.com", password=PASSWORD), sessions=SESSIONS
    )
    assert (session.user_id, session.workspace_id) == (made.user_id, made.workspace_id)
    assert session.token != made.token


async def test_an_unknown_address_and_a_wrong_password_cannot_be_told_apart(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_up(database)
    verified: list[str] = []
    verify = passwords._hasher.verify

    def recorded(password: str, stored: str) -> bool:
        verified.append(stored)
        return verify(password, stored)

    monkeypatch.setattr(passwords._hasher, "verify", recorded)
    messages = []
    for email in ("ada@example.com", "nobody@example.com"):
        with pytest.raises(Unauthenticated) as refused:
            await accounts.sign_in(database, Credentials(email=email, password="wrong password"), sessions=SESSIONS)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert len(verified) == 2
    assert verified[0].rsplit("$", 2)[0] == verified[1].rsplit("$", 2)[0], "the same Argon2 parameters"


async def test_a_session_ends_when_its_time_has_come(database: Database) -> None:
    session = await sign_up(database, now=NOON)
    assert session.expires_at == NOON + timedelta(hours=1)
    almost = NOON + timedelta(minutes=59, seconds=59)
    assert (await accounts.authenticate(database, session.token, now=almost)).user_id == session.user_id
    with pytest.raises(Unauthenticated, match="expired"):
        await accounts.authenticate(database, session.token, now=session.expires_at)


async def test_expired_sessions_go_when_the_user_signs_in_again(database: Database, urls: Prepared) -> None:
    await sign_up(database, now=NOON)
    later = NOON + SESSIONS.refresh
    await accounts.sign_in(
        database, Credentials(email="ada@example.com", password=PASSWORD), sessions=SESSIONS, now=later
    )
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        row = connection.execute("SELECT count(*), min(created_at) FROM datalane.sessions").fetchone()
    assert row == (1, later)


async def test_only_hashes_of_the_tokens_are_stored(database: Database, urls: Prepared) -> None:
    session = await sign_up(database)
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        rows = connection.execute("SELECT s::text, s.token_hash FROM datalane.sessions s").fetchall()
        users = connection.execute("SELECT u::text FROM datalane.users u").fetchall()
    assert [row[1] for row in rows] == [digest(session.token)]
    assert session.token not in rows[0][0]
    assert not any(part in rows[0][0] for part in session.refresh_token.split("_") if len(part) > 8)
    assert PASSWORD not in users[0][0]
    assert "$argon2id$" in users[0][0]


@pytest.mark.parametrize(
    "bearer", ["", "x", "dl_", "a" * 43, f"dl_{'0' * 32}_{'0' * 32}_{'A' * 43}", "ü" * 43, "'; DROP TABLE users; --"]
)
async def test_a_token_that_is_not_ours_is_refused(database: Database, bearer: str) -> None:
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(database, bearer)


async def test_a_foreign_workspace_and_an_unknown_one_look_the_same(database: Database) -> None:
    ada, bob = await sign_up(database), await sign_up(database, "bob@example.com")
    messages = []
    for workspace_id in (bob.workspace_id, uuid7()):
        with pytest.raises(NotFound) as missing:
            await accounts.authenticate(database, ada.token, workspace_id)
        messages.append(str(missing.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("table", ["users", "user_identities", "sessions", "attempt_buckets", "api_keys"])
async def test_not_even_an_owner_reads_the_tables_of_secrets(database: Database, table: str) -> None:
    session = await sign_up(database)
    assert session.workspace_id is not None
    with pytest.raises(Forbidden, match="permission denied"):
        async with database.transaction(Context(session.workspace_id, session.user_id, Role.OWNER)) as tx:
            await tx.fetch(f"SELECT FROM datalane.{table}")


@pytest.mark.parametrize(
    "call",
    ["find_login('ada@example.com')", f"my_workspaces('{UUID(int=1)}')", "sign_up('a@b.c', 'n', 'h', 'w', 'c')"],
)
async def test_without_the_door_the_login_may_only_look_up_what_it_has_a_secret_for(
    database: Database, call: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with await psycopg.AsyncConnection.connect(database.url) as connection:
            await connection.execute(f"SELECT * FROM datalane.{call}".encode())
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(database, new_secret())

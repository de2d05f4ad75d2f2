"""Sign-in has a role of its own: who may ask for a password hash stands in front of every workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import psycopg
import pytest
from tests.tenancy.catalog import Table, Verb, tables, verbs

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, Forbidden
from datalane.identity import accounts
from datalane.identity.schemas import NewAccount, Session
from datalane.settings import SessionSettings

SIGN_IN = {
    "datalane.accept_invite",
    "datalane.create_workspace_for",
    "datalane.end_sessions",
    "datalane.enter_by_identity",
    "datalane.find_api_key",
    "datalane.find_login",
    "datalane.find_session",
    "datalane.list_sessions",
    "datalane.my_account",
    "datalane.my_workspaces",
    "datalane.refresh_session",
    "datalane.sign_up",
    "datalane.start_session",
    "datalane.take_attempt",
    "datalane.trust_attempt",
}
"""What is called before it is known who asks: each takes that as an argument, or takes a secret for it."""
LOOK_UPS = {"datalane.find_api_key", "datalane.find_session"}
"""Need a secret to answer anything, so the login may call them in one round trip."""


@pytest.fixture
async def signin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.direct_connection(database.roles.signin)
    yield connection
    await connection.close()


@pytest.fixture
async def app(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The app role without a workspace."""
    connection = await database.direct_connection(database.roles.app)
    yield connection
    await connection.close()


@pytest.fixture
async def known_tables(login: asyncpg.Connection) -> list[Table]:
    found = await tables(login)
    assert len(found) > 30
    return found


@pytest.fixture
async def known_verbs(login: asyncpg.Connection) -> list[Verb]:
    found = await verbs(login)
    assert len(found) > 50
    return found


@pytest.fixture
async def ada(database: Database) -> Session:
    """Somebody with an account and a workspace."""
    account = NewAccount(email="ada@example.com", password="correct horse battery", name="Ada")
    return await accounts.sign_up(database, account, sessions=SessionSettings(), correlation_id="signing-up")


def owner_of(session: Session, role: Role = Role.OWNER) -> Context:
    assert session.workspace_id is not None
    return Context(session.workspace_id, session.user_id, role)


def test_nobody_but_the_sign_in_role_calls_its_verbs(known_verbs: list[Verb]) -> None:
    for verb in known_verbs:
        if verb.name in SIGN_IN:
            also = {"datalane"} if verb.name in LOOK_UPS else set()
            assert verb.callers == {"datalane_signin"} | also, verb.name
            assert verb.definer, verb.name
        else:
            assert "datalane_signin" not in verb.callers, verb.name
    assert {verb.name for verb in known_verbs} >= SIGN_IN


@pytest.mark.parametrize("role", list(Role))
async def test_no_role_inside_a_workspace_calls_a_verb_of_sign_in(
    known_verbs: list[Verb], database: Database, ada: Session, role: Role
) -> None:
    for verb in known_verbs:
        if verb.name in SIGN_IN:
            with pytest.raises(Forbidden, match="permission denied for function"):
                async with database.transaction(owner_of(ada, role)) as tx:
                    await tx.execute(verb.call)


async def test_not_even_an_owner_reads_a_password_hash_or_makes_a_session(database: Database, ada: Session) -> None:
    forged = f"SELECT datalane.start_session('{ada.user_id}', sha256('mine'), interval '1 hour')"
    for attack in ("SELECT password_hash FROM datalane.find_login('ada@example.com')", forged):
        with pytest.raises(Forbidden, match="permission denied for function"):
            async with database.transaction(owner_of(ada)) as tx:
                await tx.execute(attack)


async def test_what_the_app_role_may_call_asks_the_door_who_is_asking(
    known_verbs: list[Verb], app: asyncpg.Connection
) -> None:
    """A verb that answers without a door has been told by its caller who is asking: it belongs to sign-in."""
    asked = [verb for verb in known_verbs if verb.definer and "datalane_app" in verb.callers]
    assert len(asked) > 20
    for verb in asked:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await app.fetch(verb.call)
        assert (refused.value.sqlstate, verb.name) == ("DL403", verb.name)
        assert "no workspace" in str(refused.value)


async def test_the_sign_in_role_sees_no_table(known_tables: list[Table], signin: asyncpg.Connection) -> None:
    for table in known_tables:
        writes = ("DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES") if table.policy_class != "view" else ()
        for statement in ("SELECT FROM {}", *writes):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await signin.fetch(statement.format(table.name))


async def test_the_sign_in_role_calls_no_other_verb(known_verbs: list[Verb], signin: asyncpg.Connection) -> None:
    others = [verb for verb in known_verbs if verb.name not in SIGN_IN]
    assert len(others) > 50
    for verb in others:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await signin.execute(verb.call)


async def test_only_the_login_steps_into_the_sign_in_role_and_it_leads_nowhere(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT r.rolname, m.rolname, a.inherit_option, a.admin_option FROM pg_auth_members a
           JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
           WHERE 'datalane_signin' IN (r.rolname, m.rolname) AND NOT m.rolsuper"""
    )
    assert [tuple(row) for row in rows] == [("datalane_signin", "datalane", False, False)]
    assert not await login.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'datalane_signin'")


@pytest.mark.parametrize(
    "step", ["SET LOCAL ROLE datalane_signin", "SELECT set_config('role', 'datalane_signin', true)"]
)
async def test_the_limit_is_sql_that_changes_its_role_for_the_login_may(
    database: Database, ada: Session, step: str
) -> None:
    async with database.transaction(owner_of(ada, Role.VIEWER)) as tx:
        await tx.execute(step)
        found = await tx.fetchrow("SELECT user_id FROM datalane.find_login('ada@example.com')")
    assert found is not None
    assert found["user_id"] == ada.user_id


async def test_a_door_whose_role_is_missing_says_what_makes_it(urls: Prepared, context: Context) -> None:
    database = await Database.connect(urls.database_url, Roles("absent"))
    try:
        with pytest.raises(ConfigurationError, match=r'"absent_signin" does not exist.*`datalane init`'):
            async with database.sign_in_door():
                pytest.fail("the door opened")
        with pytest.raises(ConfigurationError, match=r'"absent_app" does not exist.*`datalane init`'):
            async with database.transaction(context):
                pytest.fail("the door opened")
        with pytest.raises(ConfigurationError, match=r'"absent_worker" does not exist.*`datalane init`'):
            await database.direct_connection(database.roles.worker)
        assert await database.pool.fetchval("SELECT 1") == 1
    finally:
        await database.close()


async def test_a_door_whose_role_is_not_the_logins_says_what_grants_it(
    cluster: EmbeddedPostgres, urls: Prepared
) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE strange_signin NOLOGIN")
        database = await Database.connect(urls.database_url, Roles("strange"))
        try:
            with pytest.raises(ConfigurationError, match=r'set role "strange_signin".*`datalane init`'):
                async with database.sign_in_door():
                    pytest.fail("the door opened")
        finally:
            await database.close()
            superuser.execute("DROP ROLE strange_signin")

"""Refreshing, reusing, listing and ending sessions, against the real database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.maintenance import run_once
from datalane.errors import NotFound, Unauthenticated
from datalane.identity import accounts, sessions
from datalane.identity.schemas import Credentials, NewAccount, Session
from datalane.identity.tokens import RefreshToken, parse_refresh
from datalane.settings import Limits, Retention, SessionSettings

SESSIONS = SessionSettings()
PASSWORD = "correct horse battery"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ANOMALIES = "SELECT payload, correlation_id FROM datalane.events WHERE event_type = 'security.anomaly'"


@pytest.fixture
async def ada(database: Database) -> Session:
    account = NewAccount(email="ada@example.com", password=PASSWORD, name="Ada")
    return await accounts.sign_up(database, account, sessions=SESSIONS, correlation_id="signing-up", now=NOON)


async def sign_in(database: Database, now: datetime = NOON) -> Session:
    credentials = Credentials(email="ada@example.com", password=PASSWORD)
    return await accounts.sign_in(database, credentials, sessions=SESSIONS, now=now)


async def refresh(database: Database, token: str, now: datetime = NOON) -> Session:
    return await sessions.refresh_session(database, token, sessions=SESSIONS, correlation_id="refreshing", now=now)


async def works(database: Database, session: Session, now: datetime = NOON) -> bool:
    try:
        return (await accounts.authenticate(database, session.token, now=now)).session_id == session.session_id
    except Unauthenticated:
        return False


async def anomalies(database: Database, session: Session) -> list[tuple[str, ...]]:
    """What the workspace of the session's user was told, as (kind, session, correlation)."""
    assert session.workspace_id is not None
    async with database.transaction(Context(session.workspace_id, session.user_id, Role.OWNER)) as tx:
        rows = await tx.fetch(ANOMALIES)
    return [(row["payload"]["kind"], row["payload"]["session_id"], row["correlation_id"]) for row in rows]


async def test_a_refresh_exchanges_both_tokens_and_stays_the_same_session(database: Database, ada: Session) -> None:
    later = NOON + timedelta(minutes=50)
    fresh = await refresh(database, ada.refresh_token, later)
    assert (fresh.session_id, fresh.user_id, fresh.workspace_id) == (ada.session_id, ada.user_id, ada.workspace_id)
    assert {fresh.token, fresh.refresh_token}.isdisjoint({ada.token, ada.refresh_token})
    assert (fresh.expires_at, fresh.refresh_expires_at) == (later + timedelta(hours=1), later + timedelta(days=30))
    assert await works(database, fresh, later)
    assert not await works(database, ada, later), "the former access token has stopped"


async def test_a_session_lives_on_by_refreshing_after_its_access_token_has_expired(
    database: Database, ada: Session
) -> None:
    for week in range(1, 9):
        ada = await refresh(database, ada.refresh_token, NOON + timedelta(weeks=week))
    assert await works(database, ada, NOON + timedelta(weeks=8))


async def test_a_replayed_refresh_token_ends_the_whole_session_and_is_reported(
    database: Database, ada: Session
) -> None:
    stolen = ada.refresh_token
    first = await refresh(database, stolen)
    second = await refresh(database, first.refresh_token)
    other = await sign_in(database)
    with pytest.raises(Unauthenticated, match="sign in again"):
        await refresh(database, stolen)
    assert not await works(database, second)
    with pytest.raises(Unauthenticated):
        await refresh(database, second.refresh_token)
    assert await works(database, other), "other sessions of the user go on"
    assert await anomalies(database, ada) == [("refresh_token_reused", str(ada.session_id), "refreshing")]


async def test_a_reused_token_is_reported_once_and_leaves_an_audit_record(database: Database, ada: Session) -> None:
    fresh = await refresh(database, ada.refresh_token)
    for token in (ada.refresh_token, ada.refresh_token, fresh.refresh_token):
        with pytest.raises(Unauthenticated):
            await refresh(database, token)
    assert len(await anomalies(database, ada)) == 1
    assert ada.workspace_id is not None
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        row = await tx.fetchrow(
            "SELECT actor_id, resource_id, after FROM datalane.audit_records WHERE action = 'security.anomaly'"
        )
    assert row is not None
    assert (row["actor_id"], row["resource_id"]) == (UUID(int=0), str(ada.session_id))
    assert row["after"]["user_id"] == str(ada.user_id)


async def test_of_racing_refreshes_exactly_one_wins_and_the_session_ends(database: Database, ada: Session) -> None:
    racing = [refresh(database, ada.refresh_token) for _ in range(8)]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    (winner,) = [answer for answer in answers if isinstance(answer, Session)]
    assert [type(answer) for answer in answers].count(Unauthenticated) == 7
    assert not await works(database, winner), "nobody can tell the thief from the client"
    assert len(await anomalies(database, ada)) == 1


async def test_a_refresh_racing_a_sign_out_does_not_outlive_it(database: Database, ada: Session) -> None:
    fresh, ended = await asyncio.gather(
        refresh(database, ada.refresh_token),
        sessions.end_sessions(database, ada.user_id, "signed_out", ada.session_id, now=NOON),
        return_exceptions=True,
    )
    assert ended == 1
    assert isinstance(fresh, Unauthenticated) or not await works(database, fresh)  # type: ignore[arg-type]
    assert not await works(database, ada)


@pytest.mark.parametrize(
    "forged",
    ["", "x", "A" * 43, f"dlr_{'A' * 43}_{'A' * 43}", f"dlr_{'A' * 43}_{'A' * 44}", "dlr_ü", "'; DROP TABLE users; --"],
)
async def test_a_refresh_token_that_is_not_ours_is_refused(database: Database, ada: Session, forged: str) -> None:
    with pytest.raises(Unauthenticated, match="unknown, expired or used"):
        await refresh(database, forged)
    assert await works(database, ada)


async def test_neither_half_of_a_refresh_token_opens_anything(database: Database, ada: Session) -> None:
    seen = parse_refresh(ada.refresh_token)
    assert seen is not None
    with pytest.raises(Unauthenticated):
        await refresh(database, str(RefreshToken("B" * 43, seen.rotation)))
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(database, ada.refresh_token, now=NOON)
    with pytest.raises(Unauthenticated):
        await refresh(database, ada.token)
    assert await works(database, ada)
    with pytest.raises(Unauthenticated):
        await refresh(database, str(RefreshToken(seen.family, "B" * 43)))
    assert not await works(database, ada), "only who held a token of the session knows its first half"


async def test_a_refresh_token_stops_at_its_time_and_its_replay_then_tells_nothing(
    database: Database, ada: Session
) -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        await refresh(database, ada.refresh_token, ada.refresh_expires_at)
    assert await anomalies(database, ada) == []


async def test_all_refusals_read_the_same(database: Database, ada: Session) -> None:
    fresh = await refresh(database, ada.refresh_token)
    refusals = set()
    for token, now in (
        (f"dlr_{'A' * 43}_{'A' * 43}", NOON),
        (fresh.refresh_token, fresh.refresh_expires_at),
        (ada.refresh_token, NOON),
        (fresh.refresh_token, NOON),
    ):
        with pytest.raises(Unauthenticated) as refused:
            await refresh(database, token, now)
        refusals.add(str(refused.value))
    assert len(refusals) == 1


async def test_ending_one_session_stops_both_its_tokens_and_no_other(database: Database, ada: Session) -> None:
    other = await sign_in(database)
    assert await sessions.end_sessions(database, ada.user_id, "signed_out", ada.session_id, now=NOON) == 1
    assert await sessions.end_sessions(database, ada.user_id, "signed_out", ada.session_id, now=NOON) == 0
    assert not await works(database, ada)
    with pytest.raises(Unauthenticated):
        await refresh(database, ada.refresh_token)
    assert await works(database, other)
    assert await anomalies(database, ada) == []


async def test_ending_everywhere_ends_all_of_one_user_only(database: Database, ada: Session) -> None:
    bob = await accounts.sign_up(
        database,
        NewAccount(email="bob@example.com", password=PASSWORD, name="Bob"),
        sessions=SESSIONS,
        correlation_id="c",
        now=NOON,
    )
    others = [await sign_in(database) for _ in range(2)]
    assert await sessions.end_sessions(database, ada.user_id, "signed_out_everywhere", now=NOON) == 3
    assert not any([await works(database, session) for session in (ada, *others)])
    assert await works(database, bob)
    assert (await sessions.list_sessions(database, ada.user_id, None, now=NOON)).data == []


async def test_the_list_shows_open_sessions_newest_first_and_in_pages(database: Database, ada: Session) -> None:
    second, third = await sign_in(database), await sign_in(database)
    later = NOON + timedelta(hours=2)
    await refresh(database, second.refresh_token, later)
    await sessions.revoke_session(database, ada.user_id, ada.session_id, now=NOON)
    listed = await sessions.list_sessions(database, ada.user_id, second.session_id, page_size=1, now=later)
    rest = await sessions.list_sessions(database, ada.user_id, None, cursor=listed.next_cursor, page_size=1, now=later)
    assert [(each.session_id, each.refreshed_at, each.current) for each in (*listed.data, *rest.data)] == [
        (third.session_id, None, False),
        (second.session_id, later, False),
    ]
    assert rest.next_cursor is None
    assert {each.created_at for each in listed.data} == {NOON}


async def test_somebody_elses_session_is_like_one_that_does_not_exist(database: Database, ada: Session) -> None:
    bob = await accounts.sign_up(
        database,
        NewAccount(email="bob@example.com", password=PASSWORD, name="Bob"),
        sessions=SESSIONS,
        correlation_id="c",
        now=NOON,
    )
    for session_id in (ada.session_id, UUID(int=7)):
        with pytest.raises(NotFound, match="no such session"):
            await sessions.revoke_session(database, bob.user_id, session_id, now=NOON)
    assert await works(database, ada)


async def test_maintenance_forgets_sessions_past_their_last_moment(
    database: Database, urls: Prepared, ada: Session
) -> None:
    ended = await sign_in(database)
    await sessions.revoke_session(database, ada.user_id, ended.session_id, now=NOON)
    connection = await asyncpg.connect(urls.maintenance_url)
    try:
        early = await run_once(connection, ada.refresh_expires_at - timedelta(seconds=1), Retention(), Limits())
        late = await run_once(connection, ada.refresh_expires_at, Retention(), Limits())
    finally:
        await connection.close()
    assert (early.sessions_forgotten, late.sessions_forgotten) == (0, 2)

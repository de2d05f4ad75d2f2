"""Sessions: families of tokens that are refreshed, listed and ended.

A session has one access token and one refresh token at a time. A refresh exchanges both, in one statement; the former
access token stops. A refresh token that comes a second time has been stolen, or its thief was faster: either way the
whole session ends at once, the workspaces of its user get a `security.anomaly`, and everybody signs in again. There is
no grace for a client that did not hear its answer, because a thief cannot be told from it: it signs in again too.

These run before a context exists, through the sign-in door.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import NotFound, Unauthenticated
from datalane.identity.queries import queries
from datalane.identity.schemas import OpenSession, OpenSessions, Session
from datalane.identity.tokens import RefreshToken, digest, new_secret, parse_refresh
from datalane.kit.logs import get_logger
from datalane.settings import SessionSettings

EndReason = Literal["signed_out", "signed_out_everywhere", "revoked"]
_REFUSED = "the refresh token is unknown, expired or used; sign in again"

log = get_logger(__name__)


async def begin_session(
    database: Database,
    user_id: UUID,
    workspace_id: UUID | None,
    sessions: SessionSettings,
    now: datetime | None = None,
) -> Session:
    """A session of a user who was identified just now. It acts in `workspace_id`, or in the oldest membership."""
    async with database.sign_in_door() as tx:
        return await start_session(tx, user_id, workspace_id, sessions, now)


async def start_session(
    tx: Transaction, user_id: UUID, workspace_id: UUID | None, sessions: SessionSettings, now: datetime | None = None
) -> Session:
    """As `begin_session`, in a transaction of the sign-in door that does more."""
    token, refresh = new_secret(), RefreshToken.new()
    row = await queries.start_session(
        tx.connection,
        user_id=user_id,
        token_hash=digest(token),
        lifetime=sessions.session,
        family_hash=digest(refresh.family),
        refresh_hash=digest(refresh.rotation),
        refresh_lifetime=sessions.refresh,
        now=now,
    )
    home = workspace_id or await _oldest_membership(tx.connection, user_id)
    return _session(token, refresh, row, user_id, home)


async def refresh_session(
    database: Database,
    refresh_token: str,
    *,
    sessions: SessionSettings,
    correlation_id: str,
    now: datetime | None = None,
) -> Session:
    """The same session with two new tokens. Raises `Unauthenticated`, the same whatever is wrong with the token.

    A token that was used before ends the session, which is committed although this raises.
    """
    seen = parse_refresh(refresh_token)
    if seen is None:
        raise Unauthenticated(_REFUSED)
    token, following = new_secret(), seen.rotated()
    async with database.sign_in_door() as tx:
        row = await queries.refresh_session(
            tx.connection,
            family_hash=digest(seen.family),
            refresh_hash=digest(seen.rotation),
            new_token_hash=digest(token),
            new_refresh_hash=digest(following.rotation),
            lifetime=sessions.session,
            refresh_lifetime=sessions.refresh,
            correlation_id=correlation_id,
            now=now,
        )
        rotated = row["outcome"] == "rotated"
        home = await _oldest_membership(tx.connection, row["user_id"]) if rotated else None
    if not rotated:
        _log_refusal(row["outcome"], row["session_id"], row["user_id"])
        raise Unauthenticated(_REFUSED)
    return _session(token, following, row, row["user_id"], home)


async def end_sessions(
    database: Database, user_id: UUID, reason: EndReason, session_id: UUID | None = None, *, now: datetime | None = None
) -> int:
    """End one session of the user, or all without `session_id`. Answers how many were still open."""
    async with database.sign_in_door() as tx:
        return int(
            await queries.end_sessions(tx.connection, user_id=user_id, reason=reason, session_id=session_id, now=now)
        )


async def revoke_session(database: Database, user_id: UUID, session_id: UUID, *, now: datetime | None = None) -> None:
    """End one open session of the user. Raises `NotFound` for any other, whoever it belongs to."""
    if not await end_sessions(database, user_id, "revoked", session_id, now=now):
        raise NotFound("no such session")


async def list_sessions(
    database: Database,
    user_id: UUID,
    current: UUID | None,
    *,
    cursor: str | None = None,
    page_size: int = 25,
    now: datetime | None = None,
) -> OpenSessions:
    """The user's open sessions, newest first; `current` is the one that asks. Raises `InvalidInput` for a bad cursor.

    The list belongs to the user, who stands in the cursor where others have the workspace.
    """
    place = database.cursors.read("sessions", user_id, cursor, home_name="user")
    after = UUID(place[0]) if place else None
    async with database.sign_in_door() as tx:
        rows = await queries.list_sessions(tx.connection, user_id=user_id, following=after, most=page_size + 1, now=now)
    page = [OpenSession(**row, current=row["session_id"] == current) for row in rows[:page_size]]
    following = database.cursors.make("sessions", user_id, str(page[-1].session_id)) if len(rows) > page_size else None
    return OpenSessions(data=page, page_size=page_size, next_cursor=following)


async def _oldest_membership(connection: Any, user_id: UUID) -> UUID | None:
    mine = await queries.my_workspaces(connection, user_id=user_id)
    return mine[0]["workspace_id"] if mine else None


def _session(token: str, refresh: RefreshToken, row: Any, user_id: UUID, workspace_id: UUID | None) -> Session:
    return Session(
        token=token,
        refresh_token=str(refresh),
        session_id=row["session_id"],
        user_id=user_id,
        workspace_id=workspace_id,
        expires_at=row["expires_at"],
        refresh_expires_at=row["refresh_expires_at"],
    )


def _log_refusal(outcome: str, session_id: UUID | None, user_id: UUID | None) -> None:
    """Told apart in the log only."""
    if outcome == "reused":
        log.warning("security_anomaly", kind="refresh_token_reused", session_id=str(session_id), user_id=str(user_id))
    elif session_id is not None:
        log.info("refresh_refused", outcome=outcome, session_id=str(session_id), user_id=str(user_id))

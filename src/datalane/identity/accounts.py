"""Accounts: signing up and in, and who a token stands for.

These run before a context exists, so they take the database and open the sign-in door themselves, for short: no
connection is held while Argon2 works. An unknown address costs the same work as a wrong password and gets the same
answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.errors import NotFound, Unauthenticated
from datalane.identity.invites import read_invite
from datalane.identity.passwords import check_password, hash_password, verify_password
from datalane.identity.queries import queries
from datalane.identity.schemas import Credentials, Me, NewAccount, Session
from datalane.identity.sessions import begin_session
from datalane.identity.signing_up import Making, sign_up_invited
from datalane.identity.tokens import digest, is_session_token, parse_api_key
from datalane.settings import SessionSettings


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling and the workspace it acts in; `workspace_id` and `role` are None for a user without any.

    `actor_id` is the user, or the key; `user_id` is the user, or who created the key. `scopes` are a key's.
    """

    actor_id: UUID
    user_id: UUID
    auth_method: Literal["session", "api_key"]
    session_id: UUID | None
    workspace_id: UUID | None
    role: Role | None
    expires_at: datetime | None
    scopes: frozenset[str] | None = None


async def sign_up(
    database: Database,
    account: NewAccount,
    *,
    sessions: SessionSettings,
    correlation_id: str,
    now: datetime | None = None,
) -> Session:
    """A user with a first workspace, which it owns, signed in; with an invite, in the workspace it is to.

    Raises `Conflict` when the address has an account. With an invite it raises what `accept_invite` does, and that the
    address has an account only to whoever has an invite to it that is good.
    """
    check_password(account.password, sessions.minimum_password_characters)
    invite = None if account.invite is None else read_invite(account.invite)
    password_hash = await hash_password(account.password)
    making = Making(account, password_hash, sessions, correlation_id)
    if invite is not None:
        return await sign_up_invited(database, making, invite, now)
    async with database.sign_in_door() as tx:
        made = await making.make(tx, account.email, now)
    return await begin_session(database, made["user_id"], made["workspace_id"], sessions, now)


async def sign_in(
    database: Database, credentials: Credentials, *, sessions: SessionSettings, now: datetime | None = None
) -> Session:
    """A new session. Raises `Unauthenticated`, the same for a wrong password and an unknown address."""
    async with database.sign_in_door() as tx:
        known = await queries.find_login(tx.connection, email=credentials.email)
    if not await verify_password(credentials.password, known["password_hash"] if known else None):
        raise Unauthenticated("the e-mail address or the password is wrong")
    return await begin_session(database, known["user_id"], None, sessions, now)


async def authenticate(
    database: Database, bearer: str, workspace_id: UUID | None = None, *, now: datetime | None = None
) -> Identity:
    """Who `bearer` (a session token or an API key) stands for, in one round trip.

    A session acts in `workspace_id`, or in its user's oldest membership when none is named; a key acts in its own
    workspace only. Raises `Unauthenticated` for a token that is unknown, expired or revoked, and `NotFound` when
    `workspace_id` does not exist or is not the caller's: the two cannot be told apart.
    """
    key = parse_api_key(bearer)
    if key is not None:
        return await _authenticate_key(database, bearer, workspace_id, now)
    if not is_session_token(bearer):
        raise Unauthenticated("the token is not one of ours")
    row = await queries.find_session(database.pool, token_hash=digest(bearer), workspace_id=workspace_id, now=now)
    if row is None:
        raise Unauthenticated("the session is unknown or has expired; sign in again")
    if workspace_id is not None and row["workspace_id"] is None:
        raise NotFound("no such workspace")
    return Identity(
        actor_id=row["user_id"],
        user_id=row["user_id"],
        auth_method="session",
        session_id=row["session_id"],
        workspace_id=row["workspace_id"],
        role=Role(row["role"]) if row["role"] else None,
        expires_at=row["expires_at"],
    )


async def describe(database: Database, identity: Identity) -> Me:
    """What a caller may know about itself."""
    async with database.sign_in_door() as tx:
        person = await queries.my_account(tx.connection, user_id=identity.user_id)
    return Me(
        actor_id=identity.actor_id,
        auth_method=identity.auth_method,
        user_id=identity.user_id,
        email=person["email"],
        name=person["name"],
        workspace_id=identity.workspace_id,
        role=identity.role,
        scopes=None if identity.scopes is None else sorted(identity.scopes),
        expires_at=identity.expires_at,
    )


async def _authenticate_key(
    database: Database, bearer: str, workspace_id: UUID | None, now: datetime | None
) -> Identity:
    key = parse_api_key(bearer)
    assert key is not None
    row = await queries.find_api_key(
        database.pool, workspace_id=key.workspace_id, key_id=key.key_id, secret_hash=digest(key.secret), now=now
    )
    if row is None:
        raise Unauthenticated("the API key is unknown, expired or revoked")
    if workspace_id is not None and workspace_id != key.workspace_id:
        raise NotFound("no such workspace")
    return Identity(
        actor_id=key.key_id,
        user_id=row["created_by"],
        auth_method="api_key",
        session_id=None,
        workspace_id=key.workspace_id,
        role=Role(row["role"]),
        expires_at=row["expires_at"],
        scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
    )

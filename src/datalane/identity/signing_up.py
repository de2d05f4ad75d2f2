"""Signing up: who may, and how an invite makes the account and joins its workspace in one transaction.

An invite is accepted by a session, and a session takes an account, so all three come together or not at all. Whether
the address has an account must not show to somebody whose invite is wrong: not in the answer, and not in the time it
takes. So an address that has one goes the same way up to the invite, with an account to nobody in the place of the new
one, and never further: what was done for it is rolled back.

The account's own workspace and the membership it joins by begin at the same moment, and the older workspace comes first
of the two. That is the one it was invited to, so that is where the account acts when no workspace is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, Forbidden
from datalane.identity.invites import join
from datalane.identity.queries import queries
from datalane.identity.schemas import NewAccount, Session
from datalane.identity.sessions import start_session
from datalane.identity.tokens import InviteToken
from datalane.kit.ids import uuid7
from datalane.settings import SessionSettings, SignUp


def require_sign_up(mode: SignUp, *, invited: bool) -> None:
    """Raises `Forbidden` where nobody makes an account, or nobody without an invite: the same for every address."""
    if mode == "closed":
        raise Forbidden("signing up is closed here (identity.sign_up)", denial="sign_up_closed")
    if mode == "invite_only" and not invited:
        raise Forbidden("signing up takes an invite here (identity.sign_up)", denial="invite_required")


@dataclass(frozen=True, slots=True)
class Making:
    """An account to make, with what does not change when it is tried again."""

    account: NewAccount
    password_hash: str
    sessions: SessionSettings
    correlation_id: str

    async def make(self, tx: Transaction, email: str, now: datetime | None) -> Any:
        """The ids of the user and of its first workspace. Raises `Conflict` when the address has an account."""
        return await queries.sign_up(
            tx.connection,
            email=email,
            name=self.account.name,
            password_hash=self.password_hash,
            workspace_name=self.account.workspace_name or f"{self.account.name}'s workspace"[:200],
            correlation_id=self.correlation_id,
            now=now,
        )


class _JustTaken(Conflict):
    """The address got its account between the look and the making."""


async def sign_up_invited(
    database: Database, making: Making, invite: InviteToken, now: datetime | None = None
) -> Session:
    """A session in the workspace of the invite. Raises what `accept_invite` does, and only then `Conflict`."""
    try:
        return await _try(database, making, invite, now)
    except _JustTaken:
        return await _try(database, making, invite, now)


async def _try(database: Database, making: Making, invite: InviteToken, now: datetime | None) -> Session:
    async with database.sign_in_door() as tx:
        at = now or await queries.this_moment(tx.connection)
        known = await queries.find_login(tx.connection, email=making.account.email)
        user_id = await _make_for_nobody(tx, making, known["user_id"], at) if known else await _make(tx, making, at)
        session = await start_session(tx, user_id, invite.workspace_id, making.sessions, at)
        await join(tx, session.token, invite, correlation_id=making.correlation_id, now=at)
        if known:
            raise Conflict("an account with this e-mail address exists; sign in and accept the invite")
    return session


async def _make(tx: Transaction, making: Making, at: datetime) -> UUID:
    try:
        made = await making.make(tx, making.account.email, at)
    except Conflict as error:
        raise _JustTaken(str(error)) from error
    return UUID(str(made["user_id"]))


async def _make_for_nobody(tx: Transaction, making: Making, known: UUID, at: datetime) -> UUID:
    """The same work as making an account; whoever calls this rolls it back."""
    await making.make(tx, f"{uuid7()}@invalid", at)
    return known

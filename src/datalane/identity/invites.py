"""Invites: one address, one workspace, one use, a week by default. The token is shown once, its digest is stored.

The lane sends no mail: who invites gets the token and brings it to the address. Neither making an invite nor listing it
says whether the address has an account.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.identity.metrics import count_membership_change
from datalane.identity.permissions import INVITE, READ_INVITES, REVOKE_INVITE
from datalane.identity.queries import queries
from datalane.identity.schemas import CreatedInvite, Invite, Invites, Membership, NewInvite
from datalane.identity.tokens import InviteToken, digest, new_secret, parse_invite
from datalane.kit.ids import uuid7


async def create_invite(
    tx: Transaction, new: NewInvite, *, lifetime: timedelta, now: datetime | None = None
) -> CreatedInvite:
    """An invite whose token is in the answer and nowhere else; an open one to the same address is void.

    Raises `Conflict` for somebody who is a member and for the role of owner.
    """
    INVITE.check(tx.context)
    token = InviteToken(tx.workspace_id, uuid7(), new_secret())
    made = await queries.create_invite(
        tx.connection,
        invite_id=token.invite_id,
        secret_hash=digest(token.secret),
        email=new.email,
        role=new.role,
        lifetime=lifetime,
        now=now,
    )
    count_membership_change(tx, "invited")
    return CreatedInvite(
        token=str(token), invite_id=token.invite_id, email=new.email, role=Role(new.role), status="open", **made
    )


async def list_invites(tx: Transaction, *, cursor: str | None = None, page_size: int = 25) -> Invites:
    """Invites in the order they were made, closed ones too. Raises `InvalidInput` for another list's cursor."""
    READ_INVITES.check(tx.context)
    after = tx.read_id_cursor("invites", cursor)
    rows = await queries.list_invites(tx.connection, following=after, most=page_size + 1, invite_id=None, now=None)
    page, following = tx.cut_page("invites", rows, page_size, lambda row: [row["invite_id"]])
    return Invites(data=[Invite.model_validate(dict(row)) for row in page], page_size=page_size, next_cursor=following)


async def revoke_invite(tx: Transaction, invite_id: UUID, now: datetime | None = None) -> Invite:
    """From now on the token is refused. Raises `NotFound`, and `Conflict` when it has been accepted."""
    REVOKE_INVITE.check(tx.context)
    await queries.revoke_invite(tx.connection, invite_id=invite_id, now=now)
    [revoked] = await queries.list_invites(tx.connection, following=None, most=1, invite_id=invite_id, now=now)
    return Invite.model_validate(dict(revoked))


async def accept_invite(
    database: Database, session_token: str, token: str, *, correlation_id: str, now: datetime | None = None
) -> Membership:
    """Join by an invite. Who joins is told by the session alone, and the invite must be to that account's address.

    There is no context yet, so this opens the sign-in door itself. Raises `NotFound`, the same for a token that is
    malformed, unknown, of another workspace or to another address; to its own address `Conflict` says what became of
    the invite: accepted, revoked, expired, or its maker may no longer invite.
    """
    invite = read_invite(token)
    async with database.sign_in_door() as tx:
        return await join(tx, session_token, invite, correlation_id=correlation_id, now=now)


def read_invite(token: str) -> InviteToken:
    """Raises `NotFound`, as for a token that is well-formed and unknown."""
    invite = parse_invite(token)
    if invite is None:
        raise NotFound("no such invite")
    return invite


async def join(
    tx: Transaction, session_token: str, invite: InviteToken, *, correlation_id: str, now: datetime | None = None
) -> Membership:
    """As `accept_invite`, in a transaction of the sign-in door that does more."""
    joined = await queries.accept_invite(
        tx.connection,
        session_hash=digest(session_token),
        workspace_id=invite.workspace_id,
        invite_id=invite.invite_id,
        secret_hash=digest(invite.secret),
        correlation_id=correlation_id,
        now=now,
    )
    count_membership_change(tx, "joined")
    return Membership.model_validate(dict(joined))

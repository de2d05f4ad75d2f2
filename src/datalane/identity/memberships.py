"""Who belongs to a workspace. The verbs in the database check the role again and leave audit record and event."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.errors import Forbidden, NotFound
from datalane.identity.metrics import count_membership_change
from datalane.identity.permissions import CHANGE_MEMBER, LEAVE, READ_MEMBERS, REMOVE_MEMBER
from datalane.identity.queries import queries
from datalane.identity.schemas import Member, Members, Membership


async def list_members(tx: Transaction, *, cursor: str | None = None, page_size: int = 25) -> Members:
    """Members that are not removed, in the order their accounts were made.

    Raises `InvalidInput` for a cursor that is not this list's.
    """
    READ_MEMBERS.check(tx.context)
    after = tx.read_id_cursor("members", cursor)
    rows = await queries.list_members(tx.connection, following=after, most=page_size + 1)
    page, following = tx.cut_page("members", rows, page_size, lambda row: [row["user_id"]])
    return Members(
        data=[Member.model_validate(dict(row)) for row in page],
        total_count=await queries.count_members(tx.connection, workspace_id=tx.workspace_id),
        page_size=page_size,
        next_cursor=following,
    )


async def change_member(
    tx: Transaction,
    user_id: UUID,
    *,
    role: str | None = None,
    status: str | None = None,
    now: datetime | None = None,
) -> Membership:
    """Change role, status (`active`, `suspended`) or both; what is so already leaves no record.

    Raises `NotFound`, `Conflict` for the owner, and `IllegalTransition` for somebody who has not accepted yet.
    """
    CHANGE_MEMBER.check(tx.context)
    await queries.change_member(tx.connection, user_id=user_id, role=role, status=status, now=now)
    count_membership_change(tx, "changed")
    return await get_membership(tx, user_id)


async def remove_member(tx: Transaction, user_id: UUID, now: datetime | None = None) -> Membership:
    """End a membership, and the API keys and open invites its holder made. Raises `Conflict` for the owner."""
    REMOVE_MEMBER.check(tx.context)
    await queries.remove_member(tx.connection, user_id=user_id, now=now)
    count_membership_change(tx, "removed")
    return await get_membership(tx, user_id)


async def leave_workspace(tx: Transaction, now: datetime | None = None) -> Membership:
    """End one's own membership, as `remove_member` does. Raises `Conflict` for the owner, `Forbidden` for a key."""
    LEAVE.check(tx.context)
    if tx.context.auth_method == "api_key":
        raise Forbidden("an API key is nobody's membership; sign in to leave", denial="auth_method", target=LEAVE.name)
    await queries.leave_workspace(tx.connection, now=now)
    count_membership_change(tx, "left")
    return await get_membership(tx, tx.context.actor_id)


async def get_membership(tx: Transaction, user_id: UUID) -> Membership:
    """Raises `NotFound` for somebody who never was a member here."""
    row = await queries.get_member(tx.connection, workspace_id=tx.workspace_id, user_id=user_id)
    if row is None:
        raise NotFound("no such member")
    return Membership.model_validate(dict(row))

"""Workspaces and memberships. The verbs in the database check the role again and leave audit record and event."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.identity.permissions import ADD_MEMBER, CHANGE_MEMBER, REMOVE_MEMBER
from datalane.identity.queries import queries
from datalane.identity.schemas import Member, Members, Membership, NewMember, Workspace
from datalane.kit.cursors import make_cursor, read_cursor


async def create_workspace(tx: Transaction, name: str, now: datetime | None = None) -> Workspace:
    """Another workspace, owned by the user who acts in `tx`. Raises `Forbidden` for an API key and for the system."""
    made = await queries.create_workspace(tx.connection, name=name, now=now)
    return Workspace(name=name, role=Role.OWNER, **made)


async def create_workspace_for(
    tx: Transaction, owner_id: UUID, name: str, correlation_id: str, now: datetime | None = None
) -> Workspace:
    """A workspace for a user who is in none. `tx` comes from the sign-in door, which believes `owner_id`."""
    made = await queries.create_workspace_for(
        tx.connection, owner_id=owner_id, name=name, correlation_id=correlation_id, now=now
    )
    return Workspace(name=name, role=Role.OWNER, **made)


async def list_workspaces(tx: Transaction, user_id: UUID) -> list[Workspace]:
    """Where the user is an active member, oldest membership first. `tx` comes from the sign-in door."""
    return [Workspace.model_validate(dict(row)) async for row in queries.my_workspaces(tx.connection, user_id=user_id)]


async def list_members(tx: Transaction, *, cursor: str | None = None, page_size: int = 25) -> Members:
    """Members that are not removed, in the order their accounts were made.

    Raises `InvalidInput` for a cursor that is not this list's.
    """
    after = read_cursor("members", tx.workspace_id, cursor)
    rows = [row async for row in queries.list_members(tx.connection, following=after, most=page_size + 1)]
    page = [Member.model_validate(dict(row)) for row in rows[:page_size]]
    return Members(
        data=page,
        total_count=await queries.count_members(tx.connection, workspace_id=tx.workspace_id),
        page_size=page_size,
        next_cursor=make_cursor("members", tx.workspace_id, page[-1].user_id) if len(rows) > page_size else None,
    )


async def add_member(tx: Transaction, new: NewMember, now: datetime | None = None) -> Membership:
    """Raises `NotFound` without such an account, `Conflict` when it is a member already or the role is owner."""
    ADD_MEMBER.check(tx.context)
    user_id = await queries.add_member(tx.connection, email=new.email, role=new.role, now=now)
    return await get_membership(tx, user_id)


async def change_member(
    tx: Transaction,
    user_id: UUID,
    *,
    role: str | None = None,
    status: str | None = None,
    now: datetime | None = None,
) -> Membership:
    """Change role, status (`active`, `suspended`) or both. Raises `NotFound`, and `Conflict` for the owner."""
    CHANGE_MEMBER.check(tx.context)
    await queries.change_member(tx.connection, user_id=user_id, role=role, status=status, now=now)
    return await get_membership(tx, user_id)


async def remove_member(tx: Transaction, user_id: UUID, now: datetime | None = None) -> Membership:
    """End a membership and the API keys its holder created. Anybody may leave; the owner may not."""
    if user_id != tx.context.actor_id:
        REMOVE_MEMBER.check(tx.context)
    await queries.remove_member(tx.connection, user_id=user_id, now=now)
    return await get_membership(tx, user_id)


async def get_membership(tx: Transaction, user_id: UUID) -> Membership:
    row = await queries.get_member(tx.connection, workspace_id=tx.workspace_id, user_id=user_id)
    if row is None:
        raise NotFound("no such member")
    return Membership.model_validate(dict(row))

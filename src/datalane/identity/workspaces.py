"""Workspaces. The verbs in the database check the role again and leave audit record and event."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.identity.permissions import READ_WORKSPACE, RENAME_WORKSPACE, SET_SEARCH_LANGUAGE
from datalane.identity.queries import queries
from datalane.identity.schemas import OwnedWorkspace, Workspace


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
    rows = await queries.my_workspaces(tx.connection, user_id=user_id)
    return [Workspace.model_validate(dict(row)) for row in rows]


async def get_workspace(tx: Transaction) -> OwnedWorkspace:
    """The workspace of `tx`, with the role that acts there. Raises `NotFound` for one that was never founded."""
    READ_WORKSPACE.check(tx.context)
    row = await queries.get_workspace(tx.connection, workspace_id=tx.workspace_id)
    if row is None:
        raise NotFound("no such workspace")
    return OwnedWorkspace(role=tx.context.role, **row)


async def rename_workspace(tx: Transaction, name: str, now: datetime | None = None) -> OwnedWorkspace:
    """Give the workspace another name."""
    RENAME_WORKSPACE.check(tx.context)
    await queries.rename_workspace(tx.connection, name=name, now=now)
    return await get_workspace(tx.following())


async def set_search_language(tx: Transaction, language: str, now: datetime | None = None) -> OwnedWorkspace:
    """Have the workspace's texts cut into words by the rules of `language`, a text search configuration.

    Raises `InvalidInput` naming those that there are, `Conflict` when texts are indexed in another one already.
    """
    SET_SEARCH_LANGUAGE.check(tx.context)
    await queries.set_search_language(tx.connection, language=language, now=now)
    return await get_workspace(tx.following())

"""Workspaces and their members."""

from __future__ import annotations

from fastapi import APIRouter, Query

from datalane.api.context import Caller
from datalane.api.door import HttpDoor
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, Forbidden
from datalane.identity import workspaces
from datalane.identity.permissions import ADD_MEMBER, CHANGE_MEMBER, LEAVE, READ_MEMBERS
from datalane.identity.schemas import (
    MemberChange,
    MemberRemoval,
    Members,
    Membership,
    NewMember,
    NewWorkspace,
    Workspace,
    Workspaces,
)


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/workspaces", tags=["workspaces"])
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.post("/create", status_code=201)
    async def create(body: NewWorkspace, caller: Caller = door.account_writer) -> Workspace:
        """A new workspace that the signed-in user owns."""
        if caller.identity.auth_method != "session":
            raise Forbidden("an API key acts in its own workspace; sign in to create one", denial="auth_method")
        if caller.transaction is None:
            raise DatalaneError("the door opened no transaction")
        if caller.context is not None:
            return await workspaces.create_workspace(caller.transaction, body.name)
        return await workspaces.create_workspace_for(
            caller.transaction, caller.identity.user_id, body.name, caller.correlation_id
        )

    @routes.get("/list")
    async def list_workspaces(caller: Caller = door.account) -> Workspaces:
        """The workspaces in which the caller is active; of an API key, its own."""
        async with door.lane.database.sign_in_door() as tx:
            found = await workspaces.list_workspaces(tx, caller.identity.user_id)
        if caller.identity.auth_method == "api_key":
            own = caller.identity.workspace_id
            found = [
                mine.model_copy(update={"role": caller.identity.role}) for mine in found if mine.workspace_id == own
            ]
        return Workspaces(data=found)

    _member_routes(routes, door, size)
    return routes


def _member_routes(routes: APIRouter, door: HttpDoor, size: int) -> None:
    @routes.get("/members/list")
    async def list_members(
        tx: Transaction = door.reader(READ_MEMBERS), page_size: int = size, cursor: str | None = None
    ) -> Members:
        """Members of the workspace, removed ones left out. `cursor` is the `next_cursor` of the page before."""
        return await workspaces.list_members(tx, cursor=cursor, page_size=page_size)

    @routes.post("/members/add", status_code=201)
    async def add_member(body: NewMember, tx: Transaction = door.writer(ADD_MEMBER)) -> Membership:
        """Add someone who has an account."""
        return await workspaces.add_member(tx, body)

    @routes.post("/members/change")
    async def change_member(body: MemberChange, tx: Transaction = door.writer(CHANGE_MEMBER)) -> Membership:
        """Change a member's role, or suspend and reactivate."""
        return await workspaces.change_member(tx, body.user_id, role=body.role, status=body.status)

    @routes.post("/members/remove")
    async def remove_member(body: MemberRemoval, tx: Transaction = door.writer(LEAVE)) -> Membership:
        """End a membership and the API keys its holder created. To leave is free, to remove others takes an admin."""
        return await workspaces.remove_member(tx, body.user_id)

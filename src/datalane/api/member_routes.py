"""Members of a workspace."""

from __future__ import annotations

from fastapi import APIRouter, Query

from datalane.api.door import HttpDoor
from datalane.db.transaction import Transaction
from datalane.identity import memberships
from datalane.identity.permissions import CHANGE_MEMBER, LEAVE, READ_MEMBERS, REMOVE_MEMBER
from datalane.identity.schemas import MemberChange, MemberRemoval, Members, Membership


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/workspaces/members", tags=["members"])
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.get("/list")
    async def list_members(
        tx: Transaction = door.reader(READ_MEMBERS), page_size: int = size, cursor: str | None = None
    ) -> Members:
        """Members of the workspace, removed ones left out. `cursor` is the `next_cursor` of the page before."""
        return await memberships.list_members(tx, cursor=cursor, page_size=page_size)

    @routes.post("/change")
    async def change_member(body: MemberChange, tx: Transaction = door.writer(CHANGE_MEMBER)) -> Membership:
        """Change a member's role, or suspend and reactivate."""
        return await memberships.change_member(tx, body.user_id, role=body.role, status=body.status)

    @routes.post("/remove")
    async def remove_member(body: MemberRemoval, tx: Transaction = door.writer(REMOVE_MEMBER)) -> Membership:
        """End a membership, and the API keys and open invites its holder made."""
        return await memberships.remove_member(tx, body.user_id)

    @routes.post("/leave")
    async def leave(tx: Transaction = door.writer(LEAVE)) -> Membership:
        """End one's own membership. The owner transfers the ownership first."""
        return await memberships.leave_workspace(tx)

    return routes

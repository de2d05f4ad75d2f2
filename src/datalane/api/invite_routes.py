"""Invites to a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Query
from starlette.requests import Request

from datalane.api.context import Caller
from datalane.api.denials import log_denial
from datalane.api.door import HttpDoor
from datalane.db.transaction import Transaction
from datalane.errors import Forbidden, NotFound
from datalane.identity import invites
from datalane.identity.permissions import INVITE, READ_INVITES, REVOKE_INVITE
from datalane.identity.schemas import (
    CreatedInvite,
    Invite,
    InviteAcceptance,
    InviteRevocation,
    Invites,
    Membership,
    NewInvite,
)


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/workspaces/invites", tags=["invites"])
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.post("/create", status_code=201)
    async def create(body: NewInvite, tx: Transaction = door.writer(INVITE)) -> CreatedInvite:
        """Offer an address a role. The token is shown this once; an open invite to the same address is void."""
        return await invites.create_invite(tx, body, lifetime=door.settings.invites.lifetime)

    @routes.get("/list")
    async def list_invites(
        tx: Transaction = door.reader(READ_INVITES), page_size: int = size, cursor: str | None = None
    ) -> Invites:
        """Invites of the workspace, closed ones too. `cursor` is the `next_cursor` of the page before."""
        return await invites.list_invites(tx, cursor=cursor, page_size=page_size)

    @routes.post("/revoke")
    async def revoke(body: InviteRevocation, tx: Transaction = door.writer(REVOKE_INVITE)) -> Invite:
        """Refuse an invite's token from now on."""
        return await invites.revoke_invite(tx, body.invite_id)

    @routes.post("/accept")
    async def accept(body: InviteAcceptance, request: Request, caller: Caller = door.account) -> Membership:
        """Join by an invite to the signed-in account's address. It works once; one to another address is not found."""
        if caller.identity.auth_method != "session":
            raise Forbidden("an API key cannot join a workspace; sign in to accept", denial="auth_method")
        with invites_logged(request):
            return await invites.accept_invite(
                door.lane.database, caller.token, body.token, correlation_id=caller.correlation_id
            )

    return routes


@contextmanager
def invites_logged(request: Request) -> Iterator[None]:
    """Note an invite that is not found, which somebody may be guessing, as a denied attempt."""
    try:
        yield
    except NotFound as error:
        log_denial(request, "invite", str(error))
        raise

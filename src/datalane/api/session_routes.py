"""A user's own sessions."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.api.context import Caller
from datalane.api.door import HttpDoor
from datalane.errors import Forbidden
from datalane.identity import sessions
from datalane.identity.schemas import OpenSessions, SessionRevocation


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/auth/sessions", tags=["auth"])
    most = door.settings.limits.page_size

    @routes.get("/list")
    async def list_sessions(
        caller: Caller = door.account,
        page_size: int = Query(min(25, most), ge=1, le=most),
        cursor: str | None = None,
    ) -> OpenSessions:
        """The caller's open sessions, newest first, without their tokens."""
        return await sessions.list_sessions(
            door.lane.database, _person(caller), caller.identity.session_id, cursor=cursor, page_size=page_size
        )

    @routes.post("/revoke", status_code=204)
    async def revoke(body: SessionRevocation, caller: Caller = door.account) -> None:
        """End one of the caller's open sessions."""
        await sessions.revoke_session(door.lane.database, _person(caller), body.session_id)

    return routes


def _person(caller: Caller) -> UUID:
    """The user who is signed in. Raises `Forbidden` for an API key, which is no person."""
    if caller.identity.auth_method != "session":
        raise Forbidden("an API key has nothing to do with its creator's sessions; sign in", denial="auth_method")
    return caller.identity.user_id

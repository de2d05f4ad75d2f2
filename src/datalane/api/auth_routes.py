"""Signing up, in and out, and who am I."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from datalane.api.context import Caller
from datalane.api.door import HttpDoor
from datalane.api.trace import trace_of
from datalane.errors import InvalidInput
from datalane.identity import accounts
from datalane.identity.schemas import Credentials, Me, NewAccount, Session


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/auth", tags=["auth"])
    sessions = door.settings.sessions

    @routes.post("/sign-up", status_code=201)
    async def sign_up(body: NewAccount, request: Request) -> Session:
        """Make an account with a first workspace that it owns, and begin a session."""
        correlation_id = trace_of(request.scope).correlation_id
        return await accounts.sign_up(door.lane.database, body, sessions=sessions, correlation_id=correlation_id)

    @routes.post("/sign-in")
    async def sign_in(body: Credentials) -> Session:
        """Begin a session. An unknown address and a wrong password get the same answer."""
        return await accounts.sign_in(door.lane.database, body, sessions=sessions)

    @routes.post("/sign-out", status_code=204)
    async def sign_out(caller: Caller = door.account) -> None:
        """End the session of this token. An API key is revoked instead."""
        if caller.identity.auth_method != "session":
            raise InvalidInput("an API key has no session to end; revoke it with POST /api-keys/revoke")
        await accounts.sign_out(door.lane.database, caller.token)

    @routes.get("/me")
    async def me(caller: Caller = door.account) -> Me:
        """Who this token stands for, and its role in the workspace of this request."""
        return await accounts.describe(door.lane.database, caller.identity)

    return routes

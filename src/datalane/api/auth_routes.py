"""Signing up, in and out, refreshing, and who am I."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request

from datalane.api.context import Caller
from datalane.api.door import HttpDoor
from datalane.api.invite_routes import invites_logged
from datalane.api.trace import trace_of
from datalane.errors import InvalidInput
from datalane.identity import accounts
from datalane.identity import sessions as families
from datalane.identity.attempts import AttemptGuard
from datalane.identity.metrics import authentication
from datalane.identity.schemas import (
    Credentials,
    EndedSessions,
    FederatedSession,
    IdTokenExchange,
    Me,
    NewAccount,
    Refresh,
    Session,
)
from datalane.identity.signing_up import require_sign_up

if TYPE_CHECKING:
    from datalane.identity.oidc import IdTokens

_BY_INVITE: dict[int | str, dict[str, Any]] = {404: {}}
"""A route that takes an invite also answers that there is no such invite."""


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/auth", tags=["auth"])
    _making_accounts(routes, door)
    _beginning_sessions(routes, door)
    _exchanging_id_tokens(routes, door)
    _refreshing(routes, door)
    _being_signed_in(routes, door)
    return routes


def _guard_of(door: HttpDoor, request: Request) -> AttemptGuard:
    return AttemptGuard(door.lane.database, door.settings.attempts, request.client.host if request.client else None)


def _making_accounts(routes: APIRouter, door: HttpDoor) -> None:
    @routes.post("/sign-up", status_code=201, responses=_BY_INVITE)
    async def sign_up(body: NewAccount, request: Request) -> Session:
        """Make an account with a first workspace that it owns, and begin a session. An invite is accepted with it."""
        require_sign_up(door.settings.identity.sign_up, invited=body.invite is not None)
        with authentication("sign_up"), invites_logged(request):
            await _guard_of(door, request).admit_sign_up()
            return await accounts.sign_up(
                door.lane.database,
                body,
                sessions=door.settings.sessions,
                correlation_id=trace_of(request.scope).correlation_id,
            )


def _beginning_sessions(routes: APIRouter, door: HttpDoor) -> None:
    @routes.post("/sign-in")
    async def sign_in(body: Credentials, request: Request) -> Session:
        """Begin a session. An unknown address and a wrong password get the same answer."""
        guard = _guard_of(door, request)
        with authentication("password"):
            await guard.admit_sign_in(body.email)
            session = await accounts.sign_in(door.lane.database, body, sessions=door.settings.sessions)
        await guard.trust(body.email)
        return session


def _exchanging_id_tokens(routes: APIRouter, door: HttpDoor) -> None:
    @cache
    def id_tokens() -> IdTokens:
        """Its cryptography and HTTP client take long to load; a lane without an issuer has no use for them."""
        from datalane.identity.oidc import IdTokens

        return IdTokens(door.settings.oidc)

    if door.settings.oidc.issuers:
        id_tokens()

    @routes.post("/oidc/exchange", responses=_BY_INVITE)
    async def exchange(body: IdTokenExchange, request: Request) -> FederatedSession:
        """Begin a session with the ID token of a configured issuer; its account is linked or made on the way."""
        from datalane.identity.oidc import exchange_id_token

        with authentication("oidc"), invites_logged(request):
            await _guard_of(door, request).admit_exchange()
            return await exchange_id_token(
                door.lane.database,
                id_tokens(),
                body,
                sessions=door.settings.sessions,
                correlation_id=trace_of(request.scope).correlation_id,
                sign_up=door.settings.identity.sign_up,
            )


def _refreshing(routes: APIRouter, door: HttpDoor) -> None:
    @routes.post("/refresh")
    async def refresh(body: Refresh, request: Request) -> Session:
        """Exchange a refresh token for two new tokens. One that was used before ends the session."""
        with authentication("refresh"):
            await _guard_of(door, request).admit_refresh()
            return await families.refresh_session(
                door.lane.database,
                body.refresh_token,
                sessions=door.settings.sessions,
                correlation_id=trace_of(request.scope).correlation_id,
            )


def _being_signed_in(routes: APIRouter, door: HttpDoor) -> None:
    @routes.post("/sign-out", status_code=204)
    async def sign_out(caller: Caller = door.account) -> None:
        """End the session of this token, its refresh token included. An API key is revoked instead."""
        await families.end_sessions(door.lane.database, _person(caller), "signed_out", caller.identity.session_id)

    @routes.post("/sign-out-everywhere")
    async def sign_out_everywhere(caller: Caller = door.account) -> EndedSessions:
        """End all sessions of the user, this one included."""
        ended = await families.end_sessions(door.lane.database, _person(caller), "signed_out_everywhere")
        return EndedSessions(ended=ended)

    @routes.get("/me")
    async def me(caller: Caller = door.account) -> Me:
        """Who this token stands for, and its role in the workspace of this request."""
        return await accounts.describe(door.lane.database, caller.identity)


def _person(caller: Caller) -> UUID:
    """The user who is signed in. Raises `InvalidInput` for an API key."""
    if caller.identity.auth_method != "session":
        raise InvalidInput("an API key has no session to end; revoke it with POST /api-keys/revoke")
    return caller.identity.user_id

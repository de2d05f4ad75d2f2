"""From a request's headers to the context of everything it does."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from datalane.api.denials import log_denial
from datalane.api.trace import trace_of
from datalane.contracts.authorization import Permission
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, NotFound, Unauthenticated
from datalane.identity.accounts import Identity, authenticate
from datalane.identity.metrics import authentication
from datalane.identity.tokens import parse_api_key
from datalane.kit.logs import bind_context


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a route about the account itself. `context` is None for a user who is in no workspace."""

    identity: Identity
    token: str
    correlation_id: str
    context: Context | None
    transaction: Transaction | None = None


async def authenticate_request(database: Database, request: Request, *, counted: bool = True) -> Caller:
    """Who sent this request, in which workspace. Without `counted` it is no further attempt of who was let in before.

    Raises `Unauthenticated`, `InvalidInput` for a malformed `X-Workspace-Id`, and `NotFound` for a workspace that does
    not exist or is not the caller's.
    """
    try:
        with authentication(counted=counted) as attempt:
            token = bearer_token(request)
            attempt.method = "api_key" if parse_api_key(token) else "session"
            identity = await authenticate(database, token, _wanted_workspace(request))
    except NotFound as error:
        log_denial(request, "workspace", str(error))
        raise
    correlation_id = trace_of(request.scope).correlation_id
    bind_context(actor_id=str(identity.actor_id))
    context = None
    if identity.workspace_id is not None and identity.role is not None:
        bind_context(workspace_id=str(identity.workspace_id))
        context = Context(
            identity.workspace_id,
            identity.actor_id,
            identity.role,
            correlation_id,
            identity.session_id,
            identity.auth_method,
            scopes=identity.scopes,
        )
    return Caller(identity, token, correlation_id, context)


def context_in_workspace(caller: Caller, permission: Permission) -> Context:
    """The caller's context. Raises `NotFound` without a workspace, `Forbidden` without the permission."""
    if caller.context is None:
        raise NotFound("no such workspace")
    permission.check(caller.context)
    return caller.context


def bearer_token(request: Request) -> str:
    """Raises `Unauthenticated` unless there is exactly one `Authorization: Bearer …` header."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send a session token or an API key as: Authorization: Bearer <token>")
    return token.strip()


def _wanted_workspace(request: Request) -> UUID | None:
    given = request.headers.getlist("x-workspace-id")
    if not given:
        return None
    try:
        if len(given) > 1:
            raise ValueError
        return UUID(given[0])
    except ValueError:
        raise InvalidInput("X-Workspace-Id must be one UUID") from None

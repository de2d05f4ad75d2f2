"""The door of HTTP routes: authenticate, check the role, read the body, open the transaction, answer, commit.

All of it happens around the route's own handler, so that the answer is known before the commit (an idempotent answer
is stored in the same transaction) and the commit is done before the answer leaves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from datalane.api.bodies import CheckedRequest
from datalane.api.context import Caller, authenticate_request, context_in_workspace
from datalane.api.idempotency import KeyedRequest, idempotency_key, keep, recall
from datalane.api.lanes import OpenLane
from datalane.api.late import LateTransaction
from datalane.api.limits import meter_of
from datalane.api.streams import LiveCaller, Streams
from datalane.contracts.authorization import Permission
from datalane.contracts.context import Context
from datalane.contracts.http import PlansOf
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput
from datalane.settings import Settings

_GIVEN = "datalane.given"
Handle = Callable[[Request], Awaitable[Response]]


class Admission(Protocol):
    """Counts requests that were authenticated, before they are read."""

    async def admit(self, context: Context) -> Mapping[str, str]:
        """Answers headers, or raises what keeps the request out."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a route needs. One without a permission is about the caller, in whatever workspace or none; a `late` one
    opens its transaction itself, after its slow work; a `live` one has an answer that goes on, and is asked
    `again` while it does. `plans` as `Database.transaction`, or a function that tells them of a request."""

    permission: Permission | None
    opens: bool = True
    writes: bool = False
    uploads: bool = False
    late: bool = False
    live: bool = False
    again: bool = False
    plans: Plans | PlansOf = Plans.USUAL


class HttpDoor:
    """Implements `datalane.contracts.http.Door`, and has two more dependencies for routes about the caller.

    `account` and `account_writer` give a `Caller`; the writer's has an open transaction.
    """

    route_class: ClassVar[type[DoorRoute]]

    def __init__(self, lane: OpenLane, admission: Admission | None = None) -> None:
        self.lane = lane
        self.admission = admission
        self.streams = Streams(lane.settings.api)
        self.account = _dependency(Access(None, opens=False))
        self.account_writer = _dependency(Access(None, writes=True))

    def reader(self, permission: Permission, *, plans: Plans | PlansOf = Plans.USUAL) -> Any:
        return _dependency(Access(permission, plans=plans))

    def writer(self, permission: Permission) -> Any:
        return _dependency(Access(permission, writes=True))

    def preparer(self, permission: Permission) -> Any:
        return _dependency(Access(permission, writes=True, late=True))

    def uploader(self, permission: Permission) -> Any:
        return _dependency(Access(permission, writes=True, uploads=True, late=True))

    def caller(self, permission: Permission) -> Any:
        return _dependency(Access(permission, opens=False))

    def watcher(self, permission: Permission) -> Any:
        return _dependency(Access(permission, opens=False, live=True))

    @property
    def settings(self) -> Settings:
        return self.lane.settings

    def router(self, *, prefix: str = "", tags: Sequence[str] = ()) -> APIRouter:
        route_class = type(
            "DoorRoute",
            (self.route_class,),
            {"lane": self.lane, "streams": self.streams, "admission": self.admission},
        )
        return DoorRouter(prefix=prefix, tags=list(tags), route_class=route_class)

    def transaction(self, context: Context) -> AbstractAsyncContextManager[Transaction]:
        return self.lane.database.transaction(context)


class DoorRouter(APIRouter):
    """Looks through its routes for paths that hold its prefix: to try all of the lane's took a tenth of a request."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        known = self.prefix.partition("{")[0]
        return super().matches(scope) if known in scope.get("path", "") else (Match.NONE, {})


def _dependency(access: Access) -> Any:
    async def give(request: Request) -> Any:
        return request.scope[_GIVEN]

    give.access = access  # type: ignore[attr-defined]
    return Depends(give)


class DoorRoute(APIRoute):
    """A route that goes through the door when its handler asks for one of the door's dependencies."""

    lane: ClassVar[OpenLane]
    streams: ClassVar[Streams]
    admission: ClassVar[Admission | None]

    @property
    def access(self) -> Access | None:
        """What the route needs, None for a public one. Raises `TypeError` when it asks for two things."""
        asked = (getattr(dependency.call, "access", None) for dependency in self.dependant.dependencies)
        found = {access for access in asked if isinstance(access, Access)}
        if len(found) > 1:
            raise TypeError(f"{self.path}: a route takes one dependency of the door, not {len(found)}")
        return next(iter(found), None)

    @property
    def one_time_secrets(self) -> frozenset[str]:
        """Members of the answer that are shown once."""
        fields = getattr(self.response_model, "model_fields", {})
        return frozenset(
            name
            for name, field in fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("x-one-time-secret")
        )

    def get_route_handler(self) -> Any:
        handle, access, secrets = super().get_route_handler(), self.access, self.one_time_secrets

        async def answer_public(request: Request) -> Response:
            checked = CheckedRequest(request.scope, request.receive)
            await checked.read(self)
            return await handle(checked)

        async def answer_guarded(request: Request) -> Response:
            assert access is not None
            return await self._answer(request, access, handle, secrets)

        return answer_guarded if access else answer_public

    async def _answer(self, request: Request, access: Access, handle: Handle, secrets: frozenset[str]) -> Response:
        checked = CheckedRequest(request.scope, request.receive)
        try:
            caller, context = await self.admit(checked, access)
            if context is None or self.admission is None:
                return await self._answer_admitted(checked, access, caller, context, handle, secrets)
            told = await self.admission.admit(context)
            response = await self._answer_admitted(checked, access, caller, context, handle, secrets)
            response.headers.update(told)
            return response
        finally:
            await checked.close()

    async def _answer_admitted(
        self,
        checked: CheckedRequest,
        access: Access,
        caller: Caller,
        context: Context | None,
        handle: Handle,
        secrets: frozenset[str],
    ) -> Response:
        if access.uploads:
            meter_of(checked.scope).allow(self.lane.settings.limits.upload, "upload")
        asked = await self._read(checked, access)
        if access.live and context is not None:
            checked.scope[_GIVEN] = self._watcher(checked, access, context)
            return await handle(checked)
        if not access.opens:
            checked.scope[_GIVEN] = context if access.permission else caller
            return await handle(checked)
        if context is None:
            return await self._answer_nowhere(checked, caller, asked, handle)
        if access.late:
            kept = self.lane.settings.limits.idempotency_window
            late = checked.scope[_GIVEN] = LateTransaction(self.lane.database, context, asked, kept)
            return await late.answer(lambda: handle(checked), secrets)
        plans = access.plans if isinstance(access.plans, Plans) else access.plans(checked)
        async with self.lane.database.transaction(context, plans=plans) as tx:
            checked.scope[_GIVEN] = tx if access.permission else replace(caller, transaction=tx)
            return await self._answer_once(tx, checked, asked, handle, secrets)

    async def admit(self, request: CheckedRequest, access: Access) -> tuple[Caller, Context | None]:
        """Who asks, and where they act. Raises what keeps a request out."""
        caller = await authenticate_request(self.lane.database, request, counted=not access.again)
        return caller, context_in_workspace(caller, access.permission) if access.permission else caller.context

    def _watcher(self, request: CheckedRequest, access: Access, context: Context) -> LiveCaller:
        async def admit() -> Context | None:
            return (await self.admit(request, replace(access, again=True)))[1]

        return LiveCaller(context, self.lane.database, self.streams, admit)

    async def _read(self, request: CheckedRequest, access: Access) -> KeyedRequest | None:
        """Read the body, and what identifies the request when it carries a key."""
        key = idempotency_key(request) if access.writes and request.method != "GET" else None
        await request.read(self)
        if key is None:
            return None
        return KeyedRequest(key, f"{request.method} {self.path_format}", await request.digest())

    async def _answer_once(
        self,
        tx: Transaction,
        request: CheckedRequest,
        asked: KeyedRequest | None,
        handle: Handle,
        secrets: frozenset[str],
    ) -> Response:
        if asked is None:
            return await handle(request)
        kept = self.lane.settings.limits.idempotency_window
        stored = await recall(tx, asked, kept)
        if stored is not None:
            return stored
        response = await handle(request)
        await keep(tx, asked, response, secrets, kept)
        return response

    async def _answer_nowhere(
        self, request: CheckedRequest, caller: Caller, asked: KeyedRequest | None, handle: Handle
    ) -> Response:
        """A write about the account by someone who is in no workspace: there is nowhere to keep an answer."""
        if asked is not None:
            raise InvalidInput("Idempotency-Key needs a workspace to act in, and you are in none; leave it out")
        async with self.lane.database.sign_in_door() as tx:
            request.scope[_GIVEN] = replace(caller, transaction=tx)
            return await handle(request)


HttpDoor.route_class = DoorRoute

"""The application, handed to the isolation proof with guards that can be broken one at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Network
from multiprocessing import get_context
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from structlog.typing import EventDict, WrappedLogger

from datalane.api.app import create_app
from datalane.api.bodies import CheckedRequest
from datalane.api.context import Caller, authenticate_request
from datalane.api.door import Access, DoorRoute, HttpDoor
from datalane.api.lanes import OpenLane
from datalane.api.openapi import access_by_operation
from datalane.api.routes import PUBLIC
from datalane.api.trace import trace_of
from datalane.cli.lanes import load_lane
from datalane.contracts.context import Context
from datalane.contracts.http import MakeRouter
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import domain_routers, open_runtime
from datalane.engine.registration import register
from datalane.errors import DatalaneError, Forbidden
from datalane.identity.accounts import Identity
from datalane.identity.passwords import at_least_cost
from datalane.ops.isolation import route_table
from datalane.ops.isolation.prove import Step
from datalane.ops.isolation.report import RouteReport
from datalane.ops.isolation.route_mutants import (
    GuardFault,
    HeaderBelieved,
    Lowered,
    RequestBelieved,
    Telling,
    Unguarded,
)
from datalane.ops.isolation.route_table import Route
from datalane.ops.isolation.route_world import SEEN
from datalane.ops.isolation.routes import EVERYTHING, Portion, RouteProof, prove_routes
from datalane.ops.isolation.scratch import Scratch, copy_of
from datalane.ops.isolation.wire import Wire, open_watched
from datalane.settings import AttemptSettings, OutboundSettings, Rate, Settings, TelemetrySettings

_OFTEN = Rate(1_000_000, timedelta(seconds=1))
_UNLIMITED = AttemptSettings(sign_in=_OFTEN, sign_in_address=_OFTEN, client=_OFTEN, sign_up=_OFTEN, refresh=_OFTEN)
_HEADER = "x-workspace-id"
_HANDS = 2
"""Processes that share the routes. Each makes a world of its own first, so more of them gain little."""


class BreakableRoute(DoorRoute):
    """A route of the door, and nothing else until it has a fault."""

    fault: GuardFault | None = None

    async def admit(self, request: CheckedRequest, access: Access) -> tuple[Caller, Context | None]:
        match self.fault:
            case Unguarded(context):
                return _as(context, request)
            case Lowered(least) if access.permission is not None:
                return await super().admit(request, replace(access, permission=replace(access.permission, least=least)))
            case HeaderBelieved():
                return await self._believing(request, access, request.headers.get(_HEADER))
            case RequestBelieved():
                return await self._believing(request, access, await _workspace_in(request))
            case Telling(known):
                return await self._telling(request, access, known)
            case _:
                return await super().admit(request, access)

    async def _believing(
        self, request: CheckedRequest, access: Access, named: str | None
    ) -> tuple[Caller, Context | None]:
        """The caller, but in the workspace that the request names."""
        if named is None:
            return await super().admit(request, access)
        if isinstance(self.fault, HeaderBelieved):
            headers = [(name, value) for name, value in request.scope["headers"] if name != _HEADER.encode()]
            bare = CheckedRequest({**request.scope, "headers": headers}, request.receive)
            caller = await authenticate_request(self.lane.database, bare)
        else:
            caller, _ = await super().admit(request, access)
        if caller.context is None:
            return caller, None
        context = replace(caller.context, workspace_id=UUID(named))
        return replace(caller, context=context), context

    async def _telling(
        self, request: CheckedRequest, access: Access, known: frozenset[str]
    ) -> tuple[Caller, Context | None]:
        admitted = await super().admit(request, access)
        asked = f"{request.url} {(await _raw(request)).decode(errors='replace')}"
        if any(one in asked for one in known):
            raise Forbidden("this belongs to another workspace")
        return admitted


class BreakableDoor(HttpDoor):
    route_class = BreakableRoute


@dataclass(frozen=True)
class _Lane:
    settings: Settings
    database: Database


@dataclass
class BreakableApp:
    """Implements `datalane.ops.isolation.route_mutants.Face`."""

    app: FastAPI
    routes: Sequence[Route]

    @classmethod
    def of(cls, lane: OpenLane, domains: Sequence[MakeRouter]) -> BreakableApp:
        app = create_app(lane, domains, BreakableDoor)
        return cls(app, list(route_values(app)))

    @contextmanager
    def broken(self, route: Route, fault: GuardFault) -> Iterator[None]:
        found = _breakable(self.app, route)
        found.fault = fault
        try:
            yield
        finally:
            found.fault = None


def route_values(app: FastAPI) -> Iterator[Route]:
    """Every operation of the application, hidden ones too."""
    document = app.openapi()
    for (method, path), access in sorted(access_by_operation(app).items()):
        described = document["paths"].get(path, {}).get(method.lower(), {})
        permission = access.permission if access else None
        kind = route_table.Access.ACCOUNT if access else route_table.Access.PUBLIC
        yield Route(
            method=method,
            path=path,
            access=route_table.Access.PERMISSION if permission else kind,
            permission=permission.name if permission else None,
            least=permission.least if permission else None,
            may_be_public=path in PUBLIC,
            described=route_table.resolve(document, described),
        )


@contextmanager
def route_proof(
    scratch: Scratch, step: Step, app: str | None = None, beginning: tuple[str, ...] = (), every: int = 1
) -> Iterator[Callable[[], RouteReport]]:
    """The proof of the routes, in processes beside this one, each with a copy of `scratch` and its share of the routes.

    `app` names the lane of an application, as `module:lane`, whose routes are proved as well. With `beginning` only
    routes whose paths begin like one of these are, and with `every` every n-th of their cells and mutants.
    """
    copies = [copy_of(scratch, hand) for hand in range(_HANDS)]
    with step("trying routes"), ProcessPoolExecutor(_HANDS, mp_context=get_context("spawn")) as beside:
        running = [beside.submit(_prove_routes, copy, app, beginning, every, hand) for hand, copy in enumerate(copies)]

        def told() -> RouteReport:
            try:
                return RouteReport.together([share.result() for share in running])
            except BrokenProcessPool as error:
                raise DatalaneError("a process that proves the routes was ended from outside; run it again") from error

        yield told


def _prove_routes(scratch: Scratch, app: str | None, beginning: tuple[str, ...], every: int, hand: int) -> RouteReport:
    import uvloop

    routers = load_lane(app).routers
    with tempfile.TemporaryDirectory(prefix="datalane-routes-") as home:
        settings = settings_of(Path(home), scratch.roles.prefix)
        portion = Portion(lambda route: not beginning or route.path.startswith(beginning), every, hand, _HANDS)
        proof = prove_application(scratch.superuser_url, scratch.login_url, settings, routers, portion)
        return uvloop.run(proof).report


def settings_of(home: Path, role_prefix: str = "datalane") -> Settings:
    """The proof knocks more often than anybody may, and its defaults do not come from this machine's environment.

    It has a document fetched from this machine. The numbers of the lane are open to whoever has their token, and nobody
    in the proof does.
    """
    telemetry = TelemetrySettings(metrics_token=SecretStr(token_urlsafe(32)))
    outbound = OutboundSettings(allowed=(IPv4Network("127.0.0.1/32"),))
    return Settings(home=home, role_prefix=role_prefix, attempts=_UNLIMITED, telemetry=telemetry, outbound=outbound)


async def prove_application(
    superuser_url: str,
    database_url: str,
    settings: Settings,
    domains: Sequence[MakeRouter] = (),
    portion: Portion = EVERYTHING,
) -> RouteProof:
    """Prove the lane's own routes, and those of `domains`, on a freshly prepared database of a scratch cluster.

    `settings.home` is where originals are kept meanwhile. `superuser_url` is of the same database.
    """
    with at_least_cost():
        async with breakable_application(database_url, settings, domains) as (face, wire, database), _quiet():
            return await prove_routes(face, superuser_url, wire, database, settings, portion)


@asynccontextmanager
async def breakable_application(
    database_url: str, settings: Settings, domains: Sequence[MakeRouter] = ()
) -> AsyncIterator[tuple[BreakableApp, Wire, Database]]:
    wire = Wire()
    database = await open_watched(database_url, settings, wire)
    try:
        EVENTS.register(SEEN, {"type": "object"})
        await register(database, {}, [], list(EVENTS))
        async with open_runtime(settings) as runtime:
            ours = domain_routers(runtime)
            yield BreakableApp.of(_Lane(settings, database), [*ours, *domains]), wire, database
    finally:
        await database.close()


@asynccontextmanager
async def _quiet() -> AsyncIterator[None]:
    """A proof is thousands of denied attempts, and its mutants break things: none of it is news for the log."""
    known = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**known)


def _drop(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    raise structlog.DropEvent


def _breakable(app: FastAPI, route: Route) -> BreakableRoute:
    for one in iter_route_contexts(app.routes):
        original = one.original_route
        if one.path == route.path and route.method in (one.methods or ()) and isinstance(original, BreakableRoute):
            return original
    raise LookupError(f"{route.name} does not go through the door")


def _as(context: Context, request: CheckedRequest) -> tuple[Caller, Context]:
    named = request.headers.get(_HEADER)
    context = replace(
        context,
        workspace_id=UUID(named) if named else context.workspace_id,
        correlation_id=trace_of(request.scope).correlation_id,
    )
    identity = Identity(context.actor_id, context.actor_id, "session", None, context.workspace_id, context.role, None)
    return Caller(identity, "", context.correlation_id, context), context


async def _workspace_in(request: CheckedRequest) -> str | None:
    """A `workspace_id` in the query, a form or a JSON body."""
    found = request.query_params.get("workspace_id")
    if found is None and "form" in request.headers.get("content-type", ""):
        value = (await request.form()).get("workspace_id")
        found = value if isinstance(value, str) else None
    elif found is None:
        with_body = await _raw(request)
        body: Any = json.loads(with_body) if with_body else None
        found = body.get("workspace_id") if isinstance(body, dict) else None
    return found


async def _raw(request: CheckedRequest) -> bytes:
    """The body as it came; a form's fields as text."""
    if "form" in request.headers.get("content-type", ""):
        return repr((await request.form()).multi_items()).encode()
    return await request.body()


__all__ = ["BreakableApp", "breakable_application", "prove_application", "route_values"]

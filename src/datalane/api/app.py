"""The application. The caller opens the lane and runs the server; both outlive the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from datalane.api import docs_page, health, metrics_routes, openapi, problems
from datalane.api.door import Admission, HttpDoor
from datalane.api.exact_routes import ExactRoutes
from datalane.api.lanes import OpenLane
from datalane.api.limits import BodyLimitMiddleware
from datalane.api.routes import routers
from datalane.api.trace import TraceMiddleware
from datalane.contracts.http import MakeRouter

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own would make every span twice, and hand messages of errors with tenants' values to whoever takes logs."""


def create_app(
    lane: OpenLane,
    domains: Sequence[MakeRouter] = (),
    door: Callable[[OpenLane, Admission | None], HttpDoor] = HttpDoor,
    admission: Admission | None = None,
) -> FastAPI:
    """The HTTP API of a lane, which need not be open before the first request comes.

    `domains` make routers of an application's own, with the same door. `door` makes the door of all routes; the
    isolation proof has one that it can break. `admission` counts the requests of workspaces. `app.state.streams.stop()`
    ends the streams before the server stops.
    """
    app = FastAPI(
        title="Datalane",
        version=version("datalane"),
        description="One tenant-safe data lane in one Postgres.",
        docs_url=None,
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    opened = door(lane, admission)
    app.state.streams = opened.streams
    for router in routers(opened, domains):
        app.include_router(router)
    app.include_router(health.router(lane))
    app.include_router(metrics_routes.router(lane.settings.telemetry))
    app.router.routes.insert(0, ExactRoutes(app.routes))
    docs_page.install(app)
    openapi.install(app)
    problems.install(app)
    app.add_middleware(BodyLimitMiddleware, limit=lane.settings.limits.request_body)
    app.add_middleware(TraceMiddleware)
    return app

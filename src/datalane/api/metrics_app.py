"""`/metrics` alone, for a process that has no API: a worker or a maintenance process on a machine of its own."""

from __future__ import annotations

from fastapi import FastAPI

from datalane.api import metrics_routes, problems
from datalane.api.app import NO_TELEMETRY
from datalane.api.trace import TraceMiddleware
from datalane.settings import TelemetrySettings


def create_metrics_app(telemetry: TelemetrySettings) -> FastAPI:
    app = FastAPI(title="Datalane metrics", docs_url=None, redoc_url=None, openapi_url=None, telemetry=NO_TELEMETRY)
    app.include_router(metrics_routes.router(telemetry))
    problems.install(app)
    app.add_middleware(TraceMiddleware)
    return app

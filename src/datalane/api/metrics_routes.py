"""`/metrics`: the numbers of the whole lane, for whoever holds the metrics token and nobody else."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datalane.api.context import bearer_token
from datalane.errors import Forbidden, Unauthenticated
from datalane.kit.metrics import CONTENT_TYPE, exposition, opens
from datalane.settings import TelemetrySettings


def router(telemetry: TelemetrySettings) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: {}, 403: {}},
    )
    async def metrics(request: Request) -> Response:
        """The numbers of the lane in Prometheus' text format. Takes the metrics token (`telemetry.metrics_token`).

        Raises `Forbidden` while no token is set, `Unauthenticated` for another one.
        """
        token = telemetry.metrics_token
        if token is None:
            closed = "metrics are closed here: DATALANE_TELEMETRY__METRICS_TOKEN is not set"
            raise Forbidden(closed, denial="metrics_closed")
        given = _given(request)
        if given is None or not opens(token.get_secret_value(), given):
            raise Unauthenticated("send the metrics token as: Authorization: Bearer <token>")
        return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE)

    return routes


def _given(request: Request) -> str | None:
    """What is sent as the token. None and a wrong one are refused with the same words."""
    try:
        return bearer_token(request)
    except Unauthenticated:
        return None

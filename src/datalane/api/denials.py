"""Denied attempts: each is logged and counted, with its class and its target."""

from __future__ import annotations

from starlette.requests import Request

from datalane.api.metrics import count_denial
from datalane.api.route_names import route_of
from datalane.kit.logs import get_logger

log = get_logger("datalane.api")


def log_denial(request: Request, denial: str, reason: str, permission: str | None = None) -> None:
    """`permission` is the line of the role matrix that was missing, if it was one.

    The log has the path as sent, the count has the route, since its labels may not be a caller's to choose.
    """
    log.warning("access_denied", denial=denial, target=f"{request.method} {request.url.path}", reason=reason)
    count_denial(denial, permission, request.method, route_of(request.scope))

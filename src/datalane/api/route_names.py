"""A route's name for logs and metrics: its pattern, never the path that was sent."""

from __future__ import annotations

from starlette.types import Scope

UNMATCHED = "unmatched"


def route_of(scope: Scope) -> str:
    """`/documents/{document_id}`, or `unmatched` for a path that is none of ours."""
    return getattr(scope.get("route"), "path_format", None) or UNMATCHED

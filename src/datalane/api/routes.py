"""All routes of the lane. A domain's router receives the door; it imports nothing from here."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from datalane.api import (
    api_key_routes,
    auth_routes,
    invite_routes,
    job_routes,
    member_routes,
    session_routes,
    workspace_routes,
)
from datalane.api.door import HttpDoor
from datalane.contracts.http import MakeRouter

PUBLIC = frozenset(
    {
        "/auth/sign-up",
        "/auth/sign-in",
        "/auth/refresh",
        "/auth/oidc/exchange",
        "/webhooks/inbound/{connector}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
    }
)
"""Paths that take nobody's credential (`/metrics` has a token of its own); the route table test holds the others to the
door."""


def routers(door: HttpDoor, domains: Sequence[MakeRouter] = ()) -> list[APIRouter]:
    """The routers of identity and of jobs, then of each domain."""
    return [
        auth_routes.router(door),
        session_routes.router(door),
        workspace_routes.router(door),
        member_routes.router(door),
        invite_routes.router(door),
        api_key_routes.router(door),
        job_routes.router(door),
        *(make(door) for make in domains),
    ]

"""Routes of agents."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.versions.routes import add_version_routes
from datalane.contracts.http import Door


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/agents", tags=["agents"])
    add_version_routes(routes, door)
    return routes

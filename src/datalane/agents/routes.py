"""Routes of agents."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.tools import routes as tools
from datalane.agents.versions.routes import add_version_routes
from datalane.contracts.http import Door


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    versions = door.router(prefix="/agents", tags=["agents"])
    add_version_routes(versions, door)
    routes.include_router(versions)
    routes.include_router(tools.router(door))
    return routes

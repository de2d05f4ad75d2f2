"""Routes of agents."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.runs.routes import add_run_routes
from datalane.agents.tools import routes as tools
from datalane.agents.versions.routes import add_version_routes
from datalane.contracts.http import Door


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    agents = door.router(prefix="/agents", tags=["agents"])
    add_run_routes(agents, door)
    add_version_routes(agents, door)
    routes.include_router(agents)
    routes.include_router(tools.router(door))
    return routes

"""Routes of access."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.access.analytics.routes import add_analytics_routes
from datalane.access.entitlements.routes import add_entitlement_routes
from datalane.access.lifecycle.routes import add_demo_access_routes
from datalane.access.usage import routes as usage
from datalane.contracts.http import Door


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    mine = door.router(prefix="/access", tags=["access"])
    add_entitlement_routes(mine, door)
    usage.add_answer_routes(mine, door)
    add_demo_access_routes(mine, door)
    routes.include_router(mine)
    routes.include_router(usage.router(door))
    add_analytics_routes(routes, door)
    return routes

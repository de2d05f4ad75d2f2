"""Routes of agents."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.assistant.routes import add_assistant_routes
from datalane.agents.budgets.routes import add_budget_routes
from datalane.agents.evaluations.routes import add_evaluation_routes
from datalane.agents.rollback.routes import add_rollback_routes
from datalane.agents.runs.routes import add_run_routes
from datalane.agents.runtime import AgentsRuntime
from datalane.agents.safety.routes import add_safety_routes
from datalane.agents.spans.routes import add_span_routes
from datalane.agents.tools import routes as tools
from datalane.agents.versions.routes import add_version_routes
from datalane.contracts.http import Door


def router(door: Door, agents: AgentsRuntime) -> APIRouter:
    routes = APIRouter()
    mine = door.router(prefix="/agents", tags=["agents"])
    add_run_routes(mine, door, agents.meters, agents.safety)
    add_budget_routes(mine, door, agents.meters)
    add_version_routes(mine, door)
    add_evaluation_routes(mine, door)
    add_rollback_routes(mine, door)
    add_span_routes(mine, door)
    add_safety_routes(mine, door)
    add_assistant_routes(mine, door, agents.assistant)
    routes.include_router(mine)
    routes.include_router(tools.router(door, agents.tools))
    return routes

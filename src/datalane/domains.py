"""The domains that every lane has, in one list: what they serve, what they work on, what they allow.

A new domain is named here and in the layers of `pyproject.toml`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from datalane.access import permissions as access_permissions
from datalane.access.lifecycle import actions as access_actions
from datalane.access.runtime import AccessRuntime, make_access
from datalane.access.usage.enforcing import RequestQuota
from datalane.access.usage.metering import bound_by_quotas
from datalane.agents import permissions as agent_permissions
from datalane.agents.budgets import admitting as budgets
from datalane.agents.runtime import AgentsRuntime, make_agents
from datalane.agents.safety.moderator import Moderator
from datalane.db.database import Database
from datalane.engine import permissions as engine_permissions
from datalane.engine.actions import Actions
from datalane.engine.handlers import Handlers
from datalane.engine.meters import Meters
from datalane.engine.tools import Tools
from datalane.identity import permissions as identity_permissions
from datalane.integrations import permissions as integration_permissions
from datalane.integrations.runtime import Integrations, make_integrations
from datalane.knowledge import meters as knowledge_meters
from datalane.knowledge import permissions as knowledge_permissions
from datalane.knowledge import tools as knowledge_tools
from datalane.knowledge.documents import actions as document_actions
from datalane.knowledge.moderation.suppressing import CitationSuppressor
from datalane.knowledge.runtime import Knowledge, make_knowledge
from datalane.work import permissions as work_permissions
from datalane.work.fields import handlers as field_handlers
from datalane.work.items import actions as item_actions
from datalane.work.items import tools as item_tools

if TYPE_CHECKING:
    from datalane.contracts.http import MakeRouter
    from datalane.engine.maintenance import Duty
    from datalane.lane import Lane
    from datalane.settings import Settings

PERMISSIONS = (
    engine_permissions,
    identity_permissions,
    work_permissions,
    knowledge_permissions,
    integration_permissions,
    agent_permissions,
    access_permissions,
)
"""The modules that state the lines of the role matrix; importing them has stated them."""

ACTIONS = (item_actions.register_actions, document_actions.register_actions)
"""What adds the actions of the domains."""

METERS = (budgets.register_meters, knowledge_meters.register_meters, bound_by_quotas)
"""What adds the meters of the domains, and what bounds them: the quotas bound all, so they come last."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the domains need while a process runs."""

    knowledge: Knowledge
    integrations: Integrations
    agents: AgentsRuntime
    access: AccessRuntime

    async def aclose(self) -> None:
        await self.knowledge.aclose()
        await self.integrations.aclose()


def make_runtime(settings: Settings, actions: Actions | None = None, moderator: Moderator | None = None) -> Runtime:
    """It starts nothing yet; use it with `open_runtime`. `actions` are the application's, beside those of the domains,
    and `moderator` judges contents of agents.

    Raises `ConfigurationError` for an unusable file store, for an action that has the name of a domain's, and for a
    moderator that cannot be loaded or is one too many.
    """
    known = Actions()
    for action in actions or ():
        known.add(action)
    for register_actions in ACTIONS:
        register_actions(known)
    meters = Meters()
    for register_meters in METERS:
        register_meters(meters)
    access = make_access(settings)
    access_actions.register_actions(known, access.signals)
    knowledge, tools = make_knowledge(settings), Tools()
    item_tools.register_tools(tools)
    knowledge_tools.register_tools(tools, knowledge, settings.limits)
    return Runtime(
        knowledge,
        make_integrations(settings, known),
        make_agents(settings, tools, meters, CitationSuppressor(), moderator),
        access,
    )


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    made: Runtime | None = None,
    actions: Actions | None = None,
    moderator: Moderator | None = None,
) -> AsyncIterator[Runtime]:
    """`made`, or one that is made as by `make_runtime`, whose children end with the block. Raises as that does."""
    runtime = made or make_runtime(settings, actions, moderator)
    try:
        yield runtime
    finally:
        await runtime.aclose()


def domain_routers(runtime: Runtime) -> list[MakeRouter]:
    """The routes of every domain, for `create_app`; a worker has none and loads none of their code."""
    from datalane.access import routes as access_routes
    from datalane.agents import routes as agent_routes
    from datalane.integrations import routes as integration_routes
    from datalane.knowledge import routes as knowledge_routes
    from datalane.work import routes as work_routes

    return [
        work_routes.router,
        partial(knowledge_routes.router, knowledge=runtime.knowledge),
        partial(integration_routes.router, integrations=runtime.integrations),
        partial(agent_routes.router, agents=runtime.agents),
        access_routes.router,
    ]


def request_quota(lane: Lane, settings: Settings) -> RequestQuota | None:
    """What counts the requests of workspaces, where the settings name a quota for them."""
    quota = settings.usage.request_quota
    return None if quota is None else RequestQuota(lane, quota)


def register_handlers(handlers: Handlers, database: Database, runtime: Runtime) -> None:
    """The handlers of the lane's own jobs."""
    runtime.knowledge.register(handlers, database)
    runtime.integrations.register(handlers, database)
    runtime.agents.register(handlers, database)
    runtime.access.register(handlers, database)
    field_handlers.register(handlers)


def maintenance_duties(settings: Settings) -> list[Duty]:
    """What the maintenance process does for the domains."""
    from datalane.access.analytics.forgetting import forgetting_analytics
    from datalane.access.lifecycle.sweeping import sweeping as sweeping_demo_access
    from datalane.access.usage.sweeping import forgetting_usage, sweeping_usage
    from datalane.agents.forgetting import forgetting as forgetting_agents
    from datalane.agents.runs.sweeping import sweeping
    from datalane.agents.spans.forgetting import forgetting_traces
    from datalane.db.roles import Roles
    from datalane.integrations.forgetting import forgetting
    from datalane.knowledge.own_indexes.promotion import Promotion

    return [
        Promotion(settings.search, Roles(settings.role_prefix)).duty,
        forgetting(settings.retention),
        sweeping(),
        forgetting_agents(settings.retention),
        forgetting_traces(),
        sweeping_usage(),
        forgetting_usage(settings.retention.usage),
        sweeping_demo_access(),
        forgetting_analytics(settings.retention.analytics),
    ]

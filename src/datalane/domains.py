"""The domains that every lane has, in one list: what they serve, what they work on, what they allow.

A new domain is named here and in the layers of `pyproject.toml`, and nowhere else. `Knowledge` is what the domains
need while a process runs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from datalane.db.database import Database
from datalane.engine import permissions as engine_permissions
from datalane.engine.handlers import Handlers
from datalane.identity import permissions as identity_permissions
from datalane.knowledge import permissions as knowledge_permissions
from datalane.work import permissions as work_permissions
from datalane.work.fields import handlers as field_handlers

if TYPE_CHECKING:
    from datalane.contracts.http import MakeRouter
    from datalane.engine.maintenance import Duty
    from datalane.knowledge.runtime import Knowledge
    from datalane.settings import Settings

PERMISSIONS = (engine_permissions, identity_permissions, work_permissions, knowledge_permissions)
"""The modules that state the lines of the role matrix; importing them has stated them."""


def domain_routers(knowledge: Knowledge) -> list[MakeRouter]:
    """The routes of every domain, for `create_app`; a worker has none and loads none of their code."""
    from datalane.integrations import routes as integration_routes
    from datalane.knowledge import routes as knowledge_routes
    from datalane.work import routes as work_routes

    return [work_routes.router, partial(knowledge_routes.router, knowledge=knowledge), integration_routes.router]


def register_handlers(handlers: Handlers, database: Database, knowledge: Knowledge) -> None:
    """The handlers of the lane's own jobs."""
    knowledge.register(handlers, database)
    field_handlers.register(handlers)


def maintenance_duties(settings: Settings) -> list[Duty]:
    """What the maintenance process does for the domains."""
    from datalane.db.roles import Roles
    from datalane.knowledge.own_indexes.promotion import Promotion

    return [Promotion(settings.search, Roles(settings.role_prefix)).duty]

"""The contracts of the code, without a database: the application is built to be described, not to be run."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from datalane.api.app import create_app
from datalane.contracts.exports import Contracts, describe_contracts
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import Runtime, domain_routers
from datalane.errors import ConfigurationError
from datalane.settings import Settings


class ClosedLane:
    """What the HTTP face needs to say what it offers: the default settings, and no database."""

    settings = Settings.model_construct()

    @property
    def database(self) -> Database:
        raise ConfigurationError("this lane was made to describe its routes; it has no database")


_AGENTS = SimpleNamespace(tools=None, meters=None, assistant=None, safety=SimpleNamespace(moderator=None))
_NOT_RUNNING = cast("Runtime", SimpleNamespace(knowledge=None, integrations=None, agents=_AGENTS))


def describe_code() -> Contracts:
    """Import the application first, so that its event types are registered."""
    return describe_contracts(EVENTS, describe_http())


@cache
def describe_http() -> dict[str, Any]:
    """The OpenAPI document of every route; settings of the environment do not show in it."""
    return create_app(ClosedLane(), domain_routers(_NOT_RUNNING)).openapi()

"""A lane with the routes of integrations, an event type of an application, and people who publish it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.api.conftest import OpenLane, ada, bob, client, join, sign_up

from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.actions import Actions
from datalane.engine.registration import register
from datalane.integrations import routes
from datalane.integrations.runtime import Integrations, make_integrations
from datalane.settings import Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]

PAID: dict[str, Any] = {
    "type": "object",
    "properties": {"invoice": {"type": "integer"}},
    "required": ["invoice"],
}


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    EVENTS.register("invoice.paid", PAID)
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
async def integrations(lane: OpenLane) -> AsyncIterator[Integrations]:
    made = make_integrations(lane.settings, Actions())
    yield made
    await made.aclose()


@pytest.fixture
def app(lane: OpenLane, integrations: Integrations) -> FastAPI:
    return shared_app(lane, routes.router, integrations=integrations)

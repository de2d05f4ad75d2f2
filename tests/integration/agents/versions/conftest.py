"""A lane with the routes of agents, and a desk at which versions are registered and priced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.conftest import a_context
from tests.integration.api.conftest import OpenLane, ada, bob, client, join, sign_up

from datalane.agents import routes
from datalane.agents.versions import models, output_schemas, prices, prompts
from datalane.agents.versions.schemas import (
    ModelPrice,
    NewAgentModel,
    NewModelPrice,
    NewOutputSchema,
    NewPrompt,
    RegisteredAgentModel,
    RegisteredOutputSchema,
    RegisteredPrompt,
)
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.settings import Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]


@dataclass
class Desk:
    """Every method is a transaction of its own, as `context`."""

    database: Database
    context: Context

    def acting(self, role: Role) -> Desk:
        return Desk(self.database, replace(self.context, role=role))

    async def prompt(self, template: str = "Answer {question}.", name: str = "answer") -> RegisteredPrompt:
        async with self.database.transaction(self.context) as tx:
            return await prompts.register_prompt(tx, NewPrompt(name=name, template=template))

    async def model(self, model: str = "owl-1", **said: Any) -> RegisteredAgentModel:
        async with self.database.transaction(self.context) as tx:
            return await models.register_model(tx, NewAgentModel(**{"provider": "owls", "model": model, **said}))

    async def output_schema(self, schema: dict[str, Any], name: str = "answer") -> RegisteredOutputSchema:
        async with self.database.transaction(self.context) as tx:
            return await output_schemas.register_output_schema(tx, NewOutputSchema(name=name, json_schema=schema))

    async def price(self, model_version_id: UUID, now: datetime | None = None, **said: Any) -> ModelPrice:
        new = {"currency": "USD", "input_per_million": Decimal(3), "output_per_million": Decimal(15), **said}
        async with self.database.transaction(self.context) as tx:
            return await prices.create_price(tx, NewModelPrice(model_version_id=model_version_id, **new), now)

    async def run(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction(self.context) as tx:
            return [tuple(row) for row in await tx.fetch(sql, *arguments)]


@pytest.fixture
def desk(database: Database) -> Desk:
    """An admin's."""
    return Desk(database, a_context(role=Role.ADMIN))


@pytest.fixture
def other_desk(database: Database) -> Desk:
    """That of an admin of another workspace."""
    return Desk(database, a_context(role=Role.ADMIN))


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)

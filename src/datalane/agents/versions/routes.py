"""Routes of versions and prices."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from datalane.agents.permissions import READ_VERSIONS, REGISTER_VERSIONS, SET_PRICES
from datalane.agents.versions import models, output_schemas, prices, prompts
from datalane.agents.versions.schemas import (
    AgentModel,
    AgentModelPage,
    ModelPrice,
    ModelPricePage,
    NewAgentModel,
    NewModelPrice,
    NewOutputSchema,
    NewPrompt,
    OutputSchemaPage,
    OutputSchemaWithText,
    PromptPage,
    PromptWithTemplate,
    RegisteredAgentModel,
    RegisteredOutputSchema,
    RegisteredPrompt,
)
from datalane.contracts.http import Door
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def add_version_routes(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)
    _add_prompts(routes, door, size)
    _add_models(routes, door, size)
    _add_output_schemas(routes, door, size)
    _add_prices(routes, door, size)


def _was_there(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": "It was there"}}


def _add_prompts(routes: APIRouter, door: Door, size: Any) -> None:
    @routes.post("/prompts/register", status_code=201, responses=_was_there(RegisteredPrompt))
    async def register_prompt(
        body: NewPrompt, response: Response, tx: Transaction = door.writer(REGISTER_VERSIONS)
    ) -> RegisteredPrompt:
        """The version of a template: a new one, or the one that is there."""
        registered = await prompts.register_prompt(tx, body)
        response.status_code = 201 if registered.created else 200
        return registered

    @routes.get("/prompts/list")
    async def list_prompts(
        name: Asked = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_VERSIONS, plans=Plans.OWN),
    ) -> PromptPage:
        """Versions of prompts without their templates, the newest first."""
        return await prompts.list_prompts(tx, name, cursor, page_size)

    @routes.get("/prompts/{prompt_version_id}")
    async def get_prompt(prompt_version_id: UUID, tx: Transaction = door.reader(READ_VERSIONS)) -> PromptWithTemplate:
        """One version of a prompt with its template."""
        return await prompts.get_prompt(tx, prompt_version_id)


def _add_models(routes: APIRouter, door: Door, size: Any) -> None:
    @routes.post("/models/register", status_code=201, responses=_was_there(RegisteredAgentModel))
    async def register_model(
        body: NewAgentModel, response: Response, tx: Transaction = door.writer(REGISTER_VERSIONS)
    ) -> RegisteredAgentModel:
        """The version of a model: a new one, or the one that is there."""
        registered = await models.register_model(tx, body)
        response.status_code = 201 if registered.created else 200
        return registered

    @routes.get("/models/list")
    async def list_models(
        provider: Asked = None,
        model: Asked = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_VERSIONS, plans=Plans.OWN),
    ) -> AgentModelPage:
        """Versions of models, the newest first."""
        return await models.list_models(tx, provider, model, cursor, page_size)

    @routes.get("/models/{model_version_id}")
    async def get_model(model_version_id: UUID, tx: Transaction = door.reader(READ_VERSIONS)) -> AgentModel:
        """One version of a model."""
        return await models.get_model(tx, model_version_id)


def _add_output_schemas(routes: APIRouter, door: Door, size: Any) -> None:
    @routes.post("/output-schemas/register", status_code=201, responses=_was_there(RegisteredOutputSchema))
    async def register_output_schema(
        body: NewOutputSchema, response: Response, tx: Transaction = door.writer(REGISTER_VERSIONS)
    ) -> RegisteredOutputSchema:
        """The version of a schema: a new one, or the one that is there."""
        registered = await output_schemas.register_output_schema(tx, body)
        response.status_code = 201 if registered.created else 200
        return registered

    @routes.get("/output-schemas/list")
    async def list_output_schemas(
        name: Asked = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_VERSIONS, plans=Plans.OWN),
    ) -> OutputSchemaPage:
        """Versions of output schemas without their text, the newest first."""
        return await output_schemas.list_output_schemas(tx, name, cursor, page_size)

    @routes.get("/output-schemas/{output_schema_version_id}")
    async def get_output_schema(
        output_schema_version_id: UUID, tx: Transaction = door.reader(READ_VERSIONS)
    ) -> OutputSchemaWithText:
        """One version of an output schema."""
        return await output_schemas.get_output_schema(tx, output_schema_version_id)


def _add_prices(routes: APIRouter, door: Door, size: Any) -> None:
    @routes.post("/prices/create", status_code=201)
    async def create_price(body: NewModelPrice, tx: Transaction = door.writer(SET_PRICES)) -> ModelPrice:
        """Say what a model costs, from now or from a later moment."""
        return await prices.create_price(tx, body)

    @routes.get("/prices/list")
    async def list_prices(
        model_version_id: UUID | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_VERSIONS, plans=Plans.OWN),
    ) -> ModelPricePage:
        """Prices, the last said first."""
        return await prices.list_prices(tx, model_version_id, cursor, page_size)

    @routes.get("/prices/{price_version_id}")
    async def get_price(price_version_id: UUID, tx: Transaction = door.reader(READ_VERSIONS)) -> ModelPrice:
        """One price."""
        return await prices.get_price(tx, price_version_id)

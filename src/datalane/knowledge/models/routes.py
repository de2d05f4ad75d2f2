"""Routes of embedding models."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.knowledge.models import service
from datalane.knowledge.models.schemas import ModelList, ModelState, ModelTarget
from datalane.knowledge.permissions import MANAGE_MODELS, READ_MODELS
from datalane.knowledge.runtime import Knowledge


def router(door: Door, knowledge: Knowledge) -> APIRouter:
    routes = door.router(prefix="/embeddings/models", tags=["embedding models"])

    @routes.get("/list")
    async def list_models(tx: Transaction = door.reader(READ_MODELS)) -> ModelList:
        """The workspace's embedding models with how far they are filled, and those that it may register."""
        return await service.list_models(tx, knowledge.providers)

    @routes.post("/register", status_code=202)
    async def register(body: ModelTarget, tx: Transaction = door.writer(MANAGE_MODELS)) -> ModelState:
        """Have vectors made by another model as well: of what comes, and by jobs of what is there."""
        return await service.register_model(tx, knowledge.providers, body)

    @routes.post("/activate")
    async def activate(body: ModelTarget, tx: Transaction = door.writer(MANAGE_MODELS)) -> ModelState:
        """Search by a model that is filled, from now on. The one before stays ready, for the way back."""
        return await service.activate_model(tx, knowledge.providers, body)

    @routes.post("/retire")
    async def retire(body: ModelTarget, tx: Transaction = door.writer(MANAGE_MODELS)) -> ModelState:
        """Make no more vectors by a model that is not searched; its vectors are removed by jobs."""
        return await service.retire_model(tx, body)

    return routes

"""Is the process alive, and can it serve."""

from __future__ import annotations

import asyncio
from typing import Literal

import asyncpg
from fastapi import APIRouter
from pydantic import BaseModel

from datalane.api.lanes import OpenLane
from datalane.db.faults import translated
from datalane.db.revision import newest_revision
from datalane.errors import DatabaseUnavailable

_PATIENCE_SECONDS = 5


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    revision: str


class SchemaOutdated(DatabaseUnavailable):
    """The database has another revision than this version of the code needs."""

    code = "schema_outdated"


def router(lane: OpenLane) -> APIRouter:
    routes = APIRouter(tags=["health"])
    wanted = newest_revision()

    @routes.get("/healthz")
    async def alive() -> Alive:
        """The process answers. Says nothing about the database."""
        return Alive()

    @routes.get("/readyz")
    async def ready() -> Ready:
        """The database answers and has the schema this version needs; 503 otherwise."""
        found = await _revision(lane)
        if found != wanted:
            raise SchemaOutdated(f"the database is at revision {found or 'none'}, this version needs {wanted}")
        return Ready(revision=wanted)

    return routes


async def _revision(lane: OpenLane) -> str | None:
    try:
        with translated():
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found: str | None = await lane.database.pool.fetchval("SELECT version_num FROM app.schema_version")
                return found
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None

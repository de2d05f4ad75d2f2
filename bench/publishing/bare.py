"""The bare app: FastAPI and asyncpg as somebody writes it in an afternoon, with one insert and no row security.

A request looks its session up, begins, inserts, commits. It is served with the settings of our own API.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from bench.work.bare import SESSION, teach_json, token_hash
from datalane.cli.http_server import serve
from datalane.settings import ApiSettings

TABLE = """
CREATE TABLE public.plain_events (
    event_id uuid NOT NULL PRIMARY KEY, workspace_id uuid NOT NULL, event_type text NOT NULL,
    source_system text NOT NULL, source_event_id text, actor_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    payload jsonb NOT NULL)
"""
_INSERT = """
INSERT INTO public.plain_events (event_id, workspace_id, event_type, source_system, source_event_id, actor_id, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


class NewEvent(BaseModel):
    event_type: str
    payload: dict[str, Any]
    source_system: str
    source_event_id: str | None = None
    occurred_at: datetime | None = None


class Published(BaseModel):
    event_id: uuid.UUID


def create_app(url: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=1, max_size=10, init=teach_json) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/events", status_code=201)
    async def publish(request: Request, body: NewEvent) -> Published:
        async with app.state.pool.acquire() as connection:
            session = await connection.fetchrow(SESSION, token_hash(request))
            if session is None:
                raise HTTPException(401)
            event_id = uuid.uuid4()
            values = (event_id, session["workspace_id"], body.event_type, body.source_system, body.source_event_id)
            async with connection.transaction():
                await connection.execute(_INSERT, *values, session["user_id"], body.payload)
        return Published(event_id=event_id)

    return app


def main() -> None:
    """``python -m bench.publishing.bare PORT``, with the URL in the environment."""
    import uvloop

    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    app = create_app(os.environ["BENCH_URL"])
    uvloop.run(serve(app, listener, ApiSettings(), asyncio.Event(), lambda: print("ready", flush=True)))


if __name__ == "__main__":
    main()

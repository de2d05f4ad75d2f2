"""The bare app: FastAPI and asyncpg as somebody writes it in an afternoon, with the same SQL and no row security.

A request looks its session up, begins, selects, commits. It is served with the settings of our own API.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from datalane.cli.http_server import serve
from datalane.settings import ApiSettings
from datalane.work.items.schemas import Item

SESSION = """
SELECT s.user_id, m.workspace_id, m.role FROM datalane.sessions s
JOIN datalane.memberships m ON m.user_id = s.user_id AND m.status = 'active'
WHERE s.token_hash = $1 AND s.expires_at > now() ORDER BY m.created_at LIMIT 1
"""
_PAGE_SIZE = 25
_PLANS = {"plan_cache_mode": "force_generic_plan"}
"""The list has one good plan. Left to itself the server plans it each time, or not, as its statistics happen to be."""


class Page(BaseModel):
    data: list[Item]
    total_count: int
    page_size: int


def create_app(url: str, sql: str, arguments: Sequence[Any]) -> FastAPI:
    """`sql` is the statement that our API sends for the same list; `arguments` what follows the workspace."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=1, max_size=10, init=teach_json, server_settings=_PLANS) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/items")
    async def list_items(request: Request) -> Page:
        async with app.state.pool.acquire() as connection:
            session = await connection.fetchrow(SESSION, token_hash(request))
            if session is None:
                raise HTTPException(401)
            async with connection.transaction():
                rows = await connection.fetch(sql, session["workspace_id"], *arguments)
        items = [Item(**{name: row[name] for name in Item.model_fields}) for row in rows[:_PAGE_SIZE]]
        return Page(data=items, total_count=rows[0]["total_count"], page_size=_PAGE_SIZE)

    return app


def token_hash(request: Request) -> bytes:
    return hashlib.sha256(request.headers.get("authorization", "").removeprefix("Bearer ").encode()).digest()


async def teach_json(connection: asyncpg.Connection) -> None:
    def write(value: Any) -> str:
        return orjson.dumps(value).decode()

    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=write, decoder=orjson.loads)


def main() -> None:
    """``python -m bench.work.bare PORT``, with the URL, the statement and its arguments in the environment."""
    import uvloop

    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    app = create_app(os.environ["BENCH_URL"], os.environ["BENCH_SQL"], orjson.loads(os.environ["BENCH_ARGUMENTS"]))
    uvloop.run(serve(app, listener, ApiSettings(), asyncio.Event(), lambda: print("ready", flush=True)))


if __name__ == "__main__":
    main()

"""Following a timeline in tests: entries with a deadline, the API on a real socket, and what its streams say."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from tests.integration.work.conftest import Desk

from datalane.api.metrics import OPEN_STREAMS
from datalane.cli.http_server import serve
from datalane.settings import ApiSettings
from datalane.work.timeline.live import Pace, follow
from datalane.work.timeline.schemas import LiveEntry

PATIENCE = 15.0
RUNG_ONLY = Pace(poll=3600, heartbeat=3600)
"""Nothing is found by looking now and then."""


async def take(stream: AsyncGenerator[LiveEntry, None], count: int) -> list[LiveEntry]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(stream) for _ in range(count)]


async def read_all(desk: Desk, after: str = "beginning") -> list[LiveEntry]:
    """Everything after a position, with one more entry at the end, by which the end is known."""
    last = (await desk.create("The end")).item_id
    found, stream = list[LiveEntry](), follow(desk.database, desk.context, after)
    while not found or found[-1].entity_id != last:
        found += await take(stream, 1)
    await stream.aclose()
    return found


def ids(entries: Sequence[LiveEntry]) -> list[UUID]:
    return [entry.entry_id for entry in entries]


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    """A client of the application behind uvicorn, and what stops the server."""
    stop, ready = asyncio.Event(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(serve(app, listener, ApiSettings(), stop, ready.set, app.state.streams.stop))
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
        try:
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
                yield client, stop
        finally:
            stop.set()
            await task


@dataclass
class Said:
    """One block of a stream."""

    fields: dict[str, str]

    @property
    def data(self) -> Any:
        return json.loads(self.fields["data"])


def parse(text: str) -> list[Said]:
    """Blocks by the standard, comments left out."""
    blocks = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if line and not line.startswith(":")]
        if lines:
            blocks.append(Said({name: value for name, _, value in lines}))
    return blocks


@dataclass
class Stream:
    answer: httpx.Response
    text: AsyncIterator[str]
    rest: str = ""

    async def block(self) -> Said:
        """The next one that is no comment."""
        async with asyncio.timeout(PATIENCE):
            while True:
                whole, cut, rest = self.rest.partition("\n\n")
                if not cut:
                    self.rest += await anext(self.text)
                    continue
                self.rest = rest
                if found := parse(whole):
                    return found[0]

    async def event(self) -> Said:
        """The next block that is an event."""
        while "event" not in (found := await self.block()).fields:
            pass
        return found

    async def ended(self) -> bool:
        """Whether nothing comes any more."""
        async with asyncio.timeout(PATIENCE):
            return await anext(self.text, None) is None and not self.rest


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, headers: dict[str, str], query: dict[str, str] | None = None
) -> AsyncIterator[Stream]:
    async with client.stream("GET", "/timeline/live", params=query or {}, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Stream(answer, answer.aiter_text())


def open_streams() -> float:
    (metric,) = OPEN_STREAMS.collect()
    return metric.samples[0].value


async def until_open(count: int) -> None:
    """The server notices by itself that a client left."""
    async with asyncio.timeout(PATIENCE):
        while open_streams() != count:
            await asyncio.sleep(0)

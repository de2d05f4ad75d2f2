"""The real API on a free loopback port, inside this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from datalane.api.app import create_app
from datalane.domains import Runtime, domain_routers
from datalane.lane import Lane


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: asyncio.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command."""
        yield


@asynccontextmanager
async def served(lane: Lane, runtime: Runtime) -> AsyncIterator[str]:
    """The URL of the API for the time of the block."""
    app = create_app(lane, domain_routers(runtime))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listening = asyncio.Event()
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, lifespan="off")
        server = _Server(config, listening)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await listening.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task

"""uvicorn on a socket that is already listening, stopped by an event instead of by its own signal handlers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvicorn.lifespan.on  # uvicorn itself loads these two when it begins to serve, which somebody waits for
import uvicorn.protocols.http.auto

from datalane.settings import ApiSettings

DRAIN_SECONDS = 10
_KEEP_ALIVE_SECONDS = 30


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the caller's: what surrounds the server must be closed in order too."""
        yield


async def serve(
    app: Any,
    listener: socket.socket,
    api: ApiSettings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    end_streams: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` until `stop` is set, then let the requests under way end, for at most ten seconds.

    `end_streams` is called first, for what has no end of its own.

    The client's address is that of the connection, unless a trusted proxy says whom it speaks for.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        root_path=api.root_path,
        proxy_headers=bool(api.trusted_proxies),
        forwarded_allow_ips=api.trusted_proxies,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config, ready)

    async def end() -> None:
        await stop.wait()
        end_streams()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()

"""A TCP relay on 127.0.0.1 that counts round trips: how often the client spoke after the server had.

PostgreSQL's clients wait for the answer before they speak again, so the turns of the conversation are its round trips.
Turns do not depend on time, nor on how TCP cuts the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 65_536


class Relay:
    """Passes bytes on, unchanged. `round_trips` is over all connections, since the relay was opened."""

    def __init__(self, host: str, port: int) -> None:
        self.round_trips = 0
        self._host, self._port = host, port
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        turn = _Turn(self)
        server_reader, server_writer = await self._reach_server()
        there = asyncio.ensure_future(_pass_on(reader, server_writer, turn.client_speaks))
        back = asyncio.ensure_future(_pass_on(server_reader, writer, turn.server_speaks))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            writer.close()
            server_writer.close()

    async def hang_up(self) -> None:
        """Close all connections."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _reach_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)


class _Turn:
    """Who spoke last on one connection."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._client_spoke = False

    def client_speaks(self) -> None:
        if not self._client_spoke:
            self._relay.round_trips += 1
        self._client_spoke = True

    def server_speaks(self) -> None:
        self._client_spoke = False


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: Callable[[], None]) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            speaks()  # before the bytes go on, so before anybody can answer them
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def open_relay(url: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay to the server of `url` (by TCP or by socket), and the URL that leads through it."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    relay = Relay(parts.get("host", "127.0.0.1"), int(parts.get("port", 5432)))
    listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    user, password = (quote(parts[name], safe="") for name in ("user", "password"))
    try:
        yield relay, f"postgresql://{user}:{password}@127.0.0.1:{port}/{parts['dbname']}"
    finally:
        listener.close()
        await relay.hang_up()
        await listener.wait_closed()

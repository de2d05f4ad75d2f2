"""The wire between a worker and its database, which a test may cut at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

CHUNK = 1 << 16


class Wire:
    """Passes bytes between clients and the server. `lose` makes it deliver one request and keep the answer."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._marker: bytes | None = None
        self.lost = asyncio.Event()

    def lose(self, marker: bytes) -> None:
        """Lose the answer to the next statement that contains `marker`, when it is run.

        The server does what was asked; then both sides find the connection closed.
        """
        self._marker = marker
        self.lost.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(str(self._server))
        losing = asyncio.Event()
        ways = [
            asyncio.create_task(self._carry_requests(reader, server_writer, losing)),
            asyncio.create_task(self._carry_answers(server_reader, writer, losing)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, server_writer):
            end.transport.abort()

    async def _carry_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        prepared: bytes | None = None
        while request := await client.read(CHUNK):
            if self._marker is not None and self._marker in request:
                self._marker = None
                if request.startswith(b"Q"):
                    losing.set()
                else:
                    prepared = request[5 : request.index(b"\0", 5)]
            elif prepared is not None and request.startswith(b"B") and prepared in request:
                losing.set()
            server.write(request)
            await server.drain()

    async def _carry_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while answer := await server.read(CHUNK):
            if losing.is_set():
                self.lost.set()
                return
            client.write(answer)
            await client.drain()


@asynccontextmanager
async def wired(url: str, folder: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server of `url`, and the URL of the same database through it. Sockets are made in `folder`."""
    parts = conninfo_to_dict(url)
    name = f".s.PGSQL.{parts['port']}"
    wire = Wire(Path(str(parts["host"])) / name)
    serving = await asyncio.start_unix_server(wire.serve, folder / name)
    user, password, database = parts["user"], parts["password"], parts["dbname"]
    try:
        yield wire, f"postgresql://{user}:{password}@/{database}?host={folder}&port={parts['port']}"
    finally:
        serving.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await serving.wait_closed()

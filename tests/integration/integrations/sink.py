"""A receiver of webhooks on a real socket, which does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from datalane.kit.standard_webhooks import ID


@dataclass(frozen=True)
class Taken:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers[ID]

    @property
    def message(self) -> Any:
        return orjson.loads(self.body)


Reply = Callable[["Taken", asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", **headers: str) -> Reply:
    """A plain answer; `retry_after="7"` is a header."""

    async def reply(taken: Taken, writer: asyncio.StreamWriter) -> None:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} Told", f"content-length: {len(body)}", *lines, "", ""])
        writer.write(head.encode() + body)
        await writer.drain()

    return reply


async def hang(taken: Taken, writer: asyncio.StreamWriter) -> None:
    """Say nothing, for ever."""
    await asyncio.Event().wait()


async def drip(taken: Taken, writer: asyncio.StreamWriter) -> None:
    """One byte of a header every hundredth of a second, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(taken: Taken, writer: asyncio.StreamWriter) -> None:
    """Two gigabytes, as fast as they are taken."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n")
    block = b"x" * 65_536
    for _ in range(32_768):
        writer.write(block)
        await writer.drain()


async def break_off(taken: Taken, writer: asyncio.StreamWriter) -> None:
    """Half an answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def hang_up(taken: Taken, writer: asyncio.StreamWriter) -> None:
    """No answer."""
    writer.close()


@dataclass
class Sink:
    """`taken` is what came, in its order; `reply` is asked for each."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    reply: Reply = field(default_factory=lambda: answer(204))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, count: int, patience: float = 30) -> list[Taken]:
        """Wait until so many requests came."""
        async with asyncio.timeout(patience), self.changed:
            await self.changed.wait_for(lambda: len(self.taken) >= count)
        return list(self.taken)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                taken = Taken(head[0].split()[1], headers, body)
                async with self.changed:
                    self.taken.append(taken)
                    self.changed.notify_all()
                await self.reply(taken, writer)
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Sink]:
    """A sink for the time of the block. What hangs in it is cut off at the end."""
    sink, open_now = Sink(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await sink.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            open_now.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

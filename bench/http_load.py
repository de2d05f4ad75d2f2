"""Two HTTP processes asked by the same client, in turns."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count

CLIENTS = 8
_PATIENCE = 30.0
_ROUND = 2.0

MakeRequest = Callable[[int], bytes]
"""The request of this number."""


@dataclass
class Served:
    """Requests per second of each round."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(ours / bare for ours, bare in zip(self.ours, self.bare, strict=True))


@dataclass(frozen=True)
class Side:
    """Where a process listens, and what it is asked."""

    port: int
    request: MakeRequest


async def take_turns(ours: Side, bare: Side, rounds: int) -> Served:
    """`rounds` of two seconds each; a round before them warms up and is not counted."""
    found, numbers = Served(), count()
    for number in range(rounds + 1):
        turns = [(ours, found.ours), (bare, found.bare)]
        for side, rates in turns if number % 2 else reversed(turns):
            rate = await _load(side, numbers)
            if number:
                rates.append(rate)
    return found


async def ask(side: Side) -> bytes:
    """The body that one request is answered with. Raises RuntimeError for anything but success."""
    async with _connected(side.port) as (reader, writer):
        writer.write(side.request(0))
        return await _answer(reader)


def get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def post(path: str, token: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(arguments: list[str], settings: Mapping[str, str], port: int) -> Iterator[None]:
    """A process, from when it accepts connections; it is ended by its id."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATALANE_")}
    process = subprocess.Popen([sys.executable, *arguments], env={**inherited, **settings})
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(arguments)} did not come up")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


async def _load(side: Side, numbers: Iterator[int]) -> float:
    """Requests per second that so many clients get answered, each on a connection of its own."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(_client(side, numbers, began + _ROUND) for _ in range(CLIENTS)))
    return sum(counts) / (time.perf_counter() - began)


async def _client(side: Side, numbers: Iterator[int], until: float) -> int:
    done = 0
    async with _connected(side.port) as (reader, writer):
        while time.perf_counter() < until:
            writer.write(side.request(next(numbers)))
            await _answer(reader)
            done += 1
    return done


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    [length] = [int(line[15:]) for line in lines if line[:15].lower() == b"content-length:"]
    body = await reader.readexactly(length)
    if b" 20" not in lines[0]:
        raise RuntimeError(f"{lines[0].decode()}: {body[:300].decode(errors='replace')}")
    return body


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

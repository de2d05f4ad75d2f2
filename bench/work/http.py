"""A list of 25 items over HTTP: our API process and the bare app, by the same client, in turns."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson

from bench.work.ground import Ground, opened
from datalane.identity.sessions import begin_session
from datalane.settings import SessionSettings
from datalane.work.fields.definitions import Fields
from datalane.work.query.compose import compose
from datalane.work.query.schemas import read_query

CLIENTS = 8
_PATIENCE = 30.0
_ROUND = 2.0


@dataclass
class Served:
    """Requests per second of each round."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


async def time_http(ground: Ground, rounds: int) -> Served:
    """`rounds` of two seconds each; a round before them warms up and is not counted."""
    async with opened(ground.prepared, size=1) as database:
        session = await begin_session(database, ground.owner_id, ground.workspace_id, SessionSettings())
        composed = compose(read_query({}), Fields(), "english", ground.workspace_id, database.limits)
    ours, bare = _free_port(), _free_port()
    own = {
        **ground.prepared.as_environment(),
        "DATALANE_HOME": tempfile.gettempdir(),
        "DATALANE_LOG_LEVEL": "ERROR",
    }
    theirs = {
        "BENCH_URL": ground.plain_url,
        "BENCH_SQL": composed.sql,
        "BENCH_ARGUMENTS": orjson.dumps(composed.args[1:]).decode(),
    }
    found = Served()
    with (
        _running(["-m", "datalane.cli.main", "api", "--port", str(ours)], own, ours),
        _running(["-m", "bench.work.bare", str(bare)], theirs, bare),
    ):
        _require_same(await _ask(ours, "/items/list", session.token), await _ask(bare, "/items", session.token))
        for number in range(rounds + 1):
            turns = [(ours, "/items/list", found.ours), (bare, "/items", found.bare)]
            for port, path, rates in turns if number % 2 else reversed(turns):
                rate = await _load(port, path, session.token)
                if number:
                    rates.append(rate)
    return found


async def _load(port: int, path: str, token: str) -> float:
    """Requests per second that so many clients get answered, each on a connection of its own."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(_client(port, path, token, began + _ROUND) for _ in range(CLIENTS)))
    return sum(counts) / (time.perf_counter() - began)


async def _client(port: int, path: str, token: str, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request, count = _request(path, token), 0
    try:
        while time.perf_counter() < until:
            writer.write(request)
            await _answer(reader)
            count += 1
    finally:
        writer.close()
    return count


async def _ask(port: int, path: str, token: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(path, token))
        return await _answer(reader)
    finally:
        writer.close()


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body. Raises RuntimeError for anything but 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    [length] = [int(line[15:]) for line in lines if line[:15].lower() == b"content-length:"]
    body = await reader.readexactly(length)
    if b" 200 " not in lines[0]:
        raise RuntimeError(f"{lines[0].decode()}: {body[:300].decode(errors='replace')}")
    return body


def _require_same(ours: bytes, bare: bytes) -> None:
    mine, theirs = ([item["item_id"] for item in orjson.loads(body)["data"]] for body in (ours, bare))
    if mine != theirs or len(mine) != 25:
        raise RuntimeError(f"the apps answer other items: {len(mine)} and {len(theirs)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(arguments: list[str], settings: dict[str, str], port: int) -> Iterator[None]:
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


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

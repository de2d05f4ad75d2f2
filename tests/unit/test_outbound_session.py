"""Requests of a session share connections, and none of them leads inside or takes longer than it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_outbound import HERE, a_context_of_nobody, here

from datalane.kit.outbound import Answer, FetchFailed, FetchRefused, Method, Outbound, Session, check_header

SOON = timedelta(seconds=10)
EXCERPT = 2_048


@dataclass
class Seen:
    """What a server was sent: one entry in `requests` for each, and one in `connections` for each connection."""

    port: int = 0
    connections: list[str] = field(default_factory=list)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def keeping_alive(reply: Reply, **said: Any) -> AsyncIterator[Seen]:
    """A server that reads requests with their bodies, one after the other from each connection."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections.append(str(writer.get_extra_info("peername")))
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
                seen.requests.append((head, body))
                await reply(head.split()[1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            seen.hung_up.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **said)
    async with server:
        seen.port = server.sockets[0].getsockname()[1]
        yield seen


def answer(body: bytes, status: str = "200 OK", *headers: str) -> Reply:
    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return reply


async def send(
    session: Session, url: str, method: Method = "POST", content: bytes | None = b"{}", timeout: timedelta = SOON
) -> Answer:
    return await session.send(method, url, {}, content, timeout, EXCERPT)


async def test_what_is_sent_arrives_as_it_was_said() -> None:
    reply = answer(b"taken", "202 Accepted", "Retry-After: 7", "Set-Cookie: a=b")
    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        url = f"http://127.0.0.1:{seen.port}/hook?x=1"
        told = await session.send("PUT", url, {"X-One": "1", "User-Agent": "mine"}, b'{"a":1}', SOON, EXCERPT)
    assert told == Answer(202, {"retry-after": "7"}, b"taken", truncated=False)
    [(head, body)] = seen.requests
    assert head.startswith("PUT /hook?x=1 HTTP/1.1\r\n")
    assert body == b'{"a":1}'
    ours = [f"host: 127.0.0.1:{seen.port}", "accept-encoding: identity", "content-length: 7"]
    assert sorted(head.lower().splitlines()[1:-1]) == sorted([*ours, "user-agent: mine", "x-one: 1"])


async def test_requests_of_a_session_share_a_connection_and_sessions_do_not() -> None:
    outbound = Outbound(HERE)
    async with keeping_alive(answer(b"x" * (EXCERPT + 5_000))) as seen:
        async with outbound.session() as session:
            for _ in range(5):
                told = await send(session, f"http://127.0.0.1:{seen.port}/")
                assert (len(told.body_excerpt), told.truncated) == (EXCERPT, True)
        assert (len(seen.requests), len(seen.connections)) == (5, 1)
        async with outbound.session() as session:
            await send(session, f"http://127.0.0.1:{seen.port}/")
        assert len(seen.connections) == 2


async def test_a_connection_is_not_used_for_another_name_of_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalane.kit.lookups.look_up", here)
    async with keeping_alive(answer(b"")) as seen, Outbound(HERE).session() as session:
        for name in ("one.example", "two.example", "one.example"):
            await send(session, f"http://{name}:{seen.port}/")
    assert len(seen.connections) == 2
    hosts = [line for head, _ in seen.requests for line in head.splitlines() if line.lower().startswith("host:")]
    assert hosts == [f"host: {name}:{seen.port}" for name in ("one.example", "two.example", "one.example")]


async def test_of_several_addresses_the_next_is_tried_where_one_has_no_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def several(host: str, port: int) -> Any:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.3", "127.0.0.3", "127.0.0.1")]

    monkeypatch.setattr("datalane.kit.lookups.look_up", several)
    async with keeping_alive(answer(b"found")) as seen, Outbound([ip_network("127.0.0.0/8")]).session() as session:
        assert (await send(session, f"http://several.example:{seen.port}/")).body_excerpt == b"found"
    assert len(seen.connections) == 1


async def test_a_name_that_points_inside_when_it_is_dialed_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the checked connection is open, it is the one that is used."""
    lookups: list[str] = []

    def rebinding(host: str, port: int) -> Any:
        lookups.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(lookups) == 1 else "127.0.0.2", port))]

    monkeypatch.setattr("datalane.kit.lookups.look_up", rebinding)
    replies = iter([answer(b"first"), answer(b"second", "200 OK", "Connection: close")])

    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        await next(replies)(path, writer)

    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        url = f"http://rebinding.example:{seen.port}/"
        assert [(await send(session, url)).body_excerpt for _ in range(2)] == [b"first", b"second"]
        with pytest.raises(FetchRefused) as refused:
            await send(session, url)
    assert refused.value.reason == "address_refused"
    assert (len(seen.requests), len(lookups)) == (2, 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"])
async def test_no_way_of_writing_this_machine_is_sent_to(host: str) -> None:
    async with keeping_alive(answer(b"secret")) as seen, Outbound().session() as session:
        with pytest.raises(FetchRefused) as refused:
            await send(session, f"http://{host}:{seen.port}/")
    assert (refused.value.reason, seen.connections) == ("address_refused", [])


async def test_a_redirect_is_an_answer() -> None:
    moved = answer(b"", "307 Moved", "Location: http://127.0.0.2/x")
    async with keeping_alive(moved) as seen, Outbound(HERE).session() as session:
        told = await send(session, f"http://127.0.0.1:{seen.port}/")
    assert (told.status, told.headers["location"], len(seen.requests)) == (307, "http://127.0.0.2/x", 1)


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_the_timeout_is_of_the_whole_exchange(drip: bytes) -> None:
    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(drip)

    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        with pytest.raises(FetchFailed) as failed:
            await send(session, f"http://127.0.0.1:{seen.port}/", timeout=timedelta(milliseconds=200))
        await asyncio.wait_for(seen.hung_up.wait(), 10)
    assert failed.value.reason == "timeout"


@pytest.mark.parametrize("declared", ["Content-Length: 2147483648", "X-Endless: yes"])
async def test_of_an_answer_without_end_an_excerpt_is_read(declared: str) -> None:
    sent = 0

    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\n{declared}\r\n\r\n".encode())
        while True:
            writer.write(b"y" * 65_536)
            await writer.drain()
            sent += 65_536

    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        told = await send(session, f"http://127.0.0.1:{seen.port}/")
        await asyncio.wait_for(seen.hung_up.wait(), 10)
    assert told == Answer(200, {}, b"y" * EXCERPT, truncated=True)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "broken", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]
)
async def test_an_answer_that_breaks_off_is_a_failure(broken: bytes) -> None:
    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(broken)
        raise ConnectionError

    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        with pytest.raises(FetchFailed) as failed:
            await send(session, f"http://127.0.0.1:{seen.port}/")
    assert failed.value.reason == "protocol"


async def test_a_port_that_nobody_listens_at_is_told() -> None:
    async with keeping_alive(answer(b"")) as seen:
        pass
    async with Outbound(HERE).session() as session:
        with pytest.raises(FetchFailed) as failed:
            await send(session, f"http://127.0.0.1:{seen.port}/")
    assert failed.value.reason == "connect"


async def test_who_has_no_certificate_for_the_name_learns_nothing(tmp_path: Path) -> None:
    tls = a_context_of_nobody(tmp_path)
    async with keeping_alive(answer(b""), ssl=tls) as seen, Outbound(HERE).session() as session:
        with pytest.raises(FetchFailed) as failed:
            await send(session, f"https://127.0.0.1:{seen.port}/")
    assert (failed.value.reason, seen.requests) == ("tls", [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("Host", "inside"), ("content-length", "3"), ("Transfer-Encoding", "chunked"), ("Connection", "close")],
        *[("X-A", "one\r\nX-B: two"), ("X-A", "one\ntwo"), ("X-A", "\x00"), ("X-A", "é"), ("X-A", ""), ("X-A", " a")],
        *[("X A", "1"), ("X:A", "1"), ("", "1"), ("X-A\r\n", "1"), ("X-A", "a" * 8_193)],
    ],
)
async def test_a_header_that_could_be_more_than_one_is_refused(name: str, value: str) -> None:
    async with keeping_alive(answer(b"")) as seen, Outbound(HERE).session() as session:
        with pytest.raises(FetchRefused) as refused:
            await session.send("POST", f"http://127.0.0.1:{seen.port}/", {name: value}, b"", SOON, EXCERPT)
    assert (refused.value.reason, seen.connections) == ("bad_header", [])


def test_an_ordinary_header_is_fine() -> None:
    check_header("Authorization", "Bearer " + "a" * 8_000)


async def test_no_failure_quotes_what_was_sent() -> None:
    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"not http at all, tok-3cret\r\n\r\n")

    headers = {"Authorization": "Bearer tok-3cret"}
    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        with pytest.raises(FetchFailed) as failed:
            await session.send("POST", f"http://127.0.0.1:{seen.port}/", headers, b"tok-3cret", SOON, EXCERPT)
        with pytest.raises(FetchRefused) as refused:
            await session.send("POST", f"http://127.0.0.1:{seen.port}/", {"X": "tok-3cret\n"}, b"", SOON, EXCERPT)
    for told in (failed.value, refused.value):
        assert "3cret" not in f"{told} {told.args} {told.__cause__!r}"
        assert told.__cause__ is None


async def test_many_requests_at_once_are_answered_each_with_its_own() -> None:
    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        await answer(path.encode())(path, writer)

    async with keeping_alive(reply) as seen, Outbound(HERE).session() as session:
        urls = [f"http://127.0.0.1:{seen.port}/{number}" for number in range(200)]
        told = await asyncio.gather(*(send(session, url) for url in urls))
    assert [one.body_excerpt.decode() for one in told] == [f"/{number}" for number in range(200)]


def test_secrets_go_to_this_machine_by_its_name_as_by_its_address() -> None:
    here = Outbound([ip_network("127.0.0.0/8")])
    for url in ("http://localhost:8000/a", "http://127.0.0.1:8000/a"):
        assert str(here.check_secure(url)) == url
        with pytest.raises(FetchRefused):
            Outbound().check_secure(url.replace("http:", "https:"))

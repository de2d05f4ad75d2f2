"""What a tenant names is fetched from the outside only, whatever stands in its way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from datalane.errors import LimitExceeded
from datalane.kit.addresses import is_public
from datalane.kit.outbound import FetchFailed, FetchRefused, Outbound, check_url

HERE = (IPv4Network("127.0.0.1/32"),)
MOST = 1_000
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer, address: str = "127.0.0.1", **said: Any) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives the path of each request to `answer`; its URL, and the heads of the requests it had."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        try:
            await answer(head.split()[1], writer)
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, address, 0, **said)
    async with server:
        yield f"{address}:{server.sockets[0].getsockname()[1]}", asked


def said(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(data: bytes) -> Answer:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


INSIDE = """
127.0.0.1 127.8.8.8 10.0.0.1 172.16.5.4 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 239.1.1.1 240.0.0.1
255.255.255.255 192.0.2.1 198.18.0.1 203.0.113.9 :: ::1 fe80::1 fc00::1 fd12:3456::1 ff02::1 2001:db8::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::
192.0.0.8 192.0.0.192 192.88.99.1 168.63.129.16 fec0::1 3fff::1 64:ff9b:1::7f00:1 2001::7f00:1 2002:101:101:: 5f00::1
::127.0.0.1 ::1.1.1.1 ::ffff:0:127.0.0.1 ::ffff:0:1.1.1.1
"""
OUTSIDE = "93.184.216.34 1.1.1.1 2606:2800:220:1::1 ::ffff:1.1.1.1 64:ff9b::101:101"
REFUSED = """
notes.txt //example.com/a http:// http:///a http://[::1 http://a:99999 file:///etc/passwd ftp://example.com/a
gopher://127.0.0.1:6379/_x data:text/plain,x javascript:1 http://xn--a/ https://user:secret@example.com/ https://user@example.com/
"""
THIS_MACHINE = "127.0.0.1 localhost 127.1 2130706433 0x7f000001 0177.0.0.1 [::1] [::ffff:127.0.0.1] 0"


@pytest.mark.parametrize("address", INSIDE.split())
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE.split())
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_an_allowed_network_is_reached_and_its_neighbours_are_not() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    assert is_public(ip_address("10.1.2.3"), allowed)
    assert is_public(ip_address("::ffff:10.1.2.3"), allowed)
    assert is_public(ip_address("fd00:1::9"), allowed)
    assert not is_public(ip_address("10.2.0.1"), allowed)
    assert not is_public(ip_address("fd00:2::9"), allowed)


@pytest.mark.parametrize("url", [*REFUSED.split(), "", f"https://example.com/{'a' * 2_000}"])
def test_what_is_not_a_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", THIS_MACHINE.split())
async def test_no_way_of_writing_this_machine_leads_to_it(host: str) -> None:
    async with answering(always(said(b"secret"))) as (at, asked):
        port = at.rpartition(":")[2]
        with pytest.raises((FetchRefused, FetchFailed)):
            await Outbound().fetch(f"http://{host}:{port}/", MOST)
        assert asked == []


async def test_what_is_allowed_is_fetched_with_its_type_and_without_anything_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with answering(always(said(b"words", "200 OK", "Content-Type: Text/Plain; charset=utf-8"))) as (at, asked):
        fetched = await Outbound(HERE).fetch(f"http://{at}/a/note.txt?x=1#part", MOST)
    assert (fetched.data, fetched.media_type, fetched.url) == (b"words", "text/plain", f"http://{at}/a/note.txt?x=1")
    [head] = asked
    assert head.startswith("GET /a/note.txt?x=1 HTTP/1.1\r\n")
    assert f"host: {at}" in head.lower()
    assert not [name for name in ("authorization", "cookie", "referer") if f"\r\n{name}:" in head.lower()]


async def test_a_redirect_to_the_inside_is_refused_and_not_followed() -> None:
    async with answering(always(said(b"secret")), "127.0.0.2") as (inside, asked):
        moved = always(said(b"", "302 Found", f"Location: http://{inside}/latest/meta-data"))
        async with answering(moved) as (at, _):
            with pytest.raises(FetchRefused):
                await Outbound(HERE).fetch(f"http://{at}/", MOST)
    assert asked == []


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://[", "http://xn--a/"]
)
async def test_a_redirect_to_what_is_no_web_address_ends_it(location: str) -> None:
    async with answering(always(said(b"", "301 Moved", f"Location: {location}"))) as (at, _):
        with pytest.raises((FetchRefused, FetchFailed)):
            await Outbound(HERE).fetch(f"http://{at}/", MOST)


async def test_a_redirect_on_the_same_host_is_followed_and_a_ring_of_them_ends() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(
            said(b"there")
            if path == "/to"
            else said(b"", "308 Moved", "Location: " + ("/to" if path == "/from" else path))
        )

    async with answering(answer) as (at, asked):
        assert (await Outbound(HERE).fetch(f"http://{at}/from", MOST)).url == f"http://{at}/to"
        asked.clear()
        with pytest.raises(FetchFailed, match="more than 5 redirects"):
            await Outbound(HERE).fetch(f"http://{at}/ring", MOST)
        assert len(asked) == 6


def here(host: str, port: int) -> Any:
    return [(2, 1, 6, "", ("127.0.0.1", port))]


async def test_a_relative_redirect_stays_with_its_name_and_takes_no_cookie_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        moved = said(b"", "302 Found", "Location: /to", "Set-Cookie: sid=1; Path=/")
        writer.write(said(b"there") if path == "/to" else moved)

    monkeypatch.setattr("datalane.kit.lookups.look_up", here)
    async with answering(answer) as (at, asked):
        port = at.rpartition(":")[2]
        fetched = await Outbound(HERE).fetch(f"http://site.example:{port}/from", MOST)
    assert fetched.url == f"http://site.example:{port}/to"
    assert [f"host: site.example:{port}" in head.lower() for head in asked] == [True, True]
    assert [head for head in asked if "\r\ncookie:" in head.lower()] == []


async def test_an_international_name_is_asked_for_as_it_stands_in_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """By IDNA 2008: the rules of 2003 make another name of it, which may be somebody else's."""
    lookups: list[str] = []

    def recording(host: str, port: int) -> Any:
        lookups.append(host)
        return here(host, port)

    monkeypatch.setattr("datalane.kit.lookups.look_up", recording)
    async with answering(always(said(b"words"))) as (at, asked):
        await Outbound(HERE).fetch(f"http://faß.example:{at.rpartition(':')[2]}/", MOST)
    assert lookups == ["xn--fa-hia.example"]
    assert "host: xn--fa-hia.example:" in asked[0].lower()


async def test_an_answer_in_countless_parts_is_left() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"1\r\nx\r\n" * 1_000)
            await writer.drain()

    async with answering(answer) as (at, _):
        with pytest.raises(FetchFailed, match="too small parts"):
            await Outbound(HERE).fetch(f"http://{at}/", 1_000_000)


async def test_a_name_is_looked_up_once_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it points to the second time is of no use to anybody."""
    async with answering(always(said(b"words"))) as (at, _):
        port, lookups = int(at.rpartition(":")[2]), list[str]()

        def rebinding(host: str, port: int) -> Any:
            lookups.append(host)
            return [(2, 1, 6, "", ("127.0.0.1" if len(lookups) == 1 else "127.0.0.2", port))]

        monkeypatch.setattr("datalane.kit.lookups.look_up", rebinding)
        fetched = await Outbound(HERE).fetch(f"http://rebinding.example:{port}/", MOST)
        assert (fetched.data, len(lookups)) == (b"words", 1)
        with pytest.raises(FetchRefused):
            await Outbound(HERE).fetch(f"http://rebinding.example:{port}/", MOST)


async def test_a_name_with_one_address_inside_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(host: str, port: int) -> Any:
        return [(2, 1, 6, "", ("127.0.0.1", port)), (2, 1, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr("datalane.kit.lookups.look_up", mixed)
    with pytest.raises(FetchRefused):
        await Outbound(HERE).fetch("http://mixed.example/", MOST)


async def test_a_body_without_end_is_cut_off() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with answering(answer) as (at, _):
        with pytest.raises(LimitExceeded, match="1,000 bytes"):
            await Outbound(HERE).fetch(f"http://{at}/", MOST)


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_who_drips_or_hangs_is_left(drip: bytes) -> None:
    left = asyncio.Event()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(drip)
        await writer.drain()
        await left.wait()

    async with answering(answer) as (at, _):
        with pytest.raises(FetchFailed, match="longer than"):
            await Outbound(HERE, timedelta(milliseconds=200)).fetch(f"http://{at}/", MOST)
        left.set()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (said(b"no", "404 Not Found"), "answered 404"),
        (said(b"no", "500 Oh"), "answered 500"),
        (said(b"", "204 No Content"), "answered 204"),
        (said(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"), "compresses"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "does not answer"),
        (b"", "does not answer"),
    ],
)
async def test_any_other_answer_is_told(answer: bytes, told: str) -> None:
    async with answering(always(answer)) as (at, _):
        with pytest.raises(FetchFailed, match=told):
            await Outbound(HERE).fetch(f"http://{at}/", MOST)


async def test_tls_is_verified_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    names: list[str | None] = []
    context = a_context_of_nobody(tmp_path)
    context.sni_callback = lambda connection, name, _: names.append(name)
    async with answering(always(said(b"secret")), ssl=context) as (at, asked):
        port = at.rpartition(":")[2]
        with pytest.raises(FetchFailed, match="ConnectError"):
            await Outbound((*HERE, ip_network("::1/128"))).fetch(f"https://localhost:{port}/", MOST)
    assert (names, asked) == (["localhost"], [])


def a_context_of_nobody(folder: Path) -> ssl.SSLContext:
    """A server's, with a certificate that nobody vouches for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context

"""Asking what a tenant names, without reaching what only this machine can reach (server-side request forgery).

Every connection resolves its host once, checks each address, and connects to one of these very addresses: a name that
points elsewhere the next time gains nothing. The pool knows connections by scheme, name and port, as TLS verified them,
so a session may use one again for the same name. Redirects are followed by `fetch` only, one by one, each as a
request of its own. Nothing of the environment is used: no proxy, no credentials, no cookies."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from ipaddress import IPv4Address, ip_address
from typing import Final, Literal

import httpcore
import httpx

from datalane.errors import DatalaneError, InvalidInput, LimitExceeded
from datalane.kit.addresses import Address, Network, is_public
from datalane.kit.lookups import Lookups, asking

MOST_REDIRECTS = 5
MOST_URL_CHARACTERS = 2_000

_THIS_MACHINE = IPv4Address("127.0.0.1")
_LOOKUPS = Lookups()
"""Of the process."""
_PARTS, _PART_BYTES = 1_000, 256
"""A body comes in so many parts, and more as they have so many bytes on average."""
_BREATH = 32
"""Parts after which others get their turn."""
_DRAINED = 64 * 1024
"""Bytes that are read past an excerpt, so that the connection can be used again."""
_MOST_ADDRESSES = 4
"""Of a host that are tried, one after the other."""
_IDLE = 5.0
"""Seconds that a connection of a session is kept for the next request."""
_AGENT: Final = "datalane"
_NOT_PUBLIC = "the host of the URL is not known, or has an address that is not public"
_TOLD: Final = ("content-type", "date", "retry-after", "location", "x-request-id", "request-id")
"""Headers of an answer that are handed on, each cut to `_MOST_TOLD` characters."""
_MOST_TOLD = 500
_OURS: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
        *("expect", "accept-encoding", "proxy-connection"),
    }
)
"""Headers that say how the message is carried: who asks does not set them."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]{0,8190}[\x21-\x7e])?")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BROKEN: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    OSError,
    UnicodeError,
)

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class FetchRefused(InvalidInput):
    """The URL, or what should go there, is not one that the lane will send.

    `reason`: `bad_url`, `bad_header`, or `address_refused` for a host that is not known or not public.
    """

    code = "fetch_refused"

    def __init__(self, message: str, reason: Literal["bad_url", "bad_header", "address_refused"] = "bad_url") -> None:
        super().__init__(message)
        self.reason = reason


class FetchFailed(DatalaneError):
    """The other side did not give what was asked for.

    `reason`: `timeout`, `connect`, `tls`, `protocol` for an answer that is broken or breaks off, `answer` for one that
    is whole and not the one that was wanted.
    """

    code = "fetch_failed"
    status = 502
    is_told = True

    def __init__(
        self, message: str, reason: Literal["timeout", "connect", "tls", "protocol", "answer"] = "answer"
    ) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """`url` is where the last redirect led; `media_type` is as it was declared, without parameters."""

    url: str
    media_type: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` are the few that matter afterwards, their names in small letters; `body_excerpt` is as it was sent,
    and `truncated` says that there was more."""

    status: int
    headers: Mapping[str, str]
    body_excerpt: bytes
    truncated: bool


class Session:
    """Requests that may share connections; many may be under way at once. Made by `Outbound.session`."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def send(
        self,
        method: Method,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        timeout: timedelta,
        most_bytes: int,
        whose: Hashable = None,
    ) -> Answer:
        """Send one request and answer what came back, whatever its status; a redirect is an answer and not followed.

        `timeout` is of the whole exchange, the last byte included; `most_bytes` of the body are kept. `whose` it is, as
        a workspace's, bounds the lookups that hang. Raises `FetchRefused`, `FetchFailed`, and `LookupBusy` when half of
        the time is over and no name could be looked up. Nothing of the headers or the content is in their messages.
        """
        checked = check_url(url)
        for name, value in headers.items():
            check_header(name, value)
        with _told_plainly(timeout), asking(whose, timeout / 2):
            async with asyncio.timeout(timeout.total_seconds()), self.ask(method, checked, headers, content) as answer:
                body = await _read(answer, most_bytes, most_bytes + _DRAINED)
                told = {name: value[:_MOST_TOLD] for name, value in _headers(answer) if name in _TOLD}
                return Answer(answer.status, told, bytes(body[:most_bytes]), len(body) > most_bytes)

    @asynccontextmanager
    async def ask(
        self, method: Method, url: httpx.URL, headers: Mapping[str, str], content: bytes | None
    ) -> AsyncIterator[httpcore.Response]:
        """The answer to a checked URL while its body is still to be read. Raises as httpcore does."""
        host = url.raw_host.decode("ascii")
        port = url.port or {"https": 443}.get(url.scheme, 80)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path)
        sent = {"host": url.netloc.decode("ascii"), "user-agent": _AGENT, "accept-encoding": "identity"}
        sent.update((name.lower(), value) for name, value in headers.items())
        extensions = {"sni_hostname": host.rstrip(".")}
        lines = [(name.encode("ascii"), value.encode("ascii")) for name, value in sent.items()]
        async with self._pool.stream(method, target, headers=lines, content=content, extensions=extensions) as answer:
            yield answer


class Outbound:
    """Requests to public addresses, and to those of the networks that the operator allows besides."""

    def __init__(self, allowed: Sequence[Network] = (), timeout: timedelta = timedelta(seconds=30)) -> None:
        self._allowed = tuple(allowed)
        self._timeout = timeout

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A pool of connections of its own, closed with the block. It has no bound of its own on how many there are:
        whoever sends bounds how much is under way."""
        async with httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=_IDLE,
            network_backend=_Guarded(self._allowed),
        ) as pool:
            yield Session(pool)

    def check_secure(self, url: str) -> httpx.URL:
        """`url` as secrets may be sent to it: by https, or to an address in a network that the operator allows.

        Raises `FetchRefused`, also for a host that is written as an address which is not public. Where a name leads is
        checked when it is dialed.
        """
        return check_secure(url, self._allowed)

    async def fetch(self, url: str, most: int, whose: Hashable = None) -> Fetched:
        """The body of `url`, of up to `most` bytes, within the timeout altogether; `whose` is as of `Session.send`.

        Raises `FetchRefused` for a URL that is not http or https, has credentials, or leads to an address that is not
        public; `FetchFailed` for any answer but 200, none, or one that is encoded; `LimitExceeded` for a larger body;
        `LookupBusy`.
        """
        with _told_plainly(self._timeout), asking(whose, self._timeout / 2):
            async with asyncio.timeout(self._timeout.total_seconds()), self.session() as session:
                return await self._follow(session, url, most)

    async def _follow(self, session: Session, url: str, most: int) -> Fetched:
        for _ in range(MOST_REDIRECTS + 1):
            checked = check_url(url)
            async with session.ask("GET", checked, {}, None) as answer:
                headers = dict(_headers(answer))
                if answer.status in _REDIRECTS and "location" in headers:
                    url = str(checked.join(headers["location"]))
                    continue
                if answer.status != httpx.codes.OK:
                    raise FetchFailed(f"the other side answered {answer.status}")
                if headers.get("content-encoding", "identity").lower() != "identity":
                    raise FetchFailed("the other side compresses its answer, which it was asked not to")
                declared = headers.get("content-type", "").partition(";")[0].strip().lower()
                data = await _read(answer, most, most)
                if len(data) > most:
                    raise LimitExceeded(f"what the URL gives has more than {most:,} bytes (limits.upload)")
                return Fetched(str(checked), declared or None, data)
        raise FetchFailed(f"more than {MOST_REDIRECTS} redirects")


@contextmanager
def _told_plainly(timeout: timedelta) -> Iterator[None]:
    """What breaks on the way is told by its class alone, and without its cause: that may quote what was sent."""
    try:
        yield
    except TimeoutError:
        raise FetchFailed(f"the other side took longer than {timeout.total_seconds():g} seconds", "timeout") from None
    except _BROKEN as error:
        raise FetchFailed(f"the other side does not answer ({type(error).__name__})", _reason(error)) from None


def _reason(error: Exception) -> Literal["timeout", "connect", "tls", "protocol"]:
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return "tls"
    if isinstance(error, httpcore.TimeoutException):
        return "timeout"
    return "connect" if isinstance(error, httpcore.ConnectError) else "protocol"


def check_url(url: str) -> httpx.URL:
    """`url` as it may be asked, as far as it can be told without asking anybody. Raises `FetchRefused`."""
    if len(url) > MOST_URL_CHARACTERS:
        raise FetchRefused(f"the URL has more than {MOST_URL_CHARACTERS:,} characters")
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port  # names are decoded here
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchRefused("this is not a URL") from error
    if parsed.scheme not in {"http", "https"}:
        raise FetchRefused("only http and https URLs are fetched")
    if not host or not 0 < (port or 80) < 2**16:
        raise FetchRefused("the URL names no host, or no port that there is")
    if parsed.userinfo:
        raise FetchRefused("the URL holds credentials, which would be kept and shown as the document's source")
    return parsed.copy_with(fragment=None)


def check_secure(url: str, allowed: Sequence[Network] = ()) -> httpx.URL:
    """As `Outbound.check_secure`."""
    checked = check_url(url)
    address = _written(checked.host)
    if address is not None and not is_public(address, allowed):
        raise FetchRefused(_NOT_PUBLIC, "address_refused")
    opened = address is not None and any(address in one for one in allowed if one.version == address.version)
    if checked.scheme != "https" and not opened:
        raise FetchRefused("only https URLs are given secrets, or what is signed with them")
    return checked


def _written(host: str) -> Address | None:
    """The address that a host is written as; `localhost` is this machine, whatever a name server says."""
    if host.rstrip(".").lower() == "localhost":
        return _THIS_MACHINE
    try:
        return ip_address(host)
    except ValueError:
        return None


def check_header(name: str, value: str) -> None:
    """Raises `FetchRefused` for what is no header, or one that says how the message is carried. It quotes no value."""
    if not _HEADER_NAME.fullmatch(name):
        raise FetchRefused("this is not the name of a header", "bad_header")
    if name.lower() in _OURS:
        raise FetchRefused(f"the header {name} is set by the lane", "bad_header")
    if not _HEADER_VALUE.fullmatch(value):
        raise FetchRefused(
            f"the value of the header {name} is not one line of up to 8,192 printable ASCII characters", "bad_header"
        )


def _headers(answer: httpcore.Response) -> Iterator[tuple[str, str]]:
    for name, value in answer.headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")


async def _read(answer: httpcore.Response, most: int, at_most: int) -> bytes:
    """The body, or so much of it that it has more than `most` bytes and no more than a part over `at_most`."""
    data, parts, length = bytearray(), 0, 0
    async for part in answer.aiter_stream():
        parts, length = parts + 1, length + len(part)
        if len(data) <= most:
            data += part
        if length > at_most:
            break
        if parts > _PARTS + length // _PART_BYTES:
            raise FetchFailed("the other side sends its answer in too small parts", "protocol")
        if parts % _BREATH == 0:
            await asyncio.sleep(0)
    return bytes(data)


@cache
def _tls() -> ssl.SSLContext:
    """The public certificate authorities; reading them takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


class _Guarded(httpcore.AsyncNetworkBackend):
    """Dials an address that was checked. Above it everything goes by the name: the pool, the Host header, TLS."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = await self._resolve(host, port)
        for address in others:
            with suppress(httpcore.ConnectError):  # a host may have an address that this machine has no way to
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
        return await self._inner.connect_tcp(str(last), port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise FetchRefused(_NOT_PUBLIC, "address_refused")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of `host` in the order in which they are to be tried, at least one."""
        try:
            addresses = [ip_address(host)]  # nobody is asked, and waited for
        except ValueError:
            addresses = await self._look_up(host, port)
        if not addresses or not all(is_public(each, self._allowed) for each in addresses):
            raise FetchRefused(_NOT_PUBLIC, "address_refused")
        return list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            found = await _LOOKUPS.find(host, port)
        except (socket.gaierror, UnicodeError) as error:
            raise FetchRefused(_NOT_PUBLIC, "address_refused") from error
        return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]

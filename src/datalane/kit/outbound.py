"""Fetching what a tenant names, without reaching what only this machine can reach (server-side request forgery).

Every connection resolves its host once, checks each address, and connects to one of these very addresses: a name that
points elsewhere the next time gains nothing. Redirects are followed one by one, each as a request of its own. Nothing
of the environment is used: no proxy, no credentials, no cookies. What is public is what IANA's special-purpose
registries call global (RFC 6890).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpx

from datalane.errors import DatalaneError, InvalidInput, LimitExceeded

MOST_REDIRECTS = 5
MOST_URL_CHARACTERS = 2_000

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_INSIDE = tuple(
    ip_network(each)
    for each in (
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10", "3fff::/20", "64:ff9b:1::/48"),
        *("2001::/32", "2002::/16", "5f00::/16", "::/96", "::ffff:0:0:0/96"),
    )
)
"""What is not for everybody though not every Python says so: newer registries, hosts of clouds, tunnels that carry an
address of version 4 (Teredo, 6to4, compatible and translated ones)."""
_LOOKUPS = ThreadPoolExecutor(8, "datalane-lookup")
"""Of their own: a name server that does not answer holds its threads for longer than anybody waits."""
_PARTS, _PART_BYTES = 1_000, 256
"""A body comes in so many parts, and more as they have so many bytes on average."""
_BREATH = 32
"""Parts after which others get their turn."""
_AGENT = "datalane (+fetch)"
_NOT_PUBLIC = "the host of the URL is not known, or has an address that is not public"


class FetchRefused(InvalidInput):
    """The URL is not one that the lane will ask."""

    code = "fetch_refused"


class FetchFailed(DatalaneError):
    """The other side did not give what was asked for."""

    code = "fetch_failed"
    status = 502
    is_told = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """`url` is where the last redirect led; `media_type` is as it was declared, without parameters."""

    url: str
    media_type: str | None
    data: bytes


class Outbound:
    """Requests to public addresses, and to those of the networks that the operator allows besides."""

    def __init__(self, allowed: Sequence[Network] = (), timeout: timedelta = timedelta(seconds=30)) -> None:
        self._allowed = tuple(allowed)
        self._timeout = timeout

    async def fetch(self, url: str, most: int) -> Fetched:
        """The body of `url`, of up to `most` bytes, within the timeout altogether.

        Raises `FetchRefused` for a URL that is not http or https, has credentials, or leads to an address that is not
        public; `FetchFailed` for any answer but 200, none, or one that is encoded; `LimitExceeded` for a larger body.
        """
        try:
            async with asyncio.timeout(self._timeout.total_seconds()), self._client() as client:
                return await self._follow(client, url, most)
        except TimeoutError as error:
            raise FetchFailed(f"the other side took longer than {self._timeout.total_seconds():g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise FetchFailed(f"the other side does not answer ({type(error).__name__})") from error

    async def _follow(self, client: httpx.AsyncClient, url: str, most: int) -> Fetched:
        for _ in range(MOST_REDIRECTS + 1):
            checked = check_url(url)
            client.cookies.clear()
            async with client.stream("GET", checked) as answer:
                if answer.next_request is not None:
                    url = str(answer.next_request.url)
                    continue
                if answer.status_code != httpx.codes.OK:
                    raise FetchFailed(f"the other side answered {answer.status_code}")
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise FetchFailed("the other side compresses its answer, which it was asked not to")
                declared = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                return Fetched(str(checked), declared or None, await _read(answer, most))
        raise FetchFailed(f"more than {MOST_REDIRECTS} redirects")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            transport=_Guarded(self._allowed),
            headers={"Accept-Encoding": "identity", "User-Agent": _AGENT},
            follow_redirects=False,
            trust_env=False,
            timeout=self._timeout.total_seconds(),
        ) as client:
            yield client


def look_up(host: str, port: int) -> Sequence[Any]:
    """Where `host` is, as `socket.getaddrinfo` says it."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


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


def is_public(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether anybody may reach `address`, or one of the `allowed` networks has it. A mapped address of version 4, or
    one behind NAT64, is as public as that."""
    carried = _carried(address)
    if carried is not None:
        return is_public(carried, allowed)
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if any(address in network for network in _INSIDE if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


async def _read(answer: httpx.Response, most: int) -> bytes:
    data, parts = bytearray(), 0
    async for part in answer.aiter_raw():
        data += part
        parts += 1
        if len(data) > most:
            raise LimitExceeded(f"what the URL gives has more than {most:,} bytes (limits.upload)")
        if parts > _PARTS + len(data) // _PART_BYTES:
            raise FetchFailed("the other side sends its answer in too small parts")
        if parts % _BREATH == 0:
            await asyncio.sleep(0)
    return bytes(data)


class _Guarded(httpx.AsyncBaseTransport):
    """Connects to an address that was checked; the name stays in the Host header and in what TLS verifies.

    A connection serves one request: the pool knows them by address, and one that was verified for another name must not
    be used again.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        address = await self._resolve(host, request.url.port or {"https": 443}.get(request.url.scheme, 80))
        # A request of its own: where the given one leads is what a redirect is relative to.
        guarded = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host.rstrip(".")},
        )
        return await self._inner.handle_async_request(guarded)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _resolve(self, host: str, port: int) -> Address:
        try:
            found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, look_up, host, port)
        except (socket.gaierror, UnicodeError) as error:
            raise FetchRefused(_NOT_PUBLIC) from error
        addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        if not addresses or not all(is_public(each, self._allowed) for each in addresses):
            raise FetchRefused(_NOT_PUBLIC)
        return addresses[0]

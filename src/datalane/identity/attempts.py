"""How often somebody may try: limits that all processes of the lane share, in token buckets.

Signing in asks three buckets. The pair of address and client stops guessing from one place; the client stops one place
from trying many addresses; the address slows down guessing from many places. The last is what somebody could use to
keep the owner of an address out, so it spares a client that has signed in to that address in the last 30 days, and
gives one attempt back every few seconds to all others. The answer never depends on whether the address has an account.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from datalane.db.database import Database
from datalane.errors import RateLimited
from datalane.identity.queries import queries
from datalane.settings import AttemptSettings, Rate

TRUST = timedelta(days=30)
"""How long a client is trusted with an address after signing in to it."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted, and how much of it is allowed."""

    kind: str
    of: tuple[str, ...]
    rate: Rate

    @property
    def key(self) -> bytes:
        return hashlib.sha256("\0".join((self.kind, *self.of)).encode("utf-8", "replace")).digest()


class AttemptGuard:
    """The limits for one request of `client`, the network address it came from. Each call raises `RateLimited`."""

    def __init__(
        self, database: Database, attempts: AttemptSettings, client: str | None, now: datetime | None = None
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._client = network_of(client)
        self._now = now

    async def admit_sign_in(self, email: str) -> None:
        everywhere = Bucket("address", (email,), self._attempts.sign_in_address)
        client = Bucket("client", (self._client,), self._attempts.client)
        await self._take([self._pair(email), client, everywhere], spared=3)

    async def admit_sign_up(self) -> None:
        await self._take([Bucket("sign_up", (self._client,), self._attempts.sign_up)])

    async def admit_exchange(self) -> None:
        await self._take([Bucket("client", (self._client,), self._attempts.client)])

    async def admit_refresh(self) -> None:
        await self._take([Bucket("refresh", (self._client,), self._attempts.refresh)])

    async def trust(self, email: str) -> None:
        """The password was right: this client is trusted with this address."""
        async with self._database.sign_in_door() as tx:
            await queries.trust_attempt(tx.connection, bucket=self._pair(email).key, kept=TRUST, now=self._now)

    def _pair(self, email: str) -> Bucket:
        return Bucket("sign_in", (email, self._client), self._attempts.sign_in)

    async def _take(self, buckets: Sequence[Bucket], spared: int = 0) -> None:
        async with self._database.sign_in_door() as tx:
            refused = await queries.take_attempt(
                tx.connection,
                buckets=[bucket.key for bucket in buckets],
                bursts=[bucket.rate.burst for bucket in buckets],
                pauses=[bucket.rate.pause for bucket in buckets],
                spared=spared,
                now=self._now,
            )
        if refused["retry_after"] is not None:
            seconds = max(1, math.ceil(refused["retry_after"].total_seconds()))
            raise RateLimited("too many attempts; try again after the seconds that Retry-After says", seconds)


def network_of(client: str | None) -> str:
    """The address, of IPv6 the first 64 bits: whoever has one address there has all. A name that is none stays."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return client or "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), 64), strict=False))
    return str(address)

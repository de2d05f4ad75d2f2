"""Waking who waits, workers and streams: NOTIFY after the commit, on a connection of its own, coalesced.

Not inside the transaction, since every commit with a pending notification takes a lock of the whole instance. A lone
one travels behind its COMMIT in the same message (`Wakeup.travel`), which spares an idle worker's job a round trip. A
lost notification costs a poll interval, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import asyncpg

CHANNEL = "datalane_jobs"
"""Workers listen here: there is work. Without a payload."""
CHANGES = "datalane_changes"
"""Processes with streams listen here: something that streams tell was written. The payload is the workspace's id."""

_SEND = "SELECT pg_notify(told.channel, told.payload) FROM unnest($1::text[], $2::text[]) AS told (channel, payload)"


class Wakeup:
    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._waiting: dict[tuple[str, str], None] = {}
        self._travels = False

    @property
    def sending(self) -> asyncio.Task[None] | None:
        """The notification under way, if any, for a caller that is about to leave the event loop."""
        return self._sending

    def wake(self) -> None:
        """Wake workers."""
        self.notify(CHANNEL)

    @property
    def is_under_way(self) -> bool:
        """Whether a notification is being sent, so that further ones are better gathered."""
        return self._travels or (self._sending is not None and not self._sending.done())

    @contextmanager
    def travel(self) -> Iterator[str]:
        """The statement that wakes workers, for who sends it behind a COMMIT himself. Only while none is under way."""
        self._travels = True
        try:
            yield f"NOTIFY {CHANNEL}"
        finally:
            self._travels = False

    def notify(self, channel: str, payload: str = "") -> None:
        """Send soon. Calls of the same words while others are under way become one more."""
        self._waiting[channel, payload] = None
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                told, self._waiting = list(self._waiting), {}
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                await self._connection.execute(_SEND, *map(list, zip(*told, strict=True)))
        except Exception:  # who waits looks by itself as well; the next call connects anew
            self._waiting.clear()
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._drop()

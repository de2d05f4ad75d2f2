"""Waking idle workers: NOTIFY after the commit, on a connection of its own, coalesced.

Not inside the transaction, since every commit with a pending notification takes a lock of the whole instance. A lost
notification costs a poll interval, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

CHANNEL = "datalane_jobs"


class Wakeup:
    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._again = False

    @property
    def sending(self) -> asyncio.Task[None] | None:
        """The notification under way, if any, for a caller that is about to leave the event loop."""
        return self._sending

    def wake(self) -> None:
        """Send soon. Calls while one is under way become one more."""
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        else:
            self._again = True

    async def _send(self) -> None:
        try:
            while True:
                self._again = False
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                await self._connection.execute(f"NOTIFY {CHANNEL}")
                if not self._again:
                    return
        except Exception:  # workers poll as well; the next wake connects anew
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._drop()

"""Waiting for changes of a workspace: one connection of the process listens, and rings the bells of who waits.

It is there while somebody waits, and comes back by itself. What was told while nobody listened is lost, so every bell
rings when listening begins, and who waits looks now and then without a bell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import asyncpg

from datalane.db.wakeup import CHANGES
from datalane.errors import DatalaneError
from datalane.kit.logs import get_logger

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

log = get_logger(__name__)


class Listening:
    """`turn` bounds who looks at once, so that those who wait leave connections for everybody else."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], at_once: int = 1) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._connect = connect
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._keeper: asyncio.Task[None] | None = None

    @contextmanager
    def bell(self, workspace_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set after changes of the workspace, and whenever some may have been missed."""
        bell, here = asyncio.Event(), str(workspace_id)
        self._bells.setdefault(here, set()).add(bell)
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())
        try:
            yield bell
        finally:
            self._bells[here].discard(bell)
            if not self._bells[here]:
                del self._bells[here]
            if not self._bells:
                self._stop()

    async def close(self) -> None:
        keeper = self._keeper
        self._stop()
        if keeper is not None:
            await asyncio.gather(keeper, return_exceptions=True)

    def _stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._listen()
                pause = _FIRST_PAUSE
            except (DatalaneError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                log.warning("waiting_for_the_database", error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Until the connection is lost."""
        connection = await self._connect()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANGES, self._heard)
            self._ring_all()
            await lost.wait()
        finally:
            connection.terminate()

    def _heard(self, _connection: Any, _pid: int, _channel: str, workspace_id: str) -> None:
        for bell in self._bells.get(workspace_id, ()):
            bell.set()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

"""Calls: single statements that open the tenant door by themselves, each a transaction in one round trip.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. A verb that states
the door before anything else takes one, once it is prepared, and commits by itself. A call is a statement and its
values, and nobody gets hold of the connection, so it goes from one to the next without a way through the pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import Context as Surroundings
from typing import Any

import asyncpg

from datalane.contracts.context import Context
from datalane.db.connections import is_gone
from datalane.db.door import Door, inside_transaction
from datalane.db.faults import stepping
from datalane.errors import Conflict

IN_A_ROW = 100
"""Calls after which a connection goes back to the pool, where others may wait for it."""


class Calls:
    """At most `most` at once, in the order in which they came."""

    def __init__(self, door: Door, most: int) -> None:
        self._door = door
        self._free = most
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._kept: list[asyncpg.Connection] = []
        self._giving_back: set[asyncio.Task[None]] = set()
        self._ended = 0

    async def call(self, context: Context, statement: str, *arguments: Any) -> Any:
        """One value of a statement that calls a verb with `Door.values` of `context`, as $1 to $5, and `arguments`.

        Whether a call that is cancelled, or whose connection breaks, was committed is not known. Raises `Conflict`
        inside a transaction of the same task, which it would not be part of; else as `Transaction.fetchval`.
        """
        if inside_transaction():
            raise Conflict("this is a transaction of its own; call it outside of the one that is open")
        values = self._door.values(context)
        connection = await self._take()
        try:
            with stepping():
                answer = await connection.fetchval(statement, *values, *arguments)
        except BaseException as error:
            try:
                await self._door.give_back(connection, error)
            finally:
                self._pass_on(None)
            raise
        self._ended += 1
        if self._ended % IN_A_ROW:
            self._pass_on(connection)
        else:
            try:
                await self._door.pool.release(connection)
            finally:
                self._pass_on(None)
        return answer

    async def _take(self) -> asyncpg.Connection:
        """A place, and a connection in it."""
        given = None
        if self._free:
            self._free -= 1
            given = self._kept.pop() if self._kept else None
        else:
            turn: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                given = await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it came at the same moment
                    self._pass_on(turn.result())
                raise
        if given is not None and not is_gone(given):
            return given
        try:
            return await self._door.acquire()
        except BaseException:
            self._pass_on(None)
            raise

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        """The place, and the connection if there is one, to the first that waits. If nobody does, the connection is
        kept for whoever calls next, as the caller often does, until the loop has gone round."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._free += 1
        if connection is not None:
            if not self._kept:
                asyncio.get_running_loop().call_soon(self._start_giving_back, context=Surroundings())
            self._kept.append(connection)

    def _start_giving_back(self) -> None:
        if self._kept:
            task = asyncio.ensure_future(self._give_back_kept())
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

    async def _give_back_kept(self) -> None:
        kept, self._kept = self._kept, []
        for connection in kept:
            with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):  # it broke, and the pool has it back
                await self._door.pool.release(connection)

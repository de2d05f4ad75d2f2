"""Calls: single statements that open the tenant door by themselves, each a transaction in one round trip.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. A verb that states
the door before anything else takes one, and commits by itself. A call is a statement and its values, and nobody gets
hold of the connection, so it goes from one to the next without a way through the pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import asyncpg

from datalane.contracts.context import Context
from datalane.db.door import Door
from datalane.db.faults import translated


class Calls:
    """At most `most` at once, in the order in which they came; the rest of the pool's connections is left to others."""

    def __init__(self, door: Door, most: int) -> None:
        self._door = door
        self._free = most
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._kept: list[asyncpg.Connection] = []
        self._giving_back: set[asyncio.Task[None]] = set()

    async def call(self, context: Context, statement: str, *arguments: Any) -> Any:
        """One value of a statement that calls a verb with `Door.values` of `context`, as $1 to $5, and `arguments`.

        Raises as `Transaction.fetchval`. Whether a call that is cancelled, or whose connection breaks, was committed is
        not known.
        """
        values = self._door.values(context)
        connection = await self._take()
        try:
            with translated():
                answer = await connection.fetchval(statement, *values, *arguments)
        except BaseException as error:
            try:
                await self._door.give_back(connection, error)
            finally:
                self._pass_on(None)
            raise
        self._pass_on(connection)
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
        try:
            return given or await self._door.acquire()
        except BaseException:
            self._pass_on(None)
            raise

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        """The place, and the connection if it is whole, to the first that waits. If nobody does, the connection is kept
        for whoever calls next, as the caller often does, until the loop has gone round."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._free += 1
        if connection is not None:
            if not self._kept:
                asyncio.get_running_loop().call_soon(self._start_giving_back)
            self._kept.append(connection)

    def _start_giving_back(self) -> None:
        if self._kept:
            task = asyncio.ensure_future(self._give_back_kept())
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

    async def _give_back_kept(self) -> None:
        while self._kept:
            await self._door.pool.release(self._kept.pop())

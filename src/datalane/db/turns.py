"""Turns: at most so many pieces of work at once, in the order in which they came.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. While others wait
for their turn, the COMMIT of one and the door of the next travel together, and the connection goes from hand to hand:
two round trips, and no way through the pool.

    door(A) ─ statement ─ COMMIT(A) door(B) ─ statement ─ COMMIT(B) door(C) ─ …

Each is still a transaction of its own with one workspace from its first statement to its last; the handle of the
connection is renewed in between (`connections.passed_on`). What the server refuses up to the COMMIT undoes that one
transaction, and the next one waits on, unopened. Should it refuse the next one's door, the one before hears of an error
although it is committed, as with a connection that breaks at its COMMIT.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import asyncpg

from datalane.contracts.context import Context
from datalane.db.connections import roll_back


class Turn:
    """One piece of work's turn. With a `context` its first transaction may be opened for it by the turn before, as part
    of the trace of `traceparent`."""

    __slots__ = ("context", "given", "granted", "is_over", "traceparent", "turns")

    def __init__(self, turns: Turns, context: Context | None, traceparent: str | None) -> None:
        self.turns = turns
        self.context = context
        self.traceparent = traceparent
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.given: asyncpg.Connection | None = None
        self.is_over = False

    def take_connection(self, context: Context) -> asyncpg.Connection | None:
        """The connection on which the transaction of `context`, the turn's own, is open already, if one is.

        It is the caller's now.
        """
        if context is not self.context:
            return None
        connection, self.given = self.given, None
        return connection


class Turns:
    """At most `most` at once. `door` gives the statements that open a transaction of a context in a trace."""

    def __init__(self, pool: asyncpg.Pool, most: int, door: Callable[[Context, str | None], str]) -> None:
        self._pool = pool
        self._free = most
        self._door = door
        self._waiting: deque[Turn] = deque()

    async def wait(self, context: Context | None = None, traceparent: str | None = None) -> Turn:
        """Wait for a turn; give it to `end` whatever happens. With a `context` its first transaction is that one's."""
        turn = Turn(self, context, traceparent)
        if self._free:
            self._free -= 1
            return turn
        self._waiting.append(turn)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if not turn.granted.cancelled():  # it came at the same moment
                await self.end(turn)
            raise
        return turn

    async def commit(self, turn: Turn, connection: asyncpg.Connection, closing: str) -> bool:
        """Send `closing` and the COMMIT. Whether the connection and the turn are the next one's now.

        `closing` must hold a statement: in a transaction that an error has ended it fails, where a COMMIT would say
        ROLLBACK.
        """
        following = None if turn.is_over else self._next()
        if following is None or following.context is None:
            if following is not None:
                self._waiting.appendleft(following)
            await connection.execute(f"{closing}COMMIT")
            return False
        try:
            await connection.execute(f"{closing}COMMIT; {self._door(following.context, following.traceparent)}")
        except BaseException:
            self._put_back(following)
            raise
        if following.granted.done():  # it was cancelled meanwhile
            await roll_back(connection)
            return False
        turn.is_over = True
        following.given = connection
        following.granted.set_result(None)
        return True

    async def end(self, turn: Turn) -> None:
        """The next one's turn, unless it has it already. What was opened and not used is undone."""
        unused, turn.given = turn.given, None
        try:
            if unused is not None:
                try:
                    await roll_back(unused)
                finally:
                    await self._pool.release(unused)
        finally:
            if not turn.is_over:
                turn.is_over = True
                self._pass_on()

    def _next(self) -> Turn | None:
        """The first in the queue that still waits, taken off it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.granted.done():
                return turn
        return None

    def _put_back(self, turn: Turn) -> None:
        if turn.granted.done():
            return
        if self._free:  # somebody ended meanwhile and found nobody waiting
            self._free -= 1
            turn.granted.set_result(None)
        else:
            self._waiting.appendleft(turn)

    def _pass_on(self) -> None:
        following = self._next()
        if following is None:
            self._free += 1
        else:
            following.granted.set_result(None)

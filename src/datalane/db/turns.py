"""Turns: at most so many pieces of work at once, in the order in which they came.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. While others wait
for their turn, the COMMIT of one and the door of the next travel together, and the connection goes from hand to hand:
two round trips, and no way through the pool.

    door(A) ─ statement ─ COMMIT(A) door(B) ─ statement ─ COMMIT(B) door(C) ─ …

Each is still a transaction of its own with one workspace from its first statement to its last, and nobody can reach
from one into the next (`connections.passed_on`). What the server refuses up to the COMMIT undoes that one transaction,
and the next one waits on, unopened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import asyncpg

from datalane.contracts.context import Context
from datalane.db.connections import roll_back


class Turn:
    """One piece of work's turn. With a `context` its first transaction may be opened for it by the turn before."""

    __slots__ = ("context", "given", "granted", "is_over", "turns")

    def __init__(self, turns: Turns, context: Context | None) -> None:
        self.turns = turns
        self.context = context
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.given: asyncpg.Connection | None = None
        self.is_over = False

    def take_connection(self) -> asyncpg.Connection | None:
        """The connection on which this one's transaction is open already, if one is; it is the caller's now."""
        connection, self.given = self.given, None
        return connection

    async def commit(self, connection: asyncpg.Connection, closing: str) -> bool:
        """Send `closing` and the COMMIT. Whether the connection and the turn are the next one's now.

        `closing` must hold a statement: in a transaction that an error has ended it fails, where a COMMIT would say
        ROLLBACK.
        """
        following = None if self.is_over else self.turns.take_following()
        if following is None or following.context is None:
            await connection.execute(f"{closing}COMMIT")
            return False
        try:
            await connection.execute(f"{closing}COMMIT; {self.turns.door(following.context)}")
        except BaseException:
            self.turns.put_back(following)
            raise
        if following.granted.done():  # it was cancelled meanwhile
            await roll_back(connection)
            return False
        self.is_over = True
        following.given = connection
        following.granted.set_result(None)
        return True


class Turns:
    """At most `most` at once. `door` gives the statements that open a transaction of a context."""

    def __init__(self, pool: asyncpg.Pool, most: int, door: Callable[[Context], str]) -> None:
        self.door = door
        self._pool = pool
        self._free = most
        self._waiting: deque[Turn] = deque()

    async def wait(self, context: Context | None = None) -> Turn:
        """Wait for a turn; give it to `end` whatever happens. With a `context` its first transaction is that one's."""
        turn = Turn(self, context)
        if self._free:
            self._free -= 1
            return turn
        self._waiting.append(turn)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if not turn.granted.cancelled():  # it came at the same moment
                await self.end(turn)
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        return turn

    async def end(self, turn: Turn) -> None:
        """The next one's turn, unless it has it already."""
        unused = turn.take_connection()
        try:
            if unused is not None:
                await roll_back(unused)
                await self._pool.release(unused)
        finally:
            if not turn.is_over:
                turn.is_over = True
                self._pass_on()

    def take_following(self) -> Turn | None:
        """The next one, off the queue, if its transaction may be opened for it."""
        if self._waiting and self._waiting[0].context is not None:
            return self._waiting.popleft()
        return None

    def put_back(self, turn: Turn) -> None:
        if not turn.granted.done():
            self._waiting.appendleft(turn)

    def _pass_on(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.granted.done():
                following.granted.set_result(None)
                return
        self._free += 1

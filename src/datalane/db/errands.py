"""Errands: short pieces of work, each in a transaction of its own workspace, run by few connections.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. While others wait,
the COMMIT of one and the door of the next travel together, and one task sees to all of them in the order in which they
came: two round trips, no way through the pool, and nothing that is handed from task to task.

    door(A) ─ act(A) ─ COMMIT(A) door(B) ─ act(B) ─ COMMIT(B) door(C) ─ …

Each is still a transaction of its own with one workspace from its first statement to its last; the handle of the
connection is renewed in between (`connections.passed_on`). What the server refuses up to the COMMIT undoes that one
transaction, and the next one waits on, unopened. Should it refuse the next one's door, the one before hears of an error
although it is committed, as with a connection that breaks at its COMMIT.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import asyncpg

from datalane.contracts.context import Context
from datalane.db.connections import passed_on, roll_back
from datalane.db.door import ENDED, Door, enter, give_back, inside_transaction, leave
from datalane.db.faults import stepping, translated
from datalane.db.transaction import Transaction
from datalane.errors import Conflict
from datalane.kit import tracing

T = TypeVar("T")
Act = Callable[[Transaction], Awaitable[T]]


class _Errand(Generic[T]):
    """Somebody's work, and where its answer is awaited."""

    __slots__ = ("act", "answer", "context", "traceparent", "transaction")

    def __init__(self, context: Context, act: Act[T]) -> None:
        self.context = context
        self.act = act
        self.traceparent = tracing.current_traceparent()
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.transaction: Transaction | None = None

    async def traced(self, transaction: Transaction) -> T:
        with tracing.unit("errand", tracing.Kind.CONSUMER, self.traceparent):
            return await self.act(transaction)

    def fail(self, error: BaseException) -> None:
        if self.answer.done():
            return
        if isinstance(error, Exception):
            self.answer.set_exception(error)
        else:
            self.answer.cancel()


class Errands:
    """Runs errands on `most` connections of the door's pool at once."""

    def __init__(self, door: Door, most: int) -> None:
        self._door = door
        self._free = most
        self._waiting: deque[_Errand[Any]] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self, context: Context, act: Act[T]) -> T:
        """What `act` answers in a transaction of `context`, which is committed then; what it raises undoes it. Inside a
        transaction of the same task it is a savepoint.

        Who is cancelled while waiting is passed over; what has begun is finished. While traces are recorded everybody
        runs in a transaction opened for it alone, so that its statements are told of its own trace.
        """
        if inside_transaction() or tracing.records():
            async with self._door.transaction(context) as tx:
                return await act(tx)
        errand = _Errand(context, act)
        self._waiting.append(errand)
        if self._free:
            self._free -= 1
            # It serves others too, so nothing of this caller's is around it.
            task = asyncio.get_running_loop().create_task(self._serve(), context=contextvars.Context())
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        answer = await errand.answer
        if errand.transaction is not None:
            await errand.transaction.run_after_commit()
        return answer

    async def _serve(self) -> None:
        try:
            while (errand := self._next()) is not None:
                try:
                    connection = await self._door.acquire()
                except BaseException as error:
                    errand.fail(error)
                    if not isinstance(error, Exception):
                        raise
                else:
                    await self._serve_on(connection, errand)
        finally:
            self._free += 1

    async def _serve_on(self, connection: asyncpg.Connection, first: _Errand[Any]) -> None:
        """From the first on, until nobody waits or something fails; gives the connection back."""
        errand: _Errand[Any] | None = first
        following: _Errand[Any] | None = None
        try:
            await self._open(connection, first)
            while errand is not None:
                transaction = self._door.transaction_on(connection, errand.context, errand.traceparent)
                token = enter(transaction)
                try:
                    answer = await (
                        errand.act(transaction) if errand.traceparent is None else errand.traced(transaction)
                    )
                finally:
                    leave(token)
                following = self._next()
                if following is not None:  # nothing that is left of this transaction may reach into the next one
                    connection = passed_on(connection)
                await self._commit(connection, transaction, following)
                if not errand.answer.done():
                    errand.transaction = transaction
                    errand.answer.set_result(answer)
                errand, following = following, None
                if errand is not None and errand.answer.done():  # cancelled since
                    await roll_back(connection)
                    break
        except BaseException as error:
            if following is not None:
                self._waiting.appendleft(following)
            ours = await give_back(self._door.pool, connection, error)
            assert errand is not None
            errand.fail(_caused(ours, error))
            if not isinstance(error, Exception):
                raise
        else:
            await self._door.pool.release(connection)

    async def _open(self, connection: asyncpg.Connection, errand: _Errand[Any]) -> None:
        with stepping():
            await connection.execute(self._door.statements(errand.context, errand.traceparent))

    async def _commit(
        self, connection: asyncpg.Connection, transaction: Transaction, following: _Errand[Any] | None
    ) -> None:
        """With the door of the next one, if there is one. In a transaction that an error has ended the statement before
        the COMMIT fails, where a COMMIT would say ROLLBACK."""
        closing = f"{transaction.closing}SET CONSTRAINTS ALL IMMEDIATE; COMMIT"
        if following is not None:
            closing = f"{closing}; {self._door.statements(following.context, following.traceparent)}"
        try:
            with translated():
                await connection.execute(closing)
        except asyncpg.InFailedSQLTransactionError as error:
            raise Conflict(ENDED) from error

    def _next(self) -> _Errand[Any] | None:
        """The first that still waits, taken off."""
        while self._waiting:
            errand = self._waiting.popleft()
            if not errand.answer.done():
                return errand
        return None


def _caused(ours: Exception | None, error: BaseException) -> BaseException:
    if ours is None:
        return error
    ours.__cause__ = error
    return ours

"""Errands: short pieces of work, each in a transaction of its own workspace, run by few connections.

A transaction with one statement in it takes three round trips: its door, the statement, its COMMIT. While others wait,
the COMMIT of one and the door of the next travel together, and one task sees to all of them in the order in which they
came: two round trips, no way through the pool, and nothing that is handed from task to task.

Compare turns (`datalane.db.turns`), where a connection goes to the task of whoever's turn it is: for work that may take
long, as a job's.

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
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import asyncpg

from datalane.contracts.context import Context
from datalane.db.connections import passed_on, roll_back
from datalane.db.door import ENDED, Door, enter, give_back, inside_transaction
from datalane.db.faults import stepping, translated
from datalane.db.transaction import Transaction
from datalane.errors import Conflict
from datalane.kit import tracing
from datalane.kit.logs import get_logger

T = TypeVar("T")
Act = Callable[[Transaction], Coroutine[Any, Any, T]]

log = get_logger(__name__)


class _Errand(Generic[T]):
    """Somebody's work, what opens its transaction, and where its answer is awaited."""

    __slots__ = ("act", "answer", "context", "opening", "surroundings", "traceparent")

    def __init__(self, context: Context, act: Act[T], door: Door) -> None:
        self.context = context
        self.act = act
        self.traceparent = tracing.current_traceparent()
        self.opening = door.statements(context, self.traceparent)
        self.surroundings = contextvars.copy_context()
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def succeed(self, answer: T) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

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
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, context: Context, act: Act[T]) -> T:
        """What `act` answers in a transaction of `context`, which is committed then; what it raises undoes it. Inside a
        transaction of the same task it is a savepoint.

        Who is cancelled while waiting is passed over; what has begun is finished. While traces are recorded everybody
        runs in a transaction opened for it alone, so that its statements are told of its own trace.
        """
        if inside_transaction() or tracing.records():
            async with self._door.transaction(context) as tx:
                return await act(tx)
        errand = _Errand(context, act, self._door)
        self._waiting.append(errand)
        if self._free:
            self._free -= 1
            self._start(self._serve())
        return await errand.answer

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """It serves others too, so nothing of whoever happens to start it is around it."""
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        """Until nobody waits."""
        while (errand := self._next()) is not None:
            try:
                await self._serve_from(errand)
            except BaseException as error:
                errand.fail(error)
                if not isinstance(error, Exception) and _is_ending():  # so does the loop
                    self._free += 1
                    for each in self._waiting:
                        each.fail(error)
                    raise
        self._free += 1

    async def _serve_from(self, errand: _Errand[Any]) -> None:
        """On one connection, from this one on until nobody waits or something fails. What is raised is the fault of the
        pool alone."""
        connection = await self._door.acquire()
        following: _Errand[Any] | None = errand
        is_open = False
        try:
            while following is not None:
                errand, following = following, None
                if errand.answer.done():  # cancelled since
                    break
                if not is_open:
                    with stepping():
                        await connection.execute(errand.opening)
                    is_open = True
                transaction = self._door.transaction_on(connection, errand.context, errand.traceparent)
                errand.surroundings.run(enter, transaction)
                answer = await _Within(errand.surroundings, errand.act(transaction))
                following = self._next()
                if following is not None:  # nothing that is left of this transaction may reach into the next one
                    connection = passed_on(connection)
                await _commit(connection, transaction, following)
                if transaction.is_followed:
                    self._start(_follow(transaction, errand, answer))
                else:
                    errand.succeed(answer)
        except BaseException as error:
            if following is not None:
                self._waiting.appendleft(following)
            errand.fail(await self._give_back(connection, error))
            if not isinstance(error, Exception) and _is_ending():
                raise
        else:
            await roll_back(connection)  # the door of whoever was cancelled
            await self._door.pool.release(connection)

    async def _give_back(self, connection: asyncpg.Connection, error: BaseException) -> BaseException:
        """Undo, and answer what to tell of it."""
        try:
            ours = await give_back(self._door.pool, connection, error)
        except (asyncpg.InterfaceError, OSError) as worse:
            log.warning("connection_not_given_back", error=str(worse))
            return error
        if ours is None:
            return error
        ours.__cause__ = error
        return ours

    def _next(self) -> _Errand[Any] | None:
        """The first that still waits, taken off."""
        while self._waiting:
            errand = self._waiting.popleft()
            if not errand.answer.done():
                return errand
        return None


class _Within(Generic[T]):
    """Awaits work as if in its caller's surroundings: what is logged and traced, and whatever else context variables
    hold, is the caller's. A task of its own would do the same, and take longer than the work."""

    __slots__ = ("_surroundings", "_work")

    def __init__(self, surroundings: contextvars.Context, work: Coroutine[Any, Any, T]) -> None:
        self._surroundings = surroundings
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._work.send
        given: Any = None
        while True:
            try:
                awaited = self._surroundings.run(step, given)
            except StopIteration as ended:
                answer: T = ended.value
                return answer
            try:
                step, given = self._work.send, (yield awaited)
            except BaseException as error:
                step, given = self._work.throw, error


async def _commit(connection: asyncpg.Connection, transaction: Transaction, following: _Errand[Any] | None) -> None:
    """With the door of the next one, if there is one. The status of a COMMIT is not heard then, so a statement goes
    before it that fails in a transaction that an error has ended."""
    try:
        with translated():
            if following is None:
                status = await connection.execute(f"{transaction.closing}COMMIT")
            else:
                closing = f"{transaction.closing}SET CONSTRAINTS ALL IMMEDIATE; COMMIT"
                await connection.execute(f"{closing}; {following.opening}")
                status = "COMMIT"
    except asyncpg.InFailedSQLTransactionError as error:
        raise Conflict(ENDED) from error
    if status != "COMMIT":
        raise Conflict(ENDED)


async def _follow(transaction: Transaction, errand: _Errand[T], answer: T) -> None:
    """What is to follow the COMMIT, whether or not its caller still waits."""
    try:
        await transaction.run_after_commit()
    except Exception as error:
        errand.fail(error)
    else:
        errand.succeed(answer)


def _is_ending() -> bool:
    """Whether somebody ends this very task, rather than something that it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0

"""The tenant door, the one way to tenant data, and the sign-in door before it is known who asks.

A transaction opens with ONE simple query that begins it, steps into the app role and states the context. Values are
checked before they become literals, and everything is local to the transaction, so a pooled connection keeps
nothing. Statements are used rather than `set_config()`, because only statements reach the workers of a sharded
cluster. What the wall does not stop is SQL injection that changes the context: pass parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context, Role
from datalane.contracts.plans import Plans
from datalane.db.faults import stepping, translate, translated
from datalane.db.roles import Roles
from datalane.db.wakeup import CHANGES, Wakeup
from datalane.errors import Conflict, DatabaseUnavailable, DatalaneError
from datalane.kit.cursors import PROCESS_CURSORS, Cursors
from datalane.kit.tracing import current_traceparent
from datalane.settings import Limits

DEFAULT_LIMITS = Limits()
AfterCommit = Callable[[], Awaitable[None] | None]


class _Stated:
    """What the database was told beside the context, for all views of a transaction: the trace that it attaches to
    jobs, and how statements are planned."""

    __slots__ = ("plans", "traceparent")

    def __init__(self, traceparent: str | None, plans: Plans) -> None:
        self.traceparent = traceparent
        self.plans = plans


class Transaction:
    """One open transaction of one workspace. `connection` is for named queries; the helpers mirror asyncpg."""

    __slots__ = (
        "_after_commit",
        "_closing",
        "_context",
        "_depth",
        "_make_context",
        "_stated",
        "_task",
        "_wakeup",
        "connection",
        "cursors",
        "limits",
    )

    def __init__(
        self,
        connection: asyncpg.Connection,
        context: Context | None,
        wakeup: Wakeup | None = None,
        limits: Limits = DEFAULT_LIMITS,
        traceparent: str | None = None,
        cursors: Cursors = PROCESS_CURSORS,
        plans: Plans = Plans.USUAL,
    ) -> None:
        self.connection = connection
        self.limits = limits
        self.cursors = cursors
        self._context = context
        self._make_context: Callable[[], Context] | None = None
        self._wakeup = wakeup
        self._task = asyncio.current_task()
        self._depth = 0
        self._closing = ""
        self._after_commit: list[AfterCommit] = []
        self._stated = _Stated(traceparent, plans)

    @property
    def context(self) -> Context:
        if self._context is None:
            if self._make_context is None:
                raise DatalaneError("this transaction has no workspace; open lane.transaction(context)")
            self._context = self._make_context()
        return self._context

    @property
    def workspace_id(self) -> UUID:
        return self.context.workspace_id

    def acting_as(self, context: Context) -> Transaction:
        """The same transaction for another actor or cause in the same workspace: it goes along as parameters."""
        if context.workspace_id != self.workspace_id:
            raise Conflict("a transaction belongs to one workspace")
        return self._view(context, None)

    def acting_for(self, workspace_id: UUID, make_context: Callable[[], Context]) -> Transaction:
        """As `acting_as`, with a context that is made when it is first asked for."""
        if workspace_id != self.workspace_id:
            raise Conflict("a transaction belongs to one workspace")
        return self._view(None, make_context)

    def _view(self, context: Context | None, make_context: Callable[[], Context] | None) -> Transaction:
        view = Transaction.__new__(Transaction)
        view.connection = self.connection
        view._context = context
        view._make_context = make_context
        view._wakeup = self._wakeup
        view.limits = self.limits
        view.cursors = self.cursors
        view._task = self._task
        view._depth = 0
        view._closing = ""
        view._after_commit = self._after_commit
        view._stated = self._stated
        return view

    def belongs_to_current_task(self) -> bool:
        return self._task is asyncio.current_task()

    def after_commit(self, action: AfterCommit) -> None:
        """Run `action` once the transaction has committed; never when it rolls back."""
        self._after_commit.append(action)

    def make_cursor(self, listing: str, *position: Any) -> str:
        """The cursor after the row at `position` of the workspace's list `listing`: strings, numbers, booleans, None.

        Whatever else a list is sorted by (ids, times) is written as text. Raises as `Cursors.make`.
        """
        return self.cursors.make(listing, self.workspace_id, *position)

    def read_cursor(self, listing: str, cursor: str | None) -> tuple[Any, ...] | None:
        """The position that `make_cursor` was given; None without a cursor.

        Raises `InvalidInput` for a cursor that is damaged, forged, of another list or of another workspace.
        """
        return self.cursors.read(listing, self.workspace_id, cursor)

    def wake_workers(self) -> None:
        """Tell idle workers, after the commit, that there is work."""
        if self._wakeup is not None and self._wakeup.wake not in self._after_commit:
            self._after_commit.append(self._wakeup.wake)

    def wake_streams(self) -> None:
        """Tell who follows this workspace, after the commit, that something it tells was written."""
        if self._wakeup is not None:
            self._after_commit.append(partial(self._wakeup.notify, CHANGES, str(self.workspace_id)))

    def close_with(self, statement: str) -> None:
        """Send `statement` in the same round trip as the COMMIT; if it fails, everything rolls back.

        It goes as it is, so it may hold only literals that cannot need quoting (UUIDs, integers).
        """
        self._closing += f"{statement}; "

    async def state_trace(self) -> None:
        """Jobs that are enqueued from here on belong to the trace of what runs now.

        The door has stated it for the whole transaction; this sends something only when what runs now is another part
        of the trace, or when jobs of several traces share the transaction.
        """
        current = current_traceparent()
        if current != self._stated.traceparent:
            await self.execute(_trace_statement(current))
            self._stated.traceparent = current

    async def state_plans(self, plans: Plans) -> None:
        """Statements from here on are planned so; there is no way back to `Plans.USUAL`.

        A transaction that was opened so sends nothing; any other one pays a round trip.
        """
        if plans.value and self._stated.plans is not plans:
            await self.execute(_local(plans.value).removeprefix("; "))
            self._stated.plans = plans

    async def execute(self, sql: str, *args: Any) -> str:
        with translated():
            return str(await self.connection.execute(sql, *args))

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        with translated():
            return list(await self.connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        with translated():
            return await self.connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        with translated():
            return await self.connection.fetchval(sql, *args)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Transaction]:
        """A nested unit: an error inside undoes only what happened inside, and is raised on."""
        self._depth += 1
        name, queued = f"datalane_{self._depth}", len(self._after_commit)
        traceparent, plans = self._stated.traceparent, self._stated.plans
        await self.connection.execute(f"SAVEPOINT {name}")
        try:
            yield self
        except BaseException:
            del self._after_commit[queued:]
            self._stated.traceparent, self._stated.plans = traceparent, plans
            await self.connection.execute(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
            raise
        else:
            await self.connection.execute(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    async def _run_after_commit(self) -> None:
        for action in self._after_commit:
            outcome = action()
            if outcome is not None:
                await outcome


_open: ContextVar[Transaction | None] = ContextVar("datalane_transaction", default=None)


def inside_transaction() -> bool:
    """Whether the current task has a transaction open."""
    outer = _open.get()
    return outer is not None and outer.belongs_to_current_task()


def door_statements(context: Context, roles: Roles, traceparent: str | None = None) -> str:
    """The statements that open a transaction for `context`, for use from any driver as one simple query.

    Every value is a UUID, an enum member, a checked token or a checked `traceparent`, so none needs quoting beyond the
    quotes.
    """
    opening = (
        f"BEGIN; SET LOCAL ROLE {roles.app}; "
        f"SET LOCAL app.workspace_id = '{context.workspace_id}'; "
        f"SET LOCAL app.actor_id = '{context.actor_id}'; "
        f"SET LOCAL app.actor_role = '{context.role.value}'; "
        f"SET LOCAL app.correlation_id = '{context.correlation_id}'"
    )
    return opening if traceparent is None else f"{opening}; {_trace_statement(traceparent)}"


def _trace_statement(traceparent: str | None) -> str:
    return f"SET LOCAL app.traceparent = '{traceparent or ''}'"


@asynccontextmanager
async def open_transaction(
    pool: asyncpg.Pool,
    roles: Roles,
    context: Context,
    wakeup: Wakeup | None = None,
    limits: Limits = DEFAULT_LIMITS,
    stated: Sequence[str] = (),
    cursors: Cursors = PROCESS_CURSORS,
    plans: Plans = Plans.USUAL,
) -> AsyncIterator[Transaction]:
    """A transaction of `context`'s workspace; inside another one of the same task it is a savepoint.

    `stated` are settings for the verbs (`stated_settings`); `plans` as `Transaction.state_plans`.

    Raises `Conflict` when the surrounding transaction belongs to another workspace.
    """
    outer = _open.get()
    if outer is not None and outer.belongs_to_current_task():
        inner = outer.acting_as(context)
        same_actor = context.actor_id == outer.context.actor_id or outer.context.role is Role.SYSTEM
        if context.role is not outer.context.role or not same_actor:
            raise Conflict("a nested transaction cannot act as somebody else; open it outside")
        async with inner.savepoint():
            yield inner
        return
    traceparent = current_traceparent()
    opening = door_statements(context, roles, traceparent) + _local([*stated, *plans.value])
    async with _bracket(pool, opening, context, wakeup, limits, traceparent, cursors, plans) as transaction:
        token = _open.set(transaction)
        try:
            yield transaction
        finally:
            _open.reset(token)


@asynccontextmanager
async def open_sign_in_door(pool: asyncpg.Pool, roles: Roles, stated: Sequence[str] = ()) -> AsyncIterator[Transaction]:
    """A transaction before a context exists: it sees no table and calls the verbs of sign-in, no others."""
    async with _bracket(pool, f"BEGIN; SET LOCAL ROLE {roles.signin}{_local(stated)}", None) as transaction:
        yield transaction


def _local(stated: Sequence[str]) -> str:
    return "".join(f"; SET LOCAL {setting}" for setting in stated)


@asynccontextmanager
async def _bracket(
    pool: asyncpg.Pool,
    opening: str,
    context: Context | None,
    wakeup: Wakeup | None = None,
    limits: Limits = DEFAULT_LIMITS,
    traceparent: str | None = None,
    cursors: Cursors = PROCESS_CURSORS,
    plans: Plans = Plans.USUAL,
) -> AsyncIterator[Transaction]:
    with translated():
        connection = await pool.acquire()
    transaction = Transaction(connection, context, wakeup, limits, traceparent, cursors, plans)
    try:
        try:
            with stepping():
                await connection.execute(opening)
            yield transaction
            with translated():
                ended = await connection.execute(f"{transaction._closing}COMMIT")
            if ended != "COMMIT":
                raise Conflict("an error inside had ended the transaction, so it was rolled back; use a savepoint")
        except BaseException as error:
            lost = _is_lost(connection, error)
            await _roll_back(connection)
            if lost and isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
                raise DatabaseUnavailable("the connection to the database was lost") from error
            ours = translate(error) if isinstance(error, asyncpg.PostgresError) else None
            if ours is None:
                raise
            raise ours from error
    finally:
        await pool.release(connection)
    await transaction._run_after_commit()


def _is_lost(connection: asyncpg.Connection, error: BaseException) -> bool:
    """Whether the connection broke while it was ours. The pool takes a broken one back at once, and it answers nothing.

    A connection that broke while something was being sent is not closed yet, but confused.
    """
    try:
        return isinstance(error, asyncpg.InternalClientError) or bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


async def _roll_back(connection: asyncpg.Connection) -> None:
    """Undo, also when cancelled; a broken connection is closed, which undoes as well."""
    try:
        if connection.is_in_transaction():
            await asyncio.shield(connection.execute("ROLLBACK"))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        with suppress(asyncpg.InterfaceError):  # it is back in the pool already
            connection.terminate()

"""The tenant door, the one way to tenant data, and the sign-in door before it is known who asks.

A transaction opens with ONE simple query that begins it, steps into the app role and states the context. Values are
checked before they become literals, and everything is local to the transaction, so a pooled connection keeps
nothing. Statements are used rather than `set_config()`, because only statements reach the workers of a sharded
cluster. What the wall does not stop is SQL injection that changes the context: pass parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context, Role
from datalane.contracts.plans import Plans
from datalane.db.connections import is_lost, passed_on, roll_back
from datalane.db.faults import stepping, translate, translated
from datalane.db.roles import Roles
from datalane.db.transaction import Transaction, local_settings, stated_trace, trace_setting
from datalane.db.turns import Turn
from datalane.db.wakeup import Wakeup
from datalane.errors import Conflict, DatabaseUnavailable
from datalane.kit.contents import Redaction
from datalane.kit.cursors import Cursors
from datalane.kit.envelope import KeySource
from datalane.kit.tracing import current_traceparent
from datalane.settings import Limits

_ENDED = "an error inside had ended the transaction, so it was rolled back; use a savepoint"
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
    return opening if traceparent is None else f"{opening}; {trace_setting(traceparent)}"


@dataclass(frozen=True, slots=True)
class Door:
    """Opens transactions on the connections of `pool`. `stated` are settings for the verbs (`stated_settings`)."""

    pool: asyncpg.Pool
    roles: Roles
    wakeup: Wakeup
    limits: Limits
    cursors: Cursors
    master_keys: KeySource
    redaction: Redaction
    stated: Sequence[str]

    def statements(self, context: Context, traceparent: str | None = None, plans: Plans = Plans.USUAL) -> str:
        return door_statements(context, self.roles, traceparent) + local_settings([*self.stated, *plans.value])

    def transaction(self, context: Context, plans: Plans = Plans.USUAL, turn: Turn | None = None) -> Opening:
        """A transaction of `context`'s workspace; inside another one of the same task it is a savepoint.

        `plans` as `Transaction.state_plans`. With a `turn` it may be open already, and its end may open the next one's.

        Raises `Conflict` when the surrounding transaction belongs to another workspace.
        """
        return Opening(self, context, plans, turn)

    def sign_in(self) -> SignIn:
        """A transaction before a context exists: it sees no table and calls the verbs of sign-in, no others."""
        return SignIn(self)

    def values(self, context: Context) -> tuple[UUID, UUID, str, str, str]:
        """What a verb that states the door by itself is told: workspace, actor, role, correlation and further
        settings."""
        traceparent = current_traceparent()
        stated = self.stated if traceparent is None else [*self.stated, stated_trace(traceparent)]
        settings = local_settings(stated) if stated else ""
        return context.workspace_id, context.actor_id, context.role.value, context.correlation_id, settings

    async def acquire(self) -> asyncpg.Connection:
        with translated():
            return await self.pool.acquire()

    async def give_back(self, connection: asyncpg.Connection, error: BaseException) -> None:
        """Undo what was begun. Raises what `error` is among our errors, if it is one."""
        lost = is_lost(connection, error)
        try:
            await roll_back(connection)
        finally:
            with suppress(asyncpg.InternalClientError):  # one that broke may have been taken from us already
                await self.pool.release(connection)
        ours = translate(error) if isinstance(error, asyncpg.PostgresError) else None
        if lost and isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
            ours = DatabaseUnavailable("the connection to the database was lost")
        if ours is not None:
            raise ours from error


class _Bracket:
    """Opens, commits or undoes, and gives the connection back. A class, since a generator costs more than what it does.

    Without an opening it is open already.
    """

    __slots__ = ("_door", "_transaction", "_turn")

    def __init__(self, door: Door, turn: Turn | None = None) -> None:
        self._door = door
        self._turn = turn
        self._transaction: Transaction | None = None

    async def _open(self, transaction: Transaction, opening: str | None) -> None:
        self._transaction = transaction
        if opening is None:
            return
        try:
            with stepping():
                await transaction.connection.execute(opening)
        except BaseException as error:
            await self._door.give_back(transaction.connection, error)
            raise

    async def _close(self, error: BaseException | None) -> None:
        transaction = self._transaction
        assert transaction is not None
        connection = transaction.connection
        if error is not None:
            await self._door.give_back(connection, error)
            return
        handed_over = False
        try:
            if self._turn is not None:  # nothing that is left of this transaction may reach into the next one
                connection = passed_on(connection)
            with translated():
                handed_over = await _commit(connection, transaction, self._turn)
        except BaseException as failed:
            await self._door.give_back(connection, failed)
            raise
        if not handed_over:
            await self._door.pool.release(connection)
        await transaction.run_after_commit()


class Opening(_Bracket):
    """`async with` it: a transaction through the tenant door, or a savepoint in the one that is open."""

    __slots__ = ("_context", "_inner", "_plans", "_token")

    def __init__(self, door: Door, context: Context, plans: Plans, turn: Turn | None) -> None:
        super().__init__(door, turn)
        self._context = context
        self._plans = plans
        self._inner: AbstractAsyncContextManager[Transaction] | None = None

    async def __aenter__(self) -> Transaction:
        context, door = self._context, self._door
        outer = _open.get()
        if outer is not None and outer.belongs_to_current_task():
            inner = outer.acting_as(context)
            same_actor = context.actor_id == outer.context.actor_id or outer.context.role is Role.SYSTEM
            if context.role is not outer.context.role or not same_actor:
                raise Conflict("a nested transaction cannot act as somebody else; open it outside")
            self._inner = inner.savepoint()
            return await self._inner.__aenter__()
        plans, traceparent, opening = Plans.USUAL, None, None
        connection = self._turn.take_connection(context) if self._turn is not None else None
        if connection is None:
            plans, traceparent = self._plans, current_traceparent()
            opening = door.statements(context, traceparent, plans)
            connection = await door.acquire()
        elif self._turn is not None:
            traceparent = self._turn.traceparent
        transaction = Transaction(
            connection,
            context,
            door.wakeup,
            door.limits,
            traceparent,
            door.cursors,
            plans,
            door.master_keys,
            door.redaction,
        )
        await self._open(transaction, opening)
        self._token = _open.set(transaction)
        return transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._inner is not None:
            return await self._inner.__aexit__(kind, error, trace)
        try:
            _open.reset(self._token)
        except ValueError as misuse:  # opened in another task: nothing may stay open for that
            await self._close(misuse)
            raise
        await self._close(error)
        return None


class SignIn(_Bracket):
    """`async with` it: a transaction through the sign-in door."""

    __slots__ = ()

    async def __aenter__(self) -> Transaction:
        transaction = Transaction(await self._door.acquire(), None)
        await self._open(
            transaction, f"BEGIN; SET LOCAL ROLE {self._door.roles.signin}{local_settings(self._door.stated)}"
        )
        return transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error)


async def _commit(connection: asyncpg.Connection, transaction: Transaction, turn: Turn | None) -> bool:
    """Whether the connection is somebody else's now."""
    closing = transaction.closing
    if turn is not None and closing:
        return await turn.turns.commit(turn, connection, closing)
    wakeup = transaction.take_wake()
    if wakeup is not None:
        with wakeup.travel() as wake:
            await _commit_and(wake, connection, closing)
    elif await connection.execute(f"{closing}COMMIT") != "COMMIT":
        raise Conflict(_ENDED)
    return False


async def _commit_and(wake: str, connection: asyncpg.Connection, closing: str) -> None:
    """The status of the COMMIT is not heard when another statement follows it, so one that fails in a transaction that
    an error has ended goes before it."""
    try:
        await connection.execute(f"{closing}SET CONSTRAINTS ALL IMMEDIATE; COMMIT; {wake}")
    except asyncpg.InFailedSQLTransactionError as error:
        raise Conflict(_ENDED) from error
    except asyncpg.ProgramLimitExceededError:
        if connection.is_in_transaction():
            raise
        # It is committed. The queue of notifications is full, so workers find the job when they next look.

"""The tenant door, the one way to tenant data, and the sign-in door before it is known who asks.

A transaction opens with ONE simple query that begins it, steps into the app role and states the context. Values are
checked before they become literals, and everything is local to the transaction, so a pooled connection keeps
nothing. Statements are used rather than `set_config()`, because only statements reach the workers of a sharded
cluster. What the wall does not stop is SQL injection that changes the context: pass parameters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import asyncpg

from datalane.contracts.context import Context, Role
from datalane.contracts.plans import Plans
from datalane.db.connections import is_lost, passed_on, roll_back
from datalane.db.faults import stepping, translate, translated
from datalane.db.roles import Roles
from datalane.db.transaction import Transaction, local_settings, trace_setting
from datalane.db.turns import Turn
from datalane.db.wakeup import Wakeup
from datalane.errors import Conflict, DatabaseUnavailable
from datalane.kit.cursors import Cursors
from datalane.kit.tracing import current_traceparent
from datalane.settings import Limits

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
    stated: Sequence[str]

    def statements(self, context: Context, traceparent: str | None = None, plans: Plans = Plans.USUAL) -> str:
        return door_statements(context, self.roles, traceparent) + local_settings([*self.stated, *plans.value])

    @asynccontextmanager
    async def transaction(
        self, context: Context, plans: Plans = Plans.USUAL, turn: Turn | None = None
    ) -> AsyncIterator[Transaction]:
        """A transaction of `context`'s workspace; inside another one of the same task it is a savepoint.

        `plans` as `Transaction.state_plans`. With a `turn` it may be open already, and its end may open the next one's.

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
        connection = turn.take_connection() if turn is not None else None
        traceparent = current_traceparent() if connection is None else None
        opening = self.statements(context, traceparent, plans) if connection is None else None
        given = connection or await self._acquire()
        transaction = Transaction(given, context, self.wakeup, self.limits, traceparent, self.cursors, plans)
        async with self._bracket(transaction, opening, turn):
            token = _open.set(transaction)
            try:
                yield transaction
            finally:
                _open.reset(token)

    @asynccontextmanager
    async def sign_in(self) -> AsyncIterator[Transaction]:
        """A transaction before a context exists: it sees no table and calls the verbs of sign-in, no others."""
        opening = f"BEGIN; SET LOCAL ROLE {self.roles.signin}{local_settings(self.stated)}"
        transaction = Transaction(await self._acquire(), None)
        async with self._bracket(transaction, opening):
            yield transaction

    async def _acquire(self) -> asyncpg.Connection:
        with translated():
            return await self.pool.acquire()

    @asynccontextmanager
    async def _bracket(
        self, transaction: Transaction, opening: str | None, turn: Turn | None = None
    ) -> AsyncIterator[None]:
        """Open, commit or undo, and give the connection back. Without `opening` the transaction is open already."""
        connection, handed_over = transaction.connection, False
        try:
            try:
                if opening is not None:
                    with stepping():
                        await connection.execute(opening)
                yield
                if turn is not None:  # nothing that is left of this transaction may reach into the next one
                    connection = passed_on(connection)
                with translated():
                    handed_over = await _commit(connection, transaction.closing, turn)
            except BaseException as error:
                lost = is_lost(connection, error)
                await roll_back(connection)
                if lost and isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
                    raise DatabaseUnavailable("the connection to the database was lost") from error
                ours = translate(error) if isinstance(error, asyncpg.PostgresError) else None
                if ours is None:
                    raise
                raise ours from error
        finally:
            if not handed_over:
                await self.pool.release(connection)
        await transaction.run_after_commit()


async def _commit(connection: asyncpg.Connection, closing: str, turn: Turn | None) -> bool:
    """Whether the connection is somebody else's now."""
    if turn is not None and closing:
        return await turn.commit(connection, closing)
    if await connection.execute(f"{closing}COMMIT") != "COMMIT":
        raise Conflict("an error inside had ended the transaction, so it was rolled back; use a savepoint")
    return False

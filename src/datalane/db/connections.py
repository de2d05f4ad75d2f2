"""A pool's connections at the end of a transaction: broken ones, and ones that go from hand to hand."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy


def is_lost(connection: asyncpg.Connection, error: BaseException) -> bool:
    """Whether the connection broke while it was ours. The pool takes a broken one back at once, and it answers nothing.

    A connection that broke while something was being sent is not closed yet, but confused.
    """
    return isinstance(error, asyncpg.InternalClientError) or is_gone(connection)


def is_gone(connection: asyncpg.Connection) -> bool:
    """Whether it is closed, or has been taken back by its pool."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


async def roll_back(connection: asyncpg.Connection) -> None:
    """Undo, also when cancelled. Closing undoes as well: a broken connection, and one that must be left at once."""
    undoing: asyncio.Future[str] | None = None
    try:
        if connection.is_in_transaction():
            undoing = asyncio.ensure_future(connection.execute("ROLLBACK"))
            await asyncio.shield(undoing)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        _terminate(connection)
    except asyncio.CancelledError:
        if undoing is not None:
            undoing.add_done_callback(lambda undone: undone.cancelled() or undone.exception())
        _terminate(connection)
        raise


def _terminate(connection: asyncpg.Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # it is back in the pool already
        connection.terminate()


def passed_on(connection: asyncpg.Connection) -> asyncpg.Connection:
    """The same connection for somebody else, as if it had been through the pool, which would roll back on the way.

    Whoever still has the old handle, or a statement or a cursor of it, gets an `InterfaceError`, and who listened hears
    nothing more: asyncpg hands listeners the handle of now. It has no public call for that;
    `tests/tenancy/test_turns.py` holds it to this.
    """
    raw = connection._con
    if raw is None:  # it broke, and the pool has taken it back
        return connection
    raw._on_release()
    raw._listeners.clear()
    raw._log_listeners.clear()
    connection._detach()
    connection._holder._proxy = PoolConnectionProxy(connection._holder, raw)
    return connection._holder._proxy

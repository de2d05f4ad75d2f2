"""Nothing that is left of one workspace's transaction reaches into the next one's on the same connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.db.turns import Turn, Turns

WHO = "SELECT app.workspace_id()"
Leftover = Callable[[Transaction], Awaitable[Callable[[], Awaitable[Any]]]]


async def in_line(database: Database, one: Context, other: Context) -> tuple[Turns, Turn, asyncio.Task[Turn]]:
    """One has the only turn, the other waits for it."""
    turns = database.turns(1)
    first = await turns.wait(one)
    waiting = asyncio.create_task(turns.wait(other))
    await asyncio.sleep(0)
    return turns, first, waiting


async def the_transaction(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    return lambda: tx.fetchval(WHO)


async def its_savepoint(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    async def enter() -> None:
        async with tx.savepoint():
            await tx.fetchval(WHO)

    return enter


async def a_view_of_it(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    view = tx.acting_as(tx.context)
    return lambda: view.fetchval(WHO)


async def its_connection(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    connection = tx.connection
    return lambda: connection.fetchval(WHO)


async def a_prepared_statement(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    statement = await tx.connection.prepare(WHO)
    return statement.fetchval  # type: ignore[no-any-return]


async def a_cursor(tx: Transaction) -> Callable[[], Awaitable[Any]]:
    cursor = await (await tx.connection.prepare(WHO)).cursor()
    return lambda: cursor.fetch(1)


@pytest.mark.parametrize(
    "leave", [the_transaction, its_savepoint, a_view_of_it, its_connection, a_prepared_statement, a_cursor]
)
async def test_what_a_transaction_leaves_behind_is_dead_before_the_next_one_opens(
    database: Database, context: Context, other_context: Context, leave: Leftover
) -> None:
    turns, first, waiting = await in_line(database, context, other_context)
    async with database.transaction(context, turn=first) as tx:
        use = await leave(tx)
        backend = await tx.fetchval("SELECT pg_backend_pid()")
        tx.close_with("SELECT 1")
    second = await waiting
    async with database.transaction(other_context, turn=second) as tx:
        assert await tx.fetchval("SELECT pg_backend_pid()") == backend, "they shared a connection"
        with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
            await use()
        assert await tx.fetchval(WHO) == other_context.workspace_id
    await turns.end(second)


async def test_who_listened_in_one_workspace_hears_nothing_in_the_next(
    database: Database, context: Context, other_context: Context
) -> None:
    turns, first, waiting = await in_line(database, context, other_context)
    heard: list[object] = []

    async def leave_listeners() -> None:
        async with database.transaction(context, turn=first) as tx:
            tx.connection.add_log_listener(lambda connection, message: heard.append((connection, message)))
            await tx.connection.add_listener("words", lambda *told: heard.append(told))
            tx.close_with("SELECT 1")

    with pytest.warns(asyncpg.InterfaceWarning, match="listener"):
        await leave_listeners()
    second = await waiting
    async with database.transaction(other_context, turn=second) as tx:
        await tx.execute("DO $$ BEGIN RAISE NOTICE 'for this workspace'; END $$")
    async with database.pool.acquire() as other:
        await other.execute("NOTIFY words")
    async with database.transaction(other_context) as tx:
        await tx.fetchval(WHO)
    await turns.end(second)
    assert heard == []


async def test_a_turn_opens_the_transaction_of_its_own_context_only(
    database: Database, context: Context, other_context: Context
) -> None:
    turns, first, waiting = await in_line(database, context, context)
    async with database.transaction(context, turn=first) as tx:
        tx.close_with("SELECT 1")
    second = await waiting
    async with database.transaction(other_context, turn=second) as tx:
        assert await tx.fetchval(WHO) == tx.workspace_id == other_context.workspace_id
    await turns.end(second)


async def test_a_task_left_running_cannot_slip_in_between_the_commit_and_the_next_door(
    database: Database, context: Context, other_context: Context
) -> None:
    """It tries at every step of the loop while the COMMIT and the door are under way."""
    turns, first, waiting = await in_line(database, context, other_context)
    seen: list[object] = []

    async def keep_trying(tx: Transaction) -> None:
        while not waiting.done():
            try:
                seen.append(await tx.fetchval(WHO))
            except asyncpg.InterfaceError as error:
                seen.append(type(error))
            await asyncio.sleep(0)

    async with database.transaction(context, turn=first) as tx:
        straying = asyncio.create_task(keep_trying(tx))
        await tx.fetchval("SELECT 1")
        tx.close_with("SELECT 1")
    second = await waiting
    await straying
    assert asyncpg.InterfaceError in seen, "it was refused"
    assert set(seen) <= {asyncpg.InterfaceError, context.workspace_id}, "and saw nobody else"
    async with database.transaction(other_context, turn=second) as tx:
        assert await tx.fetchval(WHO) == other_context.workspace_id
    await turns.end(second)

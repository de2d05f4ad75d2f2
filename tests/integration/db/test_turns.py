"""Turns: so many at once, in order, the COMMIT of one with the door of the next, each a transaction of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
from bench.relay import Relay, open_relay
from tests.conftest import a_context
from tests.integration.engine.lab import eventually

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.turns import Turn, Turns
from datalane.errors import LeaseLost

CLOSING = "SELECT 1"
ASKED = "SELECT app.workspace_id() AS workspace, pg_backend_pid() AS backend, txid_current() AS number"
REFUSED = "SELECT datalane.complete_job('00000000-0000-0000-0000-000000000001', 1)"


@pytest.fixture
def contexts() -> list[Context]:
    """Members of different workspaces."""
    return [a_context() for _ in range(4)]


async def asked(database: Database, turns: Turns, context: Context) -> asyncpg.Record:
    """One turn with one transaction in it: where and as whom it ran."""
    turn = await turns.wait(context)
    try:
        async with database.transaction(context, turn=turn) as tx:
            row = await tx.fetchrow(ASKED)
            assert row is not None
            tx.close_with(CLOSING)
        return row
    finally:
        await turns.end(turn)


async def enqueued(database: Database, turns: Turns, context: Context, closing: str) -> None:
    """One turn with a job enqueued in it, ended by `closing`."""
    turn = await turns.wait(context)
    try:
        async with database.transaction(context, turn=turn) as tx:
            await tx.fetchval("SELECT datalane.enqueue('kind')")
            tx.close_with(closing)
    finally:
        await turns.end(turn)


async def in_line(database: Database, contexts: Sequence[Context]) -> tuple[Turns, Turn, asyncio.Task[Turn]]:
    """The first one has the only turn, the second one waits for it."""
    turns = database.turns(1)
    first = await turns.wait(contexts[0])
    waiting = asyncio.create_task(turns.wait(contexts[1]))
    await asyncio.sleep(0)
    return turns, first, waiting


async def all_free(database: Database, turns: Turns, most: int) -> bool:
    """Whether `most` turns can be had at once, and every connection is back and at rest."""
    held = [await asyncio.wait_for(turns.wait(), 5) for _ in range(most)]
    for turn in held:
        await turns.end(turn)
    pool = database.pool
    return pool.get_idle_size() == pool.get_size() and not any(
        holder._con is not None and holder._con.is_in_transaction() for holder in pool._holders
    )


async def test_each_transaction_is_its_own_workspaces_on_a_connection_that_goes_round(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)
    rows = await asyncio.gather(*(asked(database, turns, context) for context in contexts))
    assert [row["workspace"] for row in rows] == [context.workspace_id for context in contexts]
    assert len({row["number"] for row in rows}) == len(contexts), "each has a transaction of its own"
    assert len({row["backend"] for row in rows}) == 1
    assert await all_free(database, turns, 1)


async def test_turns_are_bounded_and_come_in_order(database: Database) -> None:
    turns, order, most = database.turns(2), [], 0
    running = 0

    async def work(number: int) -> None:
        nonlocal running, most
        turn = await turns.wait()
        running += 1
        most = max(most, running)
        order.append(number)
        await asyncio.sleep(0)
        running -= 1
        await turns.end(turn)

    await asyncio.gather(*map(work, range(9)))
    assert (order, most) == (list(range(9)), 2)


@pytest.fixture
async def wire(urls: Prepared) -> AsyncIterator[tuple[Relay, Database]]:
    """The lane's pool through a relay that counts round trips."""
    async with open_relay(urls.database_url) as (relay, url):
        connected = await Database.connect(url)
        yield relay, connected
        await connected.close()


async def test_who_waits_takes_two_round_trips_and_who_does_not_takes_three(
    wire: tuple[Relay, Database], contexts: Sequence[Context]
) -> None:
    relay, database = wire
    turns = database.turns(1)
    await asked(database, turns, contexts[0])  # its statement is prepared now
    before = relay.round_trips
    await asked(database, turns, contexts[0])
    alone = relay.round_trips - before
    await asyncio.gather(*(asked(database, turns, context) for context in contexts))
    assert (alone, relay.round_trips - before - alone) == (3, 2 * len(contexts) + 1)


async def test_what_the_commit_refuses_is_undone_and_the_next_one_has_its_turn(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)

    first = asyncio.create_task(enqueued(database, turns, contexts[0], REFUSED))
    second = asyncio.create_task(asked(database, turns, contexts[1]))
    with pytest.raises(LeaseLost):
        await first
    assert (await second)["workspace"] == contexts[1].workspace_id
    async with database.transaction(contexts[0]) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.jobs") == 0
    assert await all_free(database, turns, 1)


async def test_a_transaction_that_a_swallowed_error_has_ended_does_not_pass_for_committed(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)

    async def swallowing(context: Context) -> None:
        turn = await turns.wait(context)
        try:
            async with database.transaction(context, turn=turn) as tx:
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await tx.execute("SELECT 1 / 0")
                tx.close_with(CLOSING)
        finally:
            await turns.end(turn)

    first, second = (
        asyncio.create_task(swallowing(contexts[0])),
        asyncio.create_task(asked(database, turns, contexts[1])),
    )
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await first
    assert (await second)["workspace"] == contexts[1].workspace_id
    assert await all_free(database, turns, 1)


async def test_a_turn_that_is_not_used_is_undone(database: Database, contexts: Sequence[Context]) -> None:
    turns, first, waiting = await in_line(database, contexts)
    async with database.transaction(contexts[0], turn=first) as tx:
        tx.close_with(CLOSING)
    await turns.end(first)
    unused = await waiting
    assert unused.given is not None
    assert unused.given.is_in_transaction()
    await turns.end(unused)
    assert await all_free(database, turns, 1)


WAITING = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
HELD_UP = "SELECT pg_advisory_xact_lock(7)"


@asynccontextmanager
async def holding_up(database: Database) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Who says `HELD_UP` waits until the block ends. Gives what to await until somebody does."""
    lock = await database.direct_connection()
    await lock.execute("SELECT pg_advisory_lock(7)")

    async def somebody_waits() -> None:
        await eventually(lambda: lock.fetchval(WAITING))

    try:
        yield somebody_waits
    finally:
        await lock.close()


async def test_who_is_cancelled_while_it_waits_is_passed_over(database: Database, contexts: Sequence[Context]) -> None:
    turns, first, waiting = await in_line(database, contexts)
    third = asyncio.create_task(asked(database, turns, contexts[2]))
    waiting.cancel()
    async with database.transaction(contexts[0], turn=first) as tx:
        tx.close_with(CLOSING)
    await turns.end(first)
    assert (await asyncio.wait_for(third, 5))["workspace"] == contexts[2].workspace_id
    assert waiting.cancelled()
    assert await all_free(database, turns, 1)


async def test_who_is_cancelled_as_its_turn_comes_gives_it_on(database: Database, contexts: Sequence[Context]) -> None:
    turns, first, waiting = await in_line(database, contexts)
    third = asyncio.create_task(asked(database, turns, contexts[2]))
    async with database.transaction(contexts[0], turn=first) as tx:
        tx.close_with(CLOSING)
    waiting.cancel()  # its transaction is open, and it has not heard of it yet
    await turns.end(first)
    assert (await asyncio.wait_for(third, 5))["workspace"] == contexts[2].workspace_id
    assert waiting.cancelled()
    assert await all_free(database, turns, 1)


async def test_who_is_cancelled_while_its_transaction_is_opened_leaves_none(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)
    first = await turns.wait(contexts[0])
    waiting = asyncio.create_task(turns.wait(contexts[1]))
    third = asyncio.create_task(asked(database, turns, contexts[2]))

    async def commit() -> None:
        async with database.transaction(contexts[0], turn=first) as tx:
            tx.close_with(HELD_UP)
        await turns.end(first)

    async with holding_up(database) as somebody_waits:
        committing = asyncio.create_task(commit())
        await somebody_waits()
        waiting.cancel()
    await committing
    assert (await asyncio.wait_for(third, 5))["workspace"] == contexts[2].workspace_id
    assert waiting.cancelled()
    assert await all_free(database, turns, 1)


async def test_who_is_cancelled_at_its_commit_is_undone_and_the_next_one_has_its_turn(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)

    async with holding_up(database) as somebody_waits:
        first = asyncio.create_task(enqueued(database, turns, contexts[0], HELD_UP))
        second = asyncio.create_task(asked(database, turns, contexts[1]))
        await somebody_waits()
        first.cancel()
        assert (await asyncio.wait_for(second, 10))["workspace"] == contexts[1].workspace_id
    assert first.cancelled()
    async with database.transaction(contexts[0]) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.jobs") == 0
    assert await all_free(database, turns, 1)


async def test_whose_opening_failed_takes_the_place_that_became_free_meanwhile(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(2)
    first, second = await turns.wait(contexts[0]), await turns.wait(contexts[1])
    third = asyncio.create_task(turns.wait(contexts[2]))
    await asyncio.sleep(0)

    async def refused() -> None:
        async with database.transaction(contexts[0], turn=first) as tx:
            tx.close_with(f"{HELD_UP}; {REFUSED}")

    async with holding_up(database) as somebody_waits:
        committing = asyncio.create_task(refused())
        await somebody_waits()
        await turns.end(second)
    with pytest.raises(LeaseLost):
        await committing
    granted = await asyncio.wait_for(third, 5)  # although the first one has not ended
    await turns.end(first)
    await turns.end(granted)
    assert await all_free(database, turns, 2)


async def test_an_opened_turn_that_is_cancelled_twice_gives_its_connection_back(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns, first, waiting = await in_line(database, contexts)
    async with database.transaction(contexts[0], turn=first) as tx:
        tx.close_with(CLOSING)
    waiting.cancel()
    await asyncio.sleep(0)  # it is rolling back what was opened for it
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await turns.end(first)
    assert waiting.cancelled()
    async with asyncio.timeout(5):
        while not await all_free(database, turns, 1):
            await asyncio.sleep(0)


async def test_a_turn_whose_transaction_was_redone_is_handed_on_once(
    database: Database, contexts: Sequence[Context]
) -> None:
    turns = database.turns(1)

    async def twice(turn: Turn) -> None:
        for _ in range(2):
            async with database.transaction(contexts[0], turn=turn) as tx:
                tx.close_with(CLOSING)

    first = await turns.wait(contexts[0])
    others = [asyncio.create_task(asked(database, turns, context)) for context in contexts[1:]]
    await asyncio.sleep(0)
    await twice(first)
    await turns.end(first)
    assert [row["workspace"] for row in await asyncio.gather(*others)] == [c.workspace_id for c in contexts[1:]]
    assert await all_free(database, turns, 1)

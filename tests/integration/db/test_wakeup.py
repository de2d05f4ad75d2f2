"""Waking workers: after the commit, with it in one message where that is free, and never instead of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from bench.relay import open_relay

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.db.wakeup import CHANNEL
from datalane.engine.jobs import enqueue
from datalane.errors import Conflict

PATIENCE = 20.0
COUNT = "SELECT count(*) FROM datalane.jobs"


class Ear:
    """Who listens for work, on a connection of its own."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.heard: list[str] = []
        self._more = asyncio.Event()

    def hear(self, connection: asyncpg.Connection, pid: int, channel: str, payload: str) -> None:
        self.heard.append(payload)
        self._more.set()

    async def next(self) -> None:
        """Wait for something that was not waited for yet."""
        async with asyncio.timeout(PATIENCE):
            await self._more.wait()
        self._more.clear()

    async def until(self, mark: str) -> list[str]:
        """All that was heard before `mark`, which is sent now: notifications come in the order of their commits."""
        await self.connection.execute("SELECT pg_notify($1, $2)", CHANNEL, mark)
        async with asyncio.timeout(PATIENCE):
            while mark not in self.heard:
                self._more.clear()
                await self._more.wait()
        return self.heard[: self.heard.index(mark)]


@pytest.fixture
async def ear(urls: Prepared) -> AsyncIterator[Ear]:
    connection = await asyncpg.connect(urls.database_url)
    ear = Ear(connection)
    await connection.add_listener(CHANNEL, ear.hear)
    yield ear
    await connection.close()


async def count(database: Database, context: Context) -> int:
    async with database.transaction(context) as tx:
        return int(await tx.fetchval(COUNT))


async def enqueue_and(
    database: Database, context: Context, then: Callable[[Transaction], Awaitable[None]] | None = None
) -> None:
    async with database.transaction(context) as tx:
        await enqueue(tx, "work")
        if then is not None:
            await then(tx)


async def fill_the_queue(database: Database) -> None:
    filling = await asyncpg.connect(database.url)
    try:
        for number in range(200):
            await filling.execute("SELECT pg_notify('filling', $1)", f"{number:07900}")
    finally:
        await filling.close()


async def test_a_lone_job_wakes_workers_in_the_round_trip_of_its_commit(
    urls: Prepared, ear: Ear, context: Context
) -> None:
    async with open_relay(urls.database_url) as (relay, url):
        database = await Database.connect(url)
        for _ in range(2):  # the first prepares the statement
            before = relay.round_trips
            await enqueue_and(database, context)
        assert relay.round_trips - before == 3, "the door, the job, and the COMMIT with what wakes"
        assert database.wakeup.sending is None, "no other connection was needed"
        await database.close()
    assert await ear.until("both") == ["", ""]


async def test_jobs_enqueued_at_once_are_all_heard_of(database: Database, ear: Ear, context: Context) -> None:
    enqueueing = asyncio.gather(*(enqueue_and(database, context) for _ in range(20)))
    seen = 0
    while seen < 20:  # as a worker does that never looks by itself
        await ear.next()
        seen = await count(database, context)
    await enqueueing
    assert len(ear.heard) <= 20


async def test_what_is_rolled_back_wakes_nobody(database: Database, ear: Ear, context: Context) -> None:
    async def change_ones_mind(tx: Transaction) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await enqueue_and(database, context, change_ones_mind)
    assert await ear.until("none") == []


async def test_a_transaction_that_an_error_has_ended_is_not_taken_for_committed(
    database: Database, ear: Ear, context: Context
) -> None:
    async def overlook_an_error(tx: Transaction) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await tx.execute("SELECT 1/0")

    with pytest.raises(Conflict, match="an error inside had ended the transaction"):
        await enqueue_and(database, context, overlook_an_error)
    assert await ear.until("none") == []
    assert await count(database, context) == 0


async def test_what_the_commit_refuses_wakes_nobody(database: Database, ear: Ear, context: Context) -> None:
    async def close_with_an_error(tx: Transaction) -> None:
        tx.close_with("SELECT 1/0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await enqueue_and(database, context, close_with_an_error)
    assert await ear.until("none") == []
    assert await count(database, context) == 0


async def test_a_full_queue_of_notifications_does_not_undo_the_job(
    database: Database, ear: Ear, context: Context
) -> None:
    await ear.connection.execute("BEGIN")  # who listens and does not get on holds the whole queue back
    with pytest.raises(asyncpg.ProgramLimitExceededError):
        await fill_the_queue(database)
    await enqueue_and(database, context)
    assert await count(database, context) == 1
    await ear.connection.execute("ROLLBACK")
    async with asyncio.timeout(PATIENCE):
        while await ear.connection.fetchval("SELECT pg_notification_queue_usage()") > 0.5:  # which empties it, too
            await ear.connection.execute("SELECT 1")
    await enqueue_and(database, context)
    assert await ear.until("one") == [""]

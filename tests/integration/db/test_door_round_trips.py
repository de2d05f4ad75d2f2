"""The door costs no more round trips than BEGIN, counted on the wire and not timed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from bench.relay import Relay, open_relay

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared

READ = "SELECT document_id, title FROM datalane.documents WHERE workspace_id = $1"
PLAIN_READ = "SELECT oid, relname FROM pg_catalog.pg_class WHERE oid = $1"


@pytest.fixture
async def wire(urls: Prepared) -> AsyncIterator[tuple[Relay, str]]:
    async with open_relay(urls.database_url) as opened:
        yield opened


@pytest.fixture
def relay(wire: tuple[Relay, str]) -> Relay:
    return wire[0]


@pytest.fixture
async def door(wire: tuple[Relay, str]) -> AsyncIterator[Database]:
    """The lane's own pool, through the relay."""
    connected = await Database.connect(wire[1])
    yield connected
    await connected.close()


@pytest.fixture
async def bare(wire: tuple[Relay, str]) -> AsyncIterator[asyncpg.Connection]:
    """A connection without a lane, through the relay."""
    connection = await asyncpg.connect(wire[1])
    yield connection
    await connection.close()


async def counted(relay: Relay, work: Callable[[], Awaitable[None]]) -> int:
    before = relay.round_trips
    await work()
    return relay.round_trips - before


async def test_a_statement_is_one_round_trip_and_many_are_many(relay: Relay, bare: asyncpg.Connection) -> None:
    async def ask() -> None:
        for _ in range(7):
            await bare.execute("SELECT repeat('x', 1000000)")

    assert await counted(relay, ask) == 7


async def test_the_door_takes_as_many_round_trips_as_begin(
    relay: Relay, door: Database, bare: asyncpg.Connection, context: Context
) -> None:
    async def through_the_door() -> None:
        async with door.transaction(context):
            pass

    async def through_begin() -> None:
        await bare.execute("BEGIN")
        await bare.execute("COMMIT")

    assert await counted(relay, through_the_door) == await counted(relay, through_begin) == 2


async def test_a_query_through_the_door_takes_as_many_round_trips_as_between_begin_and_commit(
    relay: Relay, door: Database, bare: asyncpg.Connection, context: Context
) -> None:
    async def through_the_door() -> None:
        async with door.transaction(context) as tx:
            await tx.fetch(READ, context.workspace_id)

    async def through_begin() -> None:
        await bare.execute("BEGIN")
        await bare.fetch(PLAIN_READ, 1259)
        await bare.execute("COMMIT")

    first = await counted(relay, through_the_door), await counted(relay, through_begin)
    assert first == (4, 4), "a query is prepared the first time"
    again = await counted(relay, through_the_door), await counted(relay, through_begin)
    assert again == (3, 3)


async def test_a_rollback_takes_as_many_round_trips_as_without_the_door(
    relay: Relay, door: Database, bare: asyncpg.Connection, context: Context
) -> None:
    async def through_the_door() -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with door.transaction(context) as tx:
                await tx.execute("SELECT 1/0")

    async def through_begin() -> None:
        await bare.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await bare.execute("SELECT 1/0")
        await bare.execute("ROLLBACK")

    assert await counted(relay, through_the_door) == await counted(relay, through_begin) == 3


async def test_the_context_stated_one_by_one_would_be_noticed(
    relay: Relay, bare: asyncpg.Connection, context: Context
) -> None:
    async def one_by_one() -> None:
        await bare.execute("BEGIN")
        await bare.execute("SET LOCAL ROLE datalane_app")
        await bare.execute(f"SET LOCAL app.workspace_id = '{context.workspace_id}'")
        await bare.execute("COMMIT")

    assert await counted(relay, one_by_one) == 4

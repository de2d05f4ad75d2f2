"""Calls: statements that open the door by themselves share a few connections, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from bench.relay import open_relay
from tests.conftest import a_context
from tests.integration.db.test_turns import holding_up
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import cut_all_connections

from datalane.contracts.context import Context, Role
from datalane.db.calls import Calls
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import ConfigurationError, Conflict, DatabaseUnavailable
from datalane.kit import tracing
from datalane.settings import JobSettings, Limits

TOLD = "SELECT ROW($1::uuid, $2::uuid, $3::text, $4::text, $5::text, pg_backend_pid(), txid_current(), $6::text)"
SLOWLY = TOLD.replace("txid_current()", "pg_advisory_xact_lock(7)")
REFUSED = TOLD.replace("txid_current()", "1 / 0")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def contexts() -> list[Context]:
    """Members of different workspaces."""
    return [a_context() for _ in range(4)]


@pytest.fixture
async def narrow(urls: Prepared) -> AsyncIterator[Database]:
    """A pool of two connections, one of them for calls."""
    connected = await Database.connect(urls.database_url, size=2)
    yield connected
    await connected.close()


async def ask(database: Database, context: Context, statement: str = TOLD) -> tuple[object, ...]:
    return tuple(await database.call(context, statement, "of the call"))


async def test_who_waits_is_given_the_connection_in_turn(narrow: Database, contexts: Sequence[Context]) -> None:
    told = await asyncio.gather(*(ask(narrow, context) for context in contexts))
    assert [each[0] for each in told] == [context.workspace_id for context in contexts]
    assert len({each[5] for each in told}) == 1, "one connection"
    assert len({each[6] for each in told}) == len(contexts), "a transaction each"


async def test_a_call_is_told_whom_it_is_for_and_what_the_door_says_besides(urls: Prepared) -> None:
    database = await Database.connect(
        urls.database_url, limits=Limits(causation_depth=9), jobs=JobSettings(max_attempts=7)
    )
    context = a_context(role=Role.ADMIN)
    with tracing.unit("request", tracing.Kind.SERVER, TRACE):
        told = await ask(database, context)
    await database.close()
    assert told[:4] == (context.workspace_id, context.actor_id, "admin", context.correlation_id)
    assert told[4] == (
        "; SET LOCAL app.causation_limit = '9'; SET LOCAL app.default_attempts = '7'"
        f"; SET LOCAL app.traceparent = '{TRACE}'"
    )
    assert told[7] == "of the call"


async def test_each_takes_one_round_trip(urls: Prepared, contexts: Sequence[Context]) -> None:
    async with open_relay(urls.database_url) as (relay, url):
        database = await Database.connect(url, size=2)
        await ask(database, contexts[0])  # its statement is prepared now
        before = relay.round_trips
        await asyncio.gather(*(ask(database, context) for context in contexts))
        took = relay.round_trips - before
        await database.close()
    assert took == len(contexts)


async def test_the_others_of_the_pool_are_free_while_calls_go_on(narrow: Database, contexts: Sequence[Context]) -> None:
    async with holding_up(narrow) as somebody_waits:
        calls = [asyncio.create_task(ask(narrow, context, SLOWLY)) for context in contexts]
        await somebody_waits()
        async with asyncio.timeout(5), narrow.transaction(contexts[0]) as tx:
            assert await tx.fetchval("SELECT app.workspace_id()") == contexts[0].workspace_id
        assert not any(call.done() for call in calls)
    assert [each[0] for each in await asyncio.gather(*calls)] == [context.workspace_id for context in contexts]


async def test_connections_are_back_in_the_pool_when_nobody_calls(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    await asyncio.gather(*(ask(narrow, context) for context in contexts))
    async with asyncio.timeout(5), narrow.pool.acquire() as one, narrow.pool.acquire() as other:
        assert await one.fetchval("SELECT 1") == await other.fetchval("SELECT 1")


async def test_who_calls_again_at_once_takes_no_way_through_the_pool(narrow: Database, context: Context) -> None:
    before = narrow.pool.get_idle_size()
    await ask(narrow, context)
    assert narrow.pool.get_idle_size() == before - 1, "kept, as long as nothing else has run"

    async def idle_again() -> bool:
        return bool(narrow.pool.get_idle_size() == before)

    await eventually(idle_again)


async def test_calls_without_end_let_others_at_the_only_connection(urls: Prepared, context: Context) -> None:
    database = await Database.connect(urls.database_url, size=1)
    others = 0

    async def call_on_and_on() -> int:
        number = 0
        while others < 2:
            await ask(database, context)
            number += 1
        return number

    calling = [asyncio.create_task(call_on_and_on()) for _ in range(2)]
    async with asyncio.timeout(20):
        while others < 2:
            async with database.transaction(context) as tx:
                assert await tx.fetchval("SELECT app.workspace_id()") == context.workspace_id
            others += 1
        assert sum(await asyncio.gather(*calling)) > 1
    await database.close()


async def test_a_database_closes_while_calls_go_on(urls: Prepared, context: Context) -> None:
    database = await Database.connect(urls.database_url, size=1)

    async def call_on_and_on() -> None:
        while True:
            await ask(database, context)

    await ask(database, context)
    calling = asyncio.create_task(call_on_and_on())
    await asyncio.wait_for(database.close(), 20)
    with pytest.raises(asyncpg.InterfaceError, match="pool is clos"):
        await calling


async def test_inside_a_transaction_it_is_refused(narrow: Database, context: Context) -> None:
    async with narrow.transaction(context):
        with pytest.raises(Conflict, match="outside"):
            await ask(narrow, context)


async def test_a_login_that_may_not_step_into_the_role_is_told_what_to_do(narrow: Database, context: Context) -> None:
    with pytest.raises(ConfigurationError, match="datalane init"):
        await narrow.call(context, TOLD.replace("$6::text", "set_config('role', $6::text, true)"), "datalane_owner")


async def test_a_connection_that_broke_while_it_was_kept_is_not_used(narrow: Database, context: Context) -> None:
    told = await ask(narrow, context)
    kept = narrow._calls._kept[0]
    kept.terminate()
    assert (await ask(narrow, context))[5] != told[5]
    assert (await ask(narrow, context))[0] == context.workspace_id


async def test_what_one_raises_is_its_own(narrow: Database, contexts: Sequence[Context]) -> None:
    first, *others = await asyncio.gather(
        ask(narrow, contexts[0], REFUSED), *(ask(narrow, each) for each in contexts[1:]), return_exceptions=True
    )
    assert isinstance(first, asyncpg.DivisionByZeroError)
    told = [workspace for workspace, *_ in (each for each in others if isinstance(each, tuple))]
    assert told == [each.workspace_id for each in contexts[1:]]


async def test_a_connection_that_breaks_is_one_calls_fault(narrow: Database, contexts: Sequence[Context]) -> None:
    async with holding_up(narrow) as somebody_waits:
        first = asyncio.create_task(ask(narrow, contexts[0], SLOWLY))
        behind = asyncio.create_task(ask(narrow, contexts[1]))
        await somebody_waits()
        await cut_all_connections(narrow)
        with pytest.raises(DatabaseUnavailable):
            await first
    assert (await behind)[0] == contexts[1].workspace_id


async def test_who_is_cancelled_is_passed_over_or_stopped_and_nobody_behind_notices(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async with holding_up(narrow) as somebody_waits:
        begun = asyncio.create_task(ask(narrow, contexts[0], SLOWLY))
        waiting = asyncio.create_task(ask(narrow, contexts[1]))
        behind = asyncio.create_task(ask(narrow, contexts[2]))
        await somebody_waits()
        for task in (begun, waiting):
            task.cancel()
        assert (await asyncio.wait_for(behind, 10))[0] == contexts[2].workspace_id
    assert begun.cancelled()
    assert waiting.cancelled()
    assert (await ask(narrow, contexts[3]))[0] == contexts[3].workspace_id


async def test_who_is_cancelled_as_the_connection_comes_passes_it_on(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async def end_the_second() -> tuple[object, ...]:
        told = await ask(narrow, contexts[0])
        second.cancel()  # it was given the connection a moment ago
        return told

    first = asyncio.create_task(end_the_second())
    second = asyncio.create_task(ask(narrow, contexts[1]))
    third = asyncio.create_task(ask(narrow, contexts[2]))
    assert (await asyncio.wait_for(third, 10))[0] == contexts[2].workspace_id
    assert (await first)[0] == contexts[0].workspace_id
    assert second.cancelled()
    assert (await ask(narrow, contexts[3]))[0] == contexts[3].workspace_id


async def test_who_gives_up_while_the_pool_is_empty_leaves_the_place(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async with narrow.pool.acquire(), narrow.pool.acquire():
        waiting = asyncio.create_task(ask(narrow, contexts[0]))
        behind = asyncio.create_task(ask(narrow, contexts[1]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await asyncio.wait_for(behind, 10))[0] == contexts[1].workspace_id


async def test_at_most_so_many_run_at_once(database: Database, contexts: Sequence[Context]) -> None:
    calls = Calls(database._door, 2)
    async with holding_up(database) as somebody_waits:
        tasks = [asyncio.create_task(calls.call(context, SLOWLY, "")) for context in contexts]
        await somebody_waits()
    told = await asyncio.gather(*tasks)
    assert len({each[5] for each in told}) == 2

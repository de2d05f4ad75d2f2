"""Errands: few connections run them in order, each in a transaction of its own, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest
from bench.relay import Relay, open_relay
from tests.conftest import a_context
from tests.integration.db.test_turns import HELD_UP, REFUSED, holding_up
from tests.integration.engine.workers import cut_all_connections

from datalane.contracts.context import Context
from datalane.db.database import Database, short_places
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, DatabaseUnavailable, LeaseLost, NotFound
from datalane.kit import tracing

ASKED = "SELECT app.workspace_id() AS workspace, pg_backend_pid() AS backend, txid_current() AS number"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def contexts() -> list[Context]:
    """Members of different workspaces."""
    return [a_context() for _ in range(4)]


@pytest.fixture
async def narrow(urls: Prepared) -> AsyncIterator[Database]:
    """A pool of two connections, one of them for errands."""
    connected = await Database.connect(urls.database_url, size=2)
    yield connected
    await connected.close()


async def ask(tx: Transaction) -> asyncpg.Record:
    row = await tx.fetchrow(ASKED)
    assert row is not None
    return row


async def enqueue(tx: Transaction) -> None:
    await tx.fetchval("SELECT datalane.enqueue('kind')")


async def jobs_of(database: Database, context: Context) -> int:
    async with database.transaction(context) as tx:
        return int(await tx.fetchval("SELECT count(*) FROM datalane.jobs"))


async def asked_after(
    narrow: Database, context: Context, act: Callable[[Transaction], Coroutine[Any, Any, None]]
) -> asyncio.Task[None]:
    """Runs `act`, with somebody of another workspace behind it, who must not notice."""
    first = asyncio.create_task(narrow.run_short(context, act))
    other = a_context()
    behind = asyncio.create_task(narrow.run_short(other, ask))
    assert (await behind)["workspace"] == other.workspace_id
    return first


async def test_each_runs_in_its_own_workspace_and_transaction_on_one_connection(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    rows = await asyncio.gather(*(narrow.run_short(context, ask) for context in contexts))
    assert [row["workspace"] for row in rows] == [context.workspace_id for context in contexts]
    assert len({row["number"] for row in rows}) == len(contexts)
    assert len({row["backend"] for row in rows}) == 1


async def test_who_waits_takes_two_round_trips_and_who_does_not_takes_three(
    urls: Prepared, contexts: Sequence[Context]
) -> None:
    async with open_relay(urls.database_url) as (relay, url):
        database = await Database.connect(url, size=2)
        await database.run_short(contexts[0], ask)  # its statement is prepared now
        alone = await _round_trips(relay, database.run_short(contexts[0], ask))
        together = await _round_trips(relay, asyncio.gather(*(database.run_short(each, ask) for each in contexts)))
        await database.close()
    assert (alone, together) == (3, 2 * len(contexts) + 1)


async def _round_trips(relay: Relay, work: Awaitable[object]) -> int:
    before = relay.round_trips
    await work
    return relay.round_trips - before


async def test_what_one_raises_undoes_it_alone(narrow: Database, context: Context) -> None:
    async def regret(tx: Transaction) -> None:
        await enqueue(tx)
        raise NotFound("nothing")

    first = await asked_after(narrow, context, regret)
    with pytest.raises(NotFound):
        await first
    assert await jobs_of(narrow, context) == 0


async def test_what_the_commit_refuses_undoes_it_alone(narrow: Database, context: Context) -> None:
    async def refused(tx: Transaction) -> None:
        await enqueue(tx)
        tx.close_with(REFUSED)

    first = await asked_after(narrow, context, refused)
    with pytest.raises(LeaseLost):
        await first
    assert await jobs_of(narrow, context) == 0


async def test_a_transaction_that_a_swallowed_error_has_ended_does_not_pass_for_committed(
    narrow: Database, context: Context
) -> None:
    async def swallow(tx: Transaction) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await tx.execute("SELECT 1 / 0")

    with pytest.raises(Conflict, match="rolled back"):
        await (await asked_after(narrow, context, swallow))
    with pytest.raises(Conflict, match="rolled back"):  # and nobody behind it
        await narrow.run_short(context, swallow)


async def test_a_connection_that_breaks_is_one_errands_fault(narrow: Database, context: Context) -> None:
    async def break_off(tx: Transaction) -> None:
        await enqueue(tx)
        await cut_all_connections(narrow)
        await tx.fetchval("SELECT 1")

    first = await asked_after(narrow, context, break_off)
    with pytest.raises(DatabaseUnavailable):
        await first
    assert await jobs_of(narrow, context) == 0


async def test_who_is_cancelled_while_waiting_is_passed_over_and_what_has_begun_is_finished(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async def slowly(tx: Transaction) -> None:
        await tx.execute(HELD_UP)
        await enqueue(tx)

    async with holding_up(narrow) as somebody_waits:
        begun = asyncio.create_task(narrow.run_short(contexts[0], slowly))
        waiting = asyncio.create_task(narrow.run_short(contexts[1], enqueue))
        await somebody_waits()
        for task in (begun, waiting):
            task.cancel()
    told = await asyncio.gather(begun, waiting, return_exceptions=True)
    assert [type(each) for each in told] == [asyncio.CancelledError] * 2
    assert (await narrow.run_short(contexts[2], ask))["workspace"] == contexts[2].workspace_id
    assert [await jobs_of(narrow, context) for context in contexts[:2]] == [1, 0]


async def test_who_is_cancelled_between_the_door_and_its_work_leaves_nothing_open(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    """Its door has travelled with the COMMIT of the one before, which cancels it at that very moment."""
    tasks: list[asyncio.Task[object]] = []

    async def cancel_next(tx: Transaction) -> None:
        await enqueue(tx)
        asyncio.get_running_loop().call_soon(tasks[1].cancel)

    tasks.append(asyncio.create_task(narrow.run_short(contexts[0], cancel_next)))
    tasks.append(asyncio.create_task(narrow.run_short(contexts[1], enqueue)))
    third = asyncio.create_task(narrow.run_short(contexts[2], ask))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[1].cancelled()
    assert (await third)["workspace"] == contexts[2].workspace_id
    assert [await jobs_of(narrow, context) for context in contexts[:2]] == [1, 0]


async def test_inside_a_transaction_it_is_a_savepoint_and_so_is_what_it_opens(
    narrow: Database, context: Context
) -> None:
    async def undone_inside(tx: Transaction) -> None:
        async with narrow.transaction(context) as inner:
            await enqueue(inner)
            raise NotFound("inside")

    async def nest(tx: Transaction) -> None:
        await enqueue(tx)
        with pytest.raises(NotFound):
            await undone_inside(tx)

    async def undone_outside() -> None:
        async with narrow.transaction(context):
            await narrow.run_short(context, enqueue)
            raise NotFound("outside")

    await narrow.run_short(context, nest)
    assert await jobs_of(narrow, context) == 1
    with pytest.raises(NotFound):
        await undone_outside()
    assert await jobs_of(narrow, context) == 1


async def test_what_is_to_follow_a_commit_follows_it_and_no_other_end(narrow: Database, context: Context) -> None:
    followed: list[str] = []

    async def announce(tx: Transaction) -> None:
        tx.after_commit(lambda: followed.append("committed"))

    async def regret(tx: Transaction) -> None:
        tx.after_commit(lambda: followed.append("undone"))
        raise NotFound("nothing")

    await narrow.run_short(context, announce)
    with pytest.raises(NotFound):
        await narrow.run_short(context, regret)
    assert followed == ["committed"]


async def test_each_belongs_to_its_callers_trace(narrow: Database, contexts: Sequence[Context]) -> None:
    async def traces(tx: Transaction) -> tuple[str | None, str]:
        return tracing.current_traceparent(), await tx.fetchval("SELECT current_setting('app.traceparent', true)")

    async def traced() -> tuple[str | None, str]:
        with tracing.unit("request", tracing.Kind.SERVER, TRACE):
            return await narrow.run_short(contexts[0], traces)

    told = await asyncio.gather(traced(), narrow.run_short(contexts[1], traces), traced())
    assert told[0] == told[2] == (TRACE, TRACE)
    assert told[1][0] is None
    assert not told[1][1]


async def test_what_one_leaves_behind_is_dead_before_the_next_one_opens(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    left: list[Transaction] = []

    async def leave(tx: Transaction) -> None:
        left.append(tx)
        await tx.fetchval("SELECT 1")

    async def try_it(tx: Transaction) -> None:
        with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
            await left[0].fetchval("SELECT app.workspace_id()")

    await asyncio.gather(narrow.run_short(contexts[0], leave), narrow.run_short(contexts[1], try_it))
    assert left[0].workspace_id == contexts[0].workspace_id


async def test_an_act_that_is_cancelled_from_within_holds_up_nobody(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async def await_what_was_cancelled(tx: Transaction) -> None:
        await enqueue(tx)
        given_up = asyncio.get_running_loop().create_future()
        given_up.cancel()
        await given_up

    first = asyncio.create_task(narrow.run_short(contexts[0], await_what_was_cancelled))
    behind = [asyncio.create_task(narrow.run_short(context, ask)) for context in contexts[1:]]
    rows = await asyncio.gather(*behind)
    assert [row["workspace"] for row in rows] == [context.workspace_id for context in contexts[1:]]
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await jobs_of(narrow, contexts[0]) == 0


async def test_who_gives_up_while_the_pool_is_empty_has_done_nothing(
    narrow: Database, contexts: Sequence[Context]
) -> None:
    async with narrow.pool.acquire(), narrow.pool.acquire():
        waiting = asyncio.create_task(narrow.run_short(contexts[0], enqueue))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await narrow.run_short(contexts[1], ask))["workspace"] == contexts[1].workspace_id
    assert await jobs_of(narrow, contexts[0]) == 0


async def test_what_follows_a_commit_follows_it_also_when_its_caller_has_gone(
    narrow: Database, context: Context
) -> None:
    followed = asyncio.Event()

    async def slowly(tx: Transaction) -> None:
        await tx.execute(HELD_UP)
        tx.after_commit(followed.set)

    async with holding_up(narrow) as somebody_waits:
        begun = asyncio.create_task(narrow.run_short(context, slowly))
        await somebody_waits()
        begun.cancel()
    await asyncio.wait_for(followed.wait(), 10)
    assert begun.cancelled()


OF_THE_CALLER: ContextVar[str] = ContextVar("of_the_caller", default="nobody")


async def test_context_variables_are_those_of_each_caller(narrow: Database, contexts: Sequence[Context]) -> None:
    async def look(tx: Transaction) -> tuple[str, str]:
        before = OF_THE_CALLER.get()
        OF_THE_CALLER.set("left behind")
        await tx.fetchval("SELECT 1")
        return before, OF_THE_CALLER.get()

    async def call(context: Context, name: str) -> tuple[str, str]:
        OF_THE_CALLER.set(name)
        return await narrow.run_short(context, look)

    told = await asyncio.gather(call(contexts[0], "a"), call(contexts[1], "b"), narrow.run_short(contexts[2], look))
    assert [before for before, _ in told] == ["a", "b", "nobody"]
    assert {after for _, after in told} == {"left behind"}


def test_they_leave_connections_to_others() -> None:
    assert [short_places(size) for size in (1, 2, 3, 10, 16)] == [1, 1, 1, 5, 8]

"""Steps are written behind the agent: nothing is lost, nothing is there twice, and what goes wrong is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.integration.agents.desk import SEARCH, LedgerDesk
from tests.integration.engine.lab import PATIENCE, eventually

from datalane.agents.recorder import Agents, RecordedRun
from datalane.agents.recorder.backlog import MOST_BEHIND
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs import recording
from datalane.agents.runs.schemas import AgentRunTrace, NewStep
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.errors import DatabaseUnavailable, LeaseLost, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database


@pytest.fixture
def agents(desk: LedgerDesk) -> Agents:
    return Agents(desk.database.transaction, Toolbox())


async def think(run: RecordedRun, name: str, **said: Any) -> None:
    async with run.step("custom", name, **said):
        await asyncio.sleep(0)


async def only_run(desk: LedgerDesk) -> AgentRunTrace:
    [(run_id,)] = await desk.rows("SELECT run_id FROM datalane.agent_runs")
    return await desk.show(run_id)


async def names(desk: LedgerDesk, run: RecordedRun) -> list[str]:
    return [step.name for step in (await desk.show(run.run_id)).steps]


async def test_a_step_gets_into_the_ledger_while_the_agent_goes_on(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper") as run:
        await think(run, "one")
        assert await eventually(lambda: names(desk, run)) == ["one"]


async def test_every_step_is_written_before_a_tool_is_called_and_when_it_is_waited_for(
    desk: LedgerDesk, agents: Agents
) -> None:
    async with agents.run(desk.context, "helper") as run:
        await think(run, "one")
        async with run.tool(SEARCH, {}):
            assert await names(desk, run) == ["one"]
        await think(run, "two")
        await run.settle()
        assert await names(desk, run) == ["one", "two"]
        await think(run, "three")
    told = await only_run(desk)
    assert [step.name for step in told.steps] == ["one", "two", "three"]
    assert told.status == "completed"


async def test_what_waits_is_written_also_when_the_run_fails_or_is_cancelled(desk: LedgerDesk, agents: Agents) -> None:
    async def work(error: type[BaseException]) -> None:
        async with agents.run(desk.context, "helper", source_run_id=error.__name__) as run:
            await think(run, error.__name__)
            raise error

    for error in (ZeroDivisionError, asyncio.CancelledError):
        with pytest.raises(error):
            await work(error)
    steps = await desk.rows(
        "SELECT s.name, r.status FROM datalane.agent_steps s "
        "JOIN datalane.agent_runs r USING (workspace_id, run_id) ORDER BY 1"
    )
    assert steps == [("CancelledError", "failed"), ("ZeroDivisionError", "failed")]


async def test_a_step_that_is_refused_fails_the_run_and_takes_no_other_with_it(
    desk: LedgerDesk, agents: Agents
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            await think(run, "one")
            await think(run, "strange", model_version_id=uuid7())
            await think(run, "three")

    with pytest.raises(NotFound, match="no such version of a model"):
        await work()
    told = await only_run(desk)
    assert (told.status, [step.name for step in told.steps]) == ("failed", ["one", "three"])


async def test_an_agent_hears_of_a_step_that_was_refused_and_may_go_on(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper") as run:
        await think(run, "strange", model_version_id=uuid7())
        with pytest.raises(NotFound):
            await run.settle()
        await think(run, "two")
    told = await only_run(desk)
    assert (told.status, [step.name for step in told.steps]) == ("completed", ["two"])


async def test_what_is_too_large_is_told_at_the_step_and_at_the_end(desk: LedgerDesk, agents: Agents) -> None:
    large = "x" * 10_000_000

    async def answer_too_much() -> None:
        async with agents.run(desk.context, "helper", source_run_id="run") as run:
            await think(run, "small")
            run.output = large

    async with agents.run(desk.context, "helper", source_run_id="step") as run:
        with pytest.raises(LimitExceeded, match="input"):
            await think(run, "large", input=large)
    with pytest.raises(LimitExceeded, match="output"):
        await answer_too_much()
    ended = "SELECT source_run_id, status, error_class FROM datalane.agent_runs ORDER BY 1 DESC"
    assert await desk.rows(ended) == [("step", "completed", None), ("run", "failed", "validation_error")]
    assert await desk.rows("SELECT name FROM datalane.agent_steps") == [("small",)]


async def test_a_runtime_that_was_fenced_writes_nothing_more(desk: LedgerDesk, agents: Agents) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper", max_attempts=3) as run:
            await desk.take(run.run_id, now=utc_now() + timedelta(minutes=5))
            await think(run, "late")
            with pytest.raises(LeaseLost):
                await run.settle()
            await think(run, "later")

    with pytest.raises(LeaseLost):
        await work()
    told = await only_run(desk)
    assert (told.status, told.steps) == ("running", [])


async def test_steps_that_come_quickly_go_together_and_too_many_make_the_agent_wait(
    desk: LedgerDesk, agents: Agents
) -> None:
    async with agents.run(desk.context, "helper") as run:
        for number in range(MOST_BEHIND + 1):
            async with run.step("custom", str(number)):
                pass
        assert len(await names(desk, run)) == MOST_BEHIND
    told = await only_run(desk)
    assert [step.name for step in told.steps] == [str(number) for number in range(MOST_BEHIND + 1)]
    assert await desk.rows("SELECT count(DISTINCT xmin::text) FROM datalane.agent_steps") == [(2,)], "two transactions"


async def test_a_step_whose_commit_was_not_heard_of_is_there_once(desk: LedgerDesk) -> None:
    """The database does not answer twice: once before anything is done, once after the commit."""
    lost = iter(["before", "after"])

    def door(context: Context) -> AbstractAsyncContextManager[Transaction]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Transaction]:
            how = next(lost, None) if is_lossy else None
            if how == "before":
                raise DatabaseUnavailable("the database does not answer")
            async with desk.database.transaction(context) as tx:
                yield tx
            if how == "after":
                raise DatabaseUnavailable("the connection to the database broke")

        return opened()

    is_lossy = False
    async with Agents(door, Toolbox()).run(desk.context, "helper") as run:
        async with run.step("model", "chat") as step:
            step.count(input_tokens=7, output_tokens=1)
        is_lossy = True
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await run.settle()
    told = await only_run(desk)
    assert (told.status, len(told.steps), told.input_tokens, told.model_steps) == ("completed", 1, 7, 1)
    used = "SELECT sum(used) FROM datalane.agent_usage WHERE meter = 'agent.tokens'"
    assert await desk.rows(used) == [(8,)]


async def test_a_step_with_a_source_id_that_the_run_has_is_left(desk: LedgerDesk) -> None:
    held = await desk.hold()

    async def record(*ids: str) -> list[int]:
        step = NewStep(kind="model", name="chat", input_tokens=5, output_tokens=1)
        async with desk.database.transaction(desk.context) as tx:
            encoded = [recording.encode_step(step, tx.limits, tx.redaction, each) for each in ids]
            return [each.ordinal for each in await recording.record_encoded(tx, held, encoded)]

    assert await record("a", "b", "a") == [3, 4]
    assert await record("b", "a") == []
    assert await record("b", "c") == [6]
    told = await desk.show(held.run_id)
    assert (told.model_steps, told.input_tokens, told.output_tokens) == (3, 15, 3)


async def test_a_run_inside_a_transaction_is_one_with_it(desk: LedgerDesk, agents: Agents) -> None:
    """Nobody else sees the run until then, and nothing of it is left when the transaction is undone."""

    async def work(source_run_id: str) -> None:
        async with agents.run(desk.context, "helper", source_run_id=source_run_id) as run:
            for _ in range(2):
                await think(run, source_run_id)

    async def undo() -> None:
        async with desk.database.transaction(desk.context):
            await work("undone")
            raise ZeroDivisionError

    async with desk.database.transaction(desk.context):
        await work("kept")
    with pytest.raises(ZeroDivisionError):
        await undo()
    assert await desk.rows("SELECT name FROM datalane.agent_steps") == [("kept",), ("kept",)]
    assert await desk.rows("SELECT status FROM datalane.agent_runs") == [("completed",)]


async def test_steps_before_a_transaction_that_is_undone_are_kept(desk: LedgerDesk, agents: Agents) -> None:
    async def settle_and_undo(run: RecordedRun) -> None:
        async with run.transaction():
            await run.settle()
            raise ZeroDivisionError

    async with agents.run(desk.context, "helper") as run:
        await think(run, "before")
        with pytest.raises(ZeroDivisionError):
            await settle_and_undo(run)
    assert [step.name for step in (await only_run(desk)).steps] == ["before"]


async def test_calls_inside_a_transaction_hold_nobody_up(desk: LedgerDesk, agents: Agents) -> None:
    """The first call locks the row of the run, for which the step that is written behind it waits meanwhile."""

    async def is_being_written() -> bool:
        return run._backlog._turn.locked()

    async with asyncio.timeout(PATIENCE), agents.run(desk.context, "helper") as run, run.transaction():
        async with run.tool(SEARCH, {}) as call:
            call.result = 1
        await think(run, "between")
        await eventually(is_being_written)
        async with run.tool(SEARCH, {}) as call:
            call.result = 2
    told = await only_run(desk)
    assert (told.status, [step.name for step in told.steps], len(told.tool_calls)) == ("completed", ["between"], 2)


async def test_an_error_that_cannot_be_stored_as_it_is_ends_its_run_all_the_same(
    desk: LedgerDesk, agents: Agents
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run, run.step("model", "chat") as step:
            step.count(input_tokens=5)
            raise RuntimeError("the\x00owl\ud800flew")

    with pytest.raises(RuntimeError):
        await work()
    told = await only_run(desk)
    assert (told.status, told.error_message, told.input_tokens) == ("failed", "RuntimeError: the owl flew", 5)


async def test_a_run_that_is_through_ends_also_when_its_caller_gives_up_meanwhile(desk: LedgerDesk) -> None:
    is_through, is_ending = False, asyncio.Event()

    def door(context: Context) -> AbstractAsyncContextManager[Transaction]:
        if is_through:
            is_ending.set()
        return desk.database.transaction(context)

    async def work() -> None:
        nonlocal is_through
        async with Agents(door, Toolbox()).run(desk.context, "helper") as run:
            await think(run, "one")
            await run.settle()
            is_through = True

    async def ended() -> str | None:
        [(status,)] = await desk.rows("SELECT status FROM datalane.agent_runs")
        return None if status == "running" else str(status)

    task = asyncio.create_task(work())
    await is_ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await eventually(ended) == "completed"


async def test_the_sum_is_in_the_currency_of_the_first_step(desk: LedgerDesk, agents: Agents) -> None:
    admin, models = desk.acting(Role.ADMIN), []
    async with admin.database.transaction(admin.context) as tx:
        for currency in ("USD", "EUR"):
            model = await register_model(tx, NewAgentModel(provider="owls", model=currency))
            price = NewModelPrice(
                model_version_id=model.model_version_id,
                currency=currency,
                input_per_million=Decimal(1_000_000),
                output_per_million=Decimal(0),
            )
            await create_price(tx, price)
            models.append(model.model_version_id)
    async with agents.run(desk.context, "helper") as run:
        for model_version_id, tokens in zip(models, (2, 3), strict=True):
            async with run.step("model", "chat", model_version_id=model_version_id) as step:
                step.count(input_tokens=tokens, output_tokens=0)
    told = await only_run(desk)
    assert (told.currency, int(told.known_cost), told.unpriced_steps) == ("USD", 2, 1)
    used = "SELECT unit, used FROM datalane.agent_usage WHERE meter = 'agent.cost' ORDER BY unit"
    assert await desk.rows(used) == [("EUR", 3), ("USD", 2)]

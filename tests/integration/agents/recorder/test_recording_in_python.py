"""What a `with` block does stands in the ledger, however the block ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.integration.agents.desk import CALL_OUT, CREATE, ERASE, PAY, SEARCH, LedgerDesk, statuses
from tests.integration.engine.lab import PATIENCE, eventually

from datalane.agents.recorder import AgentFault, Agents, ApprovalNeeded, RecordedCall, RecordedRun, ToolBlocked
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs.schemas import AgentRunTrace
from datalane.agents.tools.schemas import ToolToPublish
from datalane.engine.events import publish
from datalane.errors import Conflict, InvalidInput, LeaseLost, SchemaViolation
from datalane.kit.clock import utc_now

pytestmark = pytest.mark.one_database


@pytest.fixture
def tools() -> Toolbox:
    return Toolbox()


@pytest.fixture
def agents(desk: LedgerDesk, tools: Toolbox) -> Agents:
    return Agents(desk.database.transaction, tools)


async def only_run(desk: LedgerDesk) -> AgentRunTrace:
    [(run_id,)] = await desk.rows("SELECT run_id FROM datalane.agent_runs")
    return await desk.show(run_id)


async def test_a_block_is_a_run_with_its_steps_and_calls(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper", input="Which herons?") as run:
        async with run.step("model", "plan", input="Which herons?") as step:
            step.count(input_tokens=10, output_tokens=3, cached_input_tokens=4)
            step.output = "search"
        async with run.tool(SEARCH, {"query": "heron"}) as call:
            call.result = ["grey"]
        run.output = "Grey ones."
    told = await only_run(desk)
    assert (told.status, told.input, told.output) == ("completed", "Which herons?", "Grey ones.")
    assert (told.input_tokens, told.cached_input_tokens, told.output_tokens, told.reasoning_tokens) == (10, 4, 3, None)
    assert (told.cost, int(told.known_cost), told.unpriced_steps) == (None, 0, 1)
    assert [(call.tool_name, call.status, call.result) for call in told.tool_calls] == [(SEARCH, "succeeded", ["grey"])]


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (TimeoutError("slow"), "timeout"),
        (InvalidInput("bad"), "validation_error"),
        (httpx.ConnectError("down"), "dependency_unavailable"),
        (AgentFault("provider_error", "it said no"), "provider_error"),
        (ZeroDivisionError("oops"), "unexpected_internal"),
    ],
)
async def test_what_a_block_raises_is_how_its_run_failed(
    desk: LedgerDesk, agents: Agents, error: Exception, error_class: str
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run, run.step("model", "chat") as step:
            step.count(input_tokens=5)
            raise error

    with pytest.raises(type(error)):
        await work()
    told = await only_run(desk)
    assert (told.status, told.error_class, told.steps[0].error_class) == ("failed", error_class, error_class)
    assert told.input_tokens == 5


async def test_a_run_that_is_cancelled_has_failed_and_so_has_its_call(desk: LedgerDesk, agents: Agents) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with agents.run(desk.context, "helper") as run, run.tool(SEARCH, {}):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    async with asyncio.timeout(PATIENCE):
        await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = await only_run(desk)
    assert (told.status, told.error_message) == ("failed", "it was cancelled")
    assert told.tool_calls[0].status == "failed"


async def test_a_blocked_call_ends_the_run_before_anything_is_done(desk: LedgerDesk, agents: Agents) -> None:
    done: list[str] = []

    async def work() -> None:
        async with agents.run(desk.context, "helper") as run, run.tool(ERASE, {}):
            done.append("erased")

    with pytest.raises(ToolBlocked, match="it takes owner") as blocked:
        await work()
    told = await only_run(desk)
    assert (told.status, told.error_class, done) == ("blocked_policy", "authz_denied", [])
    assert blocked.value.rule_id == told.tool_calls[0].rule_id == "tool.role"


async def test_an_agent_may_go_on_after_a_call_that_was_blocked(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(ToolBlocked):
            await run.call("nowhere", {})
        run.output = "Without it."
    assert (await only_run(desk)).status == "completed"


async def test_a_call_that_takes_a_person_ends_the_run_and_goes_on_in_another(
    desk: LedgerDesk, agents: Agents, tools: Toolbox
) -> None:
    paid: list[Any] = []

    @tools.implement(PAY)
    async def pay(call: RecordedCall) -> str:
        paid.append(call.arguments["amount"])
        return "paid"

    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            await run.call(PAY, {"amount": 3})

    with pytest.raises(ApprovalNeeded) as waits:
        await work()
    assert ((await only_run(desk)).status, paid) == ("escalated_human", [])
    following = await desk.resolve(waits.value.tool_call_id, approve=True)
    assert following is not None
    async with agents.take(desk.context, following, "helper") as run:
        run.output = await run.call(PAY, {"amount": 3})
    assert ((await desk.show(following)).output, paid) == ("paid", [3])


async def test_the_effect_of_a_call_and_its_record_commit_together(desk: LedgerDesk, agents: Agents) -> None:
    async def fail(run: RecordedRun) -> None:
        async with run.tool(CREATE, {"n": 2}, idempotency_key="l") as call, call.transaction() as tx:
            await publish(tx, "membership.removed", {"user_id": "v"})
            raise ZeroDivisionError

    async with agents.run(desk.context, "helper") as run:
        async with run.tool(CREATE, {"n": 1}, idempotency_key="k") as call, call.transaction() as tx:
            await publish(tx, "membership.removed", {"user_id": "u"})
            call.result = {"user_id": "u"}
        with pytest.raises(ZeroDivisionError):
            await fail(run)
        async with run.tool(CREATE, {"n": 1}, idempotency_key="k") as call:
            assert (call.is_replay, call.result) == (True, {"user_id": "u"})
    effects = await desk.rows("SELECT payload->>'user_id' FROM datalane.events WHERE event_type = 'membership.removed'")
    assert effects == [("u",)]
    assert [call.status for call in (await only_run(desk)).tool_calls] == ["succeeded", "failed", "succeeded"]


async def test_a_tool_that_fails_for_a_while_is_tried_again_under_one_id(
    desk: LedgerDesk, agents: Agents, tools: Toolbox
) -> None:
    attempts: list[int] = []

    @tools.implement(CALL_OUT)
    async def call_out(call: RecordedCall) -> str:
        attempts.append(call.attempt)
        if call.attempt < 3:
            raise httpx.ConnectError("down")
        return "there"

    async with agents.run(desk.context, "helper") as run:
        assert await run.call(CALL_OUT, {}, idempotency_key="k") == "there"
    [call] = (await only_run(desk)).tool_calls
    assert (attempts, call.attempt_count, call.status) == ([1, 2, 3], 3, "succeeded")


async def test_what_will_not_go_away_is_not_tried_again(desk: LedgerDesk, agents: Agents, tools: Toolbox) -> None:
    attempts: list[int] = []

    @tools.implement(SEARCH)
    async def search(call: RecordedCall) -> None:
        attempts.append(call.attempt)
        raise InvalidInput("no such query")

    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(InvalidInput):
            await run.call(SEARCH, {})
    assert (attempts, (await only_run(desk)).tool_calls[0].error_class) == ([1], "validation_error")


async def test_a_tool_over_its_time_has_failed(desk: LedgerDesk, agents: Agents, tools: Toolbox) -> None:
    await desk.publish(
        ToolToPublish(
            tool_name="slow",
            side_effect="none",
            description="a",
            input_schema={"type": "object"},
            timeout_seconds=1,
            max_attempts=1,
        )
    )

    @tools.implement("slow")
    async def slow(call: RecordedCall) -> None:
        await asyncio.Event().wait()

    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(TimeoutError):
            await run.call("slow", {})
    assert (await only_run(desk)).tool_calls[0].error_class == "timeout"


async def test_a_tool_that_fails_gives_way_to_its_fallback(desk: LedgerDesk, agents: Agents, tools: Toolbox) -> None:
    first = ToolToPublish(
        tool_name="fast",
        side_effect="read",
        description="a",
        input_schema={"type": "object"},
        max_attempts=1,
        fallback_tool=SEARCH,
    )
    await desk.publish(first)

    @tools.implement("fast")
    async def fast(call: RecordedCall) -> None:
        raise httpx.ConnectError("down")

    @tools.implement(SEARCH)
    async def search(call: RecordedCall) -> list[str]:
        return [call.arguments["query"]]

    async with agents.run(desk.context, "helper") as run:
        assert await run.call("fast", {"query": "heron"}) == ["heron"]
    told = await only_run(desk)
    assert [(call.tool_name, call.status) for call in told.tool_calls] == [("fast", "failed"), (SEARCH, "succeeded")]


async def test_a_result_that_is_not_as_its_schema_says_is_a_failure(
    desk: LedgerDesk, agents: Agents, tools: Toolbox
) -> None:
    whole = {"type": "object"}
    await desk.publish(
        ToolToPublish(
            tool_name="strict",
            side_effect="none",
            description="a",
            input_schema=whole,
            output_schema={"type": "array", "items": {"type": "integer"}},
        )
    )

    @tools.implement("strict")
    async def strict(call: RecordedCall) -> list[str]:
        return ["one"]

    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(SchemaViolation, match="is not as its schema says"):
            await run.call("strict", {})
    assert (await only_run(desk)).tool_calls[0].error_class == "validation_error"


async def test_a_run_that_was_lost_ends_its_block(desk: LedgerDesk, agents: Agents) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper", lease=timedelta(seconds=1), max_attempts=2) as run:
            assert await desk.take(run.run_id, now=utc_now() + timedelta(seconds=90)) is not None
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await work()
    told = await only_run(desk)
    assert (told.status, told.runtime, told.attempt_count) == ("running", "second", 2)


async def test_a_heartbeat_holds_a_run_for_longer_than_its_lease(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper", lease=timedelta(seconds=1)) as run:
        began = (await desk.show(run.run_id)).deadline_at
        assert began is not None

        async def held_for_longer() -> bool:
            until = (await desk.show(run.run_id)).deadline_at
            return until is not None and until > began + timedelta(seconds=1)

        assert await eventually(held_for_longer)
    assert statuses(await only_run(desk)) == ["queued", "running", "completed"]


async def test_the_same_source_id_is_no_second_run(desk: LedgerDesk, agents: Agents) -> None:
    async with agents.run(desk.context, "helper", source_run_id="one"):
        pass
    again = agents.run(desk.context, "helper", source_run_id="one")
    with pytest.raises(Conflict, match="there already"):
        await again.__aenter__()

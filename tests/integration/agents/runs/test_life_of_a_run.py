"""A run and its calls, from the beginning to each of the ends."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.integration.agents.desk import CALL_OUT, COUNT, CREATE, ERASE, PAY, SEARCH, LedgerDesk, statuses

from datalane.agents.runs.schemas import HeldRun, NewStep
from datalane.agents.runs.states import RUN, TOOL_CALL
from datalane.agents.runs.sweeping import Swept, sweep_once
from datalane.agents.tools.schemas import ToolToPublish
from datalane.contracts.context import Context, Role
from datalane.errors import Conflict, Forbidden, IllegalTransition, InvalidInput, LeaseLost, LimitExceeded, NotFound
from datalane.kit.clock import utc_now

LATER = timedelta(seconds=61)


async def test_the_database_knows_the_same_edges_as_the_code(desk: LedgerDesk) -> None:
    for lifecycle, function in ((RUN, "agent_run_may_go"), (TOOL_CALL, "tool_call_may_go")):
        states = list(lifecycle.states)
        allowed = await desk.rows(
            f"SELECT a, b FROM unnest($1::text[]) AS a, unnest($1::text[]) AS b WHERE datalane.{function}(a, b)", states
        )
        assert set(allowed) == {(a, b) for a, targets in lifecycle.transitions.items() for b in targets}


async def test_a_run_with_steps_and_a_call_is_told_whole(desk: LedgerDesk) -> None:
    run = await desk.hold(input={"question": "Which herons?"})
    await desk.record(run, NewStep(kind="retrieval", name="search", output=[1, 2], seconds=0.5))
    call = await desk.ask(run, arguments={"query": "heron"})
    await desk.succeed(run, call.tool_call_id, {"found": 2})
    told = await desk.end(run, output={"answer": "Grey ones."})
    assert (told.status, told.output, told.input) == (
        "completed",
        {"answer": "Grey ones."},
        {"question": "Which herons?"},
    )
    assert statuses(told) == ["queued", "running", "waiting_tool", "running", "completed"]
    assert statuses(told, call.tool_call_id) == ["authorized", "executing", "succeeded"]
    [step] = told.steps
    assert step.ended_at - step.started_at == timedelta(seconds=0.5)
    places = [step.ordinal, told.tool_calls[0].ordinal, *(each.ordinal for each in told.transitions)]
    assert sorted(places) == list(range(1, len(places) + 1))
    assert told.tool_calls[0].result == {"found": 2}


async def test_a_run_tells_of_its_beginning_its_calls_and_its_end(desk: LedgerDesk) -> None:
    run = await desk.hold()
    call = await desk.ask(run)
    await desk.succeed(run, call.tool_call_id)
    await desk.end(run, "failed", error_class="provider_error")
    events = await desk.rows("SELECT event_type, payload->>'status' FROM datalane.events ORDER BY event_id")
    assert events == [
        ("agent.run.started", "running"),
        ("agent.tool.called", "succeeded"),
        ("agent.run.failed", "failed"),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE datalane.agent_runs SET status = 'completed', completed_at = now(), deadline_at = NULL",
        "UPDATE datalane.tool_calls SET status = 'authorized'",
        "DELETE FROM datalane.agent_transitions",
        "INSERT INTO datalane.agent_effects (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.agent_steps SET cost = 0",
        "SELECT datalane.move_agent_run(app.workspace_id(), app.uuid7(), 'failed', NULL, now())",
    ],
)
async def test_nobody_writes_the_ledger_by_hand(desk: LedgerDesk, statement: str) -> None:
    await desk.hold()
    with pytest.raises(Forbidden, match="permission denied"):
        await desk.acting(Role.OWNER).rows(statement)


async def test_a_viewer_records_nothing_also_by_sql(desk: LedgerDesk) -> None:
    viewer = desk.acting(Role.VIEWER)
    with pytest.raises(Forbidden):
        await viewer.begin()
    with pytest.raises(Forbidden, match="it takes member"):
        await viewer.rows("SELECT datalane.begin_agent_run('a', 'b', interval '1 minute')")
    assert await desk.rows("SELECT run_id FROM datalane.agent_runs") == []


async def test_a_run_of_another_workspace_is_not_there(desk: LedgerDesk, other_context: Context) -> None:
    run = await desk.hold()
    call = await desk.ask(run)
    other = LedgerDesk(desk.database, other_context)
    for attempt in (
        other.show(run.run_id),
        other.take(run.run_id),
        other.end(run),
        other.ask(run),
        other.succeed(run, call.tool_call_id),
        other.resolve(call.tool_call_id, True),
        other.begin(parent_run_id=run.run_id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await other.beat(run) == []


async def test_the_same_source_id_is_the_same_run(desk: LedgerDesk) -> None:
    first = await desk.begin(source_run_id="trace-1")
    again = await desk.begin(source_run_id="trace-1")
    assert (again.run_id, again.lease_token, again.created) == (first.run_id, None, False)
    assert await desk.rows("SELECT count(*) FROM datalane.events") == [(1,)]


async def test_what_waits_for_a_runtime_is_told(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    queued = await desk.begin(runtime=None)
    run = await desk.take(queued.run_id)
    assert run is not None
    await sweep_once(maintenance, utc_now() + LATER)
    events = await desk.rows("SELECT event_type FROM datalane.events ORDER BY event_id")
    assert [row[0] for row in events] == ["agent.run.queued", "agent.run.started", "agent.run.retrying"]


async def test_a_queued_run_is_taken_up_once(desk: LedgerDesk) -> None:
    queued = await desk.begin(runtime=None)
    assert queued.lease_token is None
    taken = await desk.take(queued.run_id)
    assert taken is not None
    with pytest.raises(Conflict, match="held by another runtime"):
        await desk.take(queued.run_id, "third")
    assert statuses(await desk.end(taken)) == ["queued", "running", "completed"]


async def test_two_runtimes_with_one_run_and_the_late_one_writes_nothing(desk: LedgerDesk) -> None:
    late = await desk.hold()
    call = await desk.ask(late)
    taken = await desk.take(late.run_id, now=utc_now() + LATER)
    assert taken is not None
    for attempt in (
        desk.record(late, NewStep(kind="custom", name="late")),
        desk.ask(late),
        desk.succeed(late, call.tool_call_id),
        desk.end(late),
    ):
        with pytest.raises(LeaseLost):
            await attempt
    assert await desk.beat(late, taken) == [taken.run_id]
    told = await desk.end(taken)
    assert (told.attempt_count, told.steps, told.tool_calls[0].status) == (2, [], "failed")
    assert statuses(told) == ["queued", "running", "waiting_tool", "retrying", "running", "completed"]


async def test_a_heartbeat_holds_the_lease(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    now = utc_now()
    run = await desk.hold()
    assert await desk.beat(run, now=now + timedelta(seconds=50)) == [run.run_id]
    assert await sweep_once(maintenance, now + LATER) == Swept()
    assert await sweep_once(maintenance, now + 2 * LATER) == Swept(retrying=1)
    assert await desk.beat(run) == []


async def test_a_dead_runtime_s_run_is_tried_again_until_its_attempts_are_spent(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    now = utc_now()
    run = await desk.hold(max_attempts=2)
    assert await sweep_once(maintenance, now + LATER) == Swept(retrying=1)
    assert (await desk.show(run.run_id)).status == "retrying"
    taken = await desk.take(run.run_id, now=now + LATER)
    assert taken is not None
    call = await desk.ask(taken)
    assert await sweep_once(maintenance, now + 3 * LATER) == Swept(failed=1)
    told = await desk.show(run.run_id)
    assert (told.status, told.error_class, told.deadline_at) == ("failed", "timeout", None)
    assert statuses(told, call.tool_call_id)[-1] == "failed"
    assert await sweep_once(maintenance, now + 9 * LATER) == Swept()


async def test_a_lost_run_with_no_attempt_left_fails_when_it_is_taken(desk: LedgerDesk) -> None:
    run = await desk.hold(max_attempts=1)
    assert await desk.take(run.run_id, now=utc_now() + LATER) is None
    assert (await desk.show(run.run_id)).status == "failed"


async def test_what_nobody_takes_up_fails_in_the_end(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    queued = await desk.begin(runtime=None)
    assert await sweep_once(maintenance, utc_now() + timedelta(hours=25)) == Swept(failed=1)
    told = await desk.show(queued.run_id)
    assert (statuses(told), told.error_class) == (["queued", "running", "failed"], "timeout")


async def test_a_runtime_whose_clock_is_a_day_off_writes_in_the_database_s_time(desk: LedgerDesk) -> None:
    before = utc_now() - timedelta(seconds=5)
    run = await desk.hold()
    await desk.record(run, NewStep(kind="custom", name="slow", seconds=2))
    told = await desk.end(run)
    assert before < told.steps[0].started_at < told.steps[0].ended_at < utc_now() + timedelta(seconds=5)


async def test_a_call_is_tried_three_times_under_one_id(desk: LedgerDesk) -> None:
    run = await desk.hold()
    call = await desk.ask(run)
    ended = [await desk.fail(run, call.tool_call_id, retryable=True)]
    for attempt in (2, 3):
        assert await desk.start(run, call.tool_call_id) == attempt
        ended.append(await desk.fail(run, call.tool_call_id, retryable=True))
    assert ended == ["retrying", "retrying", "failed"]
    with pytest.raises(IllegalTransition, match="from failed to executing"):
        await desk.start(run, call.tool_call_id)
    told = await desk.end(run)
    assert (told.tool_calls[0].attempt_count, told.tool_calls[0].error_class) == (3, "provider_error")
    assert statuses(told) == ["queued", "running", "waiting_tool", "running", "completed"]


async def test_calls_at_once_are_waited_for_together(desk: LedgerDesk) -> None:
    run = await desk.hold()
    first, second = await desk.ask(run), await desk.ask(run)
    await desk.succeed(run, first.tool_call_id)
    assert (await desk.show(run.run_id)).status == "waiting_tool"
    await desk.succeed(run, second.tool_call_id)
    assert (await desk.show(run.run_id)).status == "running"


async def test_a_serial_tool_runs_alone(desk: LedgerDesk) -> None:
    run = await desk.hold()
    call = await desk.ask(run, COUNT)
    for tool in (COUNT, SEARCH):
        with pytest.raises(Conflict, match="is asked for alone"):
            await desk.ask(run, tool)
    await desk.succeed(run, call.tool_call_id)
    await desk.ask(run)
    for tool in (COUNT, PAY):
        with pytest.raises(Conflict, match="is asked for alone"):
            await desk.ask(run, tool)


async def test_a_blocked_call_begins_nothing_and_the_run_goes_on(desk: LedgerDesk) -> None:
    run = await desk.hold()
    call = await desk.ask(run, ERASE)
    assert (call.status, call.attempt_count) == ("blocked_policy", 0)
    with pytest.raises(IllegalTransition):
        await desk.start(run, call.tool_call_id)
    told = await desk.end(run)
    [stored] = told.tool_calls
    assert (stored.rule_id, stored.rule_version, stored.error_class) == ("tool.role", 1, "authz_denied")
    assert "it takes owner or above" in (stored.reason or "")
    assert told.status == "completed"


async def test_an_unknown_tool_and_one_of_another_workspace_are_blocked_alike(
    desk: LedgerDesk, other_context: Context
) -> None:
    other = LedgerDesk(desk.database, other_context)
    run = await other.hold()
    theirs, nobodys = await other.ask(run, SEARCH), await other.ask(run, "nowhere")
    assert (theirs.status, theirs.rule_id, theirs.reason) == ("blocked_policy", "tool.known", nobodys.reason)
    assert (await other.end(run)).tool_calls[0].tool_version is None


async def test_arguments_outside_their_schema_are_blocked_and_say_why(desk: LedgerDesk) -> None:
    whole = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    await desk.publish(ToolToPublish(tool_name="double", side_effect="none", description="a", input_schema=whole))
    run = await desk.hold()
    call = await desk.ask(run, "double", {"n": "two"})
    assert (call.status, call.error_class, call.rule_id) == ("blocked_policy", "validation_error", "tool.arguments")
    assert "n: " in call.reason


async def test_what_a_member_asked_for_may_do_no_more_when_the_lane_runs_it(desk: LedgerDesk) -> None:
    queued = await desk.begin(runtime=None)
    system = desk.acting(Role.SYSTEM)
    run = await system.take(queued.run_id)
    assert run is not None
    assert (await system.ask(run, ERASE)).rule_id == "tool.role"
    child = await system.hold(parent_run_id=run.run_id)
    assert (await system.ask(child, ERASE)).status == "blocked_policy"
    own = await system.hold()
    assert (await system.ask(own, ERASE)).status == "requested"


async def test_the_database_authorizes_no_call_that_the_role_may_not_make(desk: LedgerDesk) -> None:
    run = await desk.hold()
    asking = "SELECT datalane.request_tool_call($1, $2, $3, 1, '{}', '\\x00', NULL, 'authorized', 'mine', 1)"
    with pytest.raises(Forbidden, match="it takes owner"):
        await desk.rows(asking, run.run_id, run.lease_token, ERASE)
    with pytest.raises(NotFound, match="no such version of a tool"):
        await desk.rows(asking, run.run_id, run.lease_token, "nowhere")
    assert (await desk.show(run.run_id)).tool_calls == []


async def test_a_call_that_is_authorized_may_be_left(desk: LedgerDesk) -> None:
    run = await desk.hold()
    call = await desk.ask(run, execute=False)
    await desk.cancel(run, call.tool_call_id)
    assert statuses(await desk.show(run.run_id), call.tool_call_id) == ["authorized", "canceled"]


async def test_what_is_open_ends_with_the_run(desk: LedgerDesk) -> None:
    run = await desk.hold()
    begun, waiting = await desk.ask(run), await desk.ask(run, execute=False)
    told = await desk.end(run)
    assert {call.tool_call_id: call.status for call in told.tool_calls} == {
        begun.tool_call_id: "failed",
        waiting.tool_call_id: "canceled",
    }
    assert told.status == "completed"


async def test_an_effect_is_recorded_once_for_its_key(desk: LedgerDesk) -> None:
    first = await desk.hold()
    call = await desk.ask(first, CREATE, {"title": "a"}, idempotency_key="k")
    await desk.succeed(first, call.tool_call_id, {"item": 1})
    second = await desk.hold()
    again = await desk.ask(second, CREATE, {"title": "a"}, idempotency_key="k")
    assert (again.status, again.is_replay, again.result) == ("succeeded", True, {"item": 1})
    with pytest.raises(Conflict, match="used with other arguments"):
        await desk.ask(second, CREATE, {"title": "b"}, idempotency_key="k")
    assert len(await desk.rows("SELECT tool_call_id FROM datalane.agent_effects")) == 1


async def test_of_two_calls_with_one_key_the_slower_one_s_transaction_rolls_back(desk: LedgerDesk) -> None:
    runs = [await desk.hold(), await desk.hold()]
    asked = [await desk.ask(run, CREATE, {"title": "a"}, idempotency_key="k") for run in runs]
    await desk.succeed(runs[0], asked[0].tool_call_id, 1)
    with pytest.raises(Conflict, match="was first"):
        await desk.succeed(runs[1], asked[1].tool_call_id, 2)
    assert (await desk.show(runs[1].run_id)).tool_calls[0].status == "executing"


async def test_an_external_effect_takes_a_key(desk: LedgerDesk) -> None:
    run = await desk.hold()
    with pytest.raises(InvalidInput, match="takes an idempotency key"):
        await desk.ask(run, CALL_OUT)


async def test_an_approved_call_goes_on_in_a_run_of_its_own_once(desk: LedgerDesk) -> None:
    run = await desk.hold(input="pay the bill")
    asked = await desk.ask(run, PAY, {"amount": 3})
    told = await desk.show(run.run_id)
    assert (told.status, asked.status, told.tool_calls[0].needs_approval) == ("escalated_human", "requested", True)
    following = await desk.resolve(asked.tool_call_id, approve=True)
    assert following is not None
    taken = await desk.take(following)
    assert taken is not None
    call = await desk.ask(taken, PAY, {"amount": 3})
    assert (call.status, call.rule_id) == ("executing", "tool.approval")
    await desk.succeed(taken, call.tool_call_id)
    again = await desk.ask(taken, PAY, {"amount": 3})
    assert again.status == "requested"
    told = await desk.show(following)
    assert (told.parent_run_id, told.input, told.status) == (run.run_id, "pay the bill", "escalated_human")


async def test_an_approval_is_of_its_arguments_alone(desk: LedgerDesk) -> None:
    asked = await desk.ask(await desk.hold(), PAY, {"amount": 3})
    following = await desk.resolve(asked.tool_call_id, approve=True)
    assert following is not None
    taken = await desk.take(following)
    assert taken is not None
    assert (await desk.ask(taken, PAY, {"amount": 4})).status == "requested"


async def test_a_denied_call_is_blocked_and_nothing_goes_on(desk: LedgerDesk) -> None:
    run = await desk.hold()
    asked = await desk.ask(run, PAY)
    assert await desk.resolve(asked.tool_call_id, approve=False, reason="too much") is None
    [call] = (await desk.show(run.run_id)).tool_calls
    assert (call.status, call.is_approved, call.reason) == ("blocked_policy", False, "too much")
    assert call.decided_by_actor_id == desk.context.actor_id
    with pytest.raises(Conflict, match="waits for nobody"):
        await desk.resolve(asked.tool_call_id, approve=True)
    assert await desk.rows("SELECT count(*) FROM datalane.agent_runs") == [(1,)]


async def test_a_member_approves_nothing(desk: LedgerDesk) -> None:
    run = await desk.hold()
    asked = await desk.ask(run, PAY)
    with pytest.raises(Forbidden, match="it takes admin"):
        await desk.rows("SELECT datalane.resolve_tool_call($1, true, 'me')", asked.tool_call_id)
    assert (await desk.show(run.run_id)).tool_calls[0].status == "requested"


async def test_an_approval_that_nobody_gives_runs_out(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    run = await desk.hold()
    asked = await desk.ask(run, PAY)
    assert await sweep_once(maintenance, utc_now() + timedelta(hours=25)) == Swept(expired=1)
    with pytest.raises(Conflict, match="waits for nobody"):
        await desk.resolve(asked.tool_call_id, approve=True)


async def test_outputs_of_ten_megabytes_are_refused_and_nothing_is_half_written(desk: LedgerDesk) -> None:
    run = await desk.hold()
    with pytest.raises(LimitExceeded, match="output is"):
        await desk.record(
            run, NewStep(kind="custom", name="a"), NewStep(kind="custom", name="b", output="x" * 10_000_000)
        )
    with pytest.raises(LimitExceeded, match="output is"):
        await desk.end(run, output="x" * 10_000_000)
    told = await desk.show(run.run_id)
    assert (told.status, told.steps) == ("running", [])


async def test_secrets_in_what_is_kept_are_masked(desk: LedgerDesk) -> None:
    run = await desk.hold(input={"api_key": "sk-1", "text": "password=hunter2"})
    told = await desk.end(run, "failed", error_class="provider_error", error_message="token=abc was refused")
    assert told.input == {"api_key": "[redacted]", "text": "password=[redacted]"}
    assert told.error_message == "token=[redacted] was refused"


@pytest.mark.parametrize(
    "tokens", [{"input_tokens": -1}, {"cached_input_tokens": 2}, {"output_tokens": 1, "reasoning_tokens": 2}]
)
def test_tokens_that_cannot_be_are_refused(tokens: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"greater than or equal|at least as many"):
        NewStep(kind="model", name="m", **tokens)  # type: ignore[arg-type]


async def test_a_run_that_is_not_there(desk: LedgerDesk) -> None:
    nobody = HeldRun(run_id=uuid4(), lease_token=1)
    for attempt in (desk.end(nobody), desk.ask(nobody), desk.take(nobody.run_id), desk.show(nobody.run_id)):
        with pytest.raises(NotFound):
            await attempt
    assert await desk.beat(nobody) == []


async def test_a_run_is_over_once(desk: LedgerDesk) -> None:
    run = await desk.hold()
    await desk.end(run)
    with pytest.raises(LeaseLost):
        await desk.end(run, "failed", error_class="timeout")
    with pytest.raises(IllegalTransition, match="from completed to running"):
        await desk.take(run.run_id)
    assert isinstance(run.run_id, UUID)

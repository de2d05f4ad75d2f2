"""What moderation does not let pass goes nowhere, and each judgement is on record."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY
from tests.integration.agents.desk import CALL_OUT, CREATE, ERASE, PAY, SEARCH, LedgerDesk
from tests.integration.agents.safety.moderators import SECRET, Words

from datalane.agents.recorder import (
    Agents,
    ApprovalNeeded,
    ContentRefused,
    ModerationUnavailable,
    RecordedCall,
    RecordedRun,
    ToolBlocked,
)
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs.schemas import AgentRunTrace
from datalane.agents.runs.sweeping import sweep_once
from datalane.agents.safety.judging import Judged
from datalane.agents.safety.recording import record_moderation
from datalane.agents.tools.policy import digest_arguments
from datalane.agents.tools.schemas import ToolToPublish
from datalane.engine.events import publish
from datalane.kit.clock import utc_now

TABLES = (
    "agent_runs",
    "agent_steps",
    "tool_calls",
    "agent_transitions",
    "agent_moderations",
    "agent_effects",
    "events",
)
MISBEHAVING = {
    "raise": "the moderator failed with ZeroDivisionError",
    "cancel": "the moderator did not answer within 0.2 seconds",
    "hang": "the moderator did not answer within 0.2 seconds",
    "deaf": "the moderator did not answer within 0.2 seconds",
    "nonsense": "the moderator said no verdict",
}


async def only_run(desk: LedgerDesk) -> AgentRunTrace:
    [(run_id,)] = await desk.rows("SELECT run_id FROM datalane.agent_runs")
    return await desk.show(run_id)


async def everything(desk: LedgerDesk) -> str:
    """Every column of every row of the workspace that a run leaves."""
    rows = [await desk.rows(f"SELECT t::text FROM datalane.{table} t") for table in TABLES]
    return "\n".join(row[0] for each in rows for row in each)


def strict() -> ToolToPublish:
    """A tool that says what is wrong with its arguments by quoting them."""
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    return ToolToPublish(tool_name="strict", side_effect="none", description="a", input_schema=schema)


def decided(run: AgentRunTrace) -> list[tuple[str, str]]:
    return [(each.subject, each.outcome) for each in run.moderations]


def counted(subject: str, outcome: str) -> float:
    told = {"subject": subject, "outcome": outcome}
    return REGISTRY.get_sample_value("datalane_agent_moderations_total", told) or 0.0


async def test_an_input_that_is_refused_calls_no_model_and_stands_nowhere(desk: LedgerDesk, agents: Agents) -> None:
    called: list[str] = []

    async def work() -> None:
        async with agents.run(desk.context, "helper", input={"question": f"refuse {SECRET}"}) as run:
            called.append("a model")
            run.output = "x"

    with pytest.raises(ContentRefused, match=r"the input was refused \(rude\): it is not polite") as refused:
        await work()
    told = await only_run(desk)
    assert (told.status, told.error_class, told.run_id) == ("blocked_policy", "policy_denied", refused.value.run_id)
    assert (called, told.input, decided(told)) == ([], None, [("input", "refused")])
    [judged] = told.moderations
    assert (judged.category, judged.reason, judged.judged_by) == ("rude", "it is not polite", "words 1.2")
    assert SECRET not in await everything(desk)


async def test_an_output_that_is_refused_stands_nowhere_not_even_where_a_step_said_it(
    desk: LedgerDesk, agents: Agents
) -> None:
    answered: list[Any] = []
    await desk.publish(strict())

    async def fail(run: RecordedRun) -> None:
        async with run.step("custom", "read"), run.tool(SEARCH, {}):
            raise ValueError(SECRET)

    async def work() -> None:
        async with agents.run(desk.context, "helper", input="Where?") as run:
            async with run.step("model", "chat", input="Where?") as step:
                step.output = SECRET
                step.count(input_tokens=3)
            async with run.tool(SEARCH, {"query": SECRET}) as call:
                call.result = [SECRET]
            with pytest.raises(ToolBlocked, match="oak"):
                await run.call("strict", {"query": [SECRET]})
            with pytest.raises(ValueError, match="oak"):
                await fail(run)
            run.output = {"answer": f"refuse {SECRET}"}
        answered.append(run.output)

    with pytest.raises(ContentRefused, match="the output was refused"):
        await work()
    told = await only_run(desk)
    assert (told.status, told.error_class, told.output, answered) == ("blocked_policy", "policy_denied", None, [])
    assert (told.input, told.input_tokens, told.tool_calls[0].status) == ("Where?", 3, "succeeded")
    assert decided(told)[-1] == ("output", "refused")
    assert SECRET not in await everything(desk)


@pytest.mark.parametrize("subject", ["input", "output"])
async def test_a_moderator_that_misbehaves_refuses_and_the_run_fails(
    desk: LedgerDesk, agents: Agents, subject: str
) -> None:
    async def work(said: str) -> None:
        async with agents.run(desk.context, "helper", input=said if subject == "input" else None) as run:
            assert subject == "output"
            run.output = said

    for how, why in MISBEHAVING.items():
        with pytest.raises(ModerationUnavailable, match=why) as failed:
            await work(f"{how} {SECRET}")
        assert failed.value.run_id is not None
        told = await desk.show(failed.value.run_id)
        assert (told.status, told.error_class) == ("failed", "dependency_unavailable")
        judged = [(each.subject, each.outcome, each.reason) for each in told.moderations]
        assert judged == [(subject, "failed", why)], how
    assert SECRET not in await everything(desk)


async def test_what_is_allowed_or_flagged_goes_on_and_both_are_on_record(
    desk: LedgerDesk, agents: Agents, words: Words
) -> None:
    before = counted("input", "flagged")
    async with agents.run(desk.context, "helper", input="flag this") as run:
        async with run.tool(SEARCH, {"query": "heron"}) as call:
            call.result = ["flag"]
        run.output = "Grey."
    told = await only_run(desk)
    assert (told.status, told.input, told.output) == ("completed", "flag this", "Grey.")
    assert decided(told) == [
        ("input", "flagged"),
        ("arguments", "allowed"),
        ("result", "flagged"),
        ("output", "allowed"),
    ]
    assert counted("input", "flagged") == before + 1
    [call_id] = [each.tool_call_id for each in told.tool_calls]
    assert [each.tool_call_id for each in told.moderations] == [None, call_id, call_id, None]
    about = [(asked.run_id, asked.agent, asked.tool_name, asked.actor_id) for _, _, asked in words.asked]
    actor = desk.context.actor_id
    assert about == [
        (None, "helper", None, actor),
        (told.run_id, "helper", SEARCH, actor),
        (told.run_id, None, SEARCH, actor),
        (told.run_id, "helper", None, actor),
    ]


async def test_arguments_that_are_refused_call_nothing_and_the_agent_may_go_on(
    desk: LedgerDesk, agents: Agents
) -> None:
    made: list[Any] = []
    await desk.publish(strict())
    arguments = {"query": f"refuse {SECRET}"}

    @agents.tools.implement(SEARCH)
    async def search(call: RecordedCall) -> str:
        made.append(call.arguments)
        return "found"

    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(ToolBlocked, match="rude"):
            await run.call(SEARCH, arguments)
        with pytest.raises(ToolBlocked, match="rude"):
            await run.call("strict", {"query": [f"refuse {SECRET}"]})
        with pytest.raises(ModerationUnavailable):
            await run.call(SEARCH, {"query": f"raise {SECRET}"})
        run.output = "Without it."
    told = await only_run(desk)
    calls = [(each.status, each.rule_id, each.error_class, each.arguments) for each in told.tool_calls]
    assert calls == [
        ("blocked_policy", "moderation.arguments", "policy_denied", None),
        ("blocked_policy", "moderation.arguments", "policy_denied", None),
        ("blocked_policy", "moderation.arguments", "dependency_unavailable", None),
    ]
    assert (told.status, made) == ("completed", [])
    [(digest,)] = await desk.rows("SELECT arguments_digest FROM datalane.tool_calls ORDER BY ordinal LIMIT 1")
    assert digest == digest_arguments(arguments)
    assert SECRET not in await everything(desk)


async def test_what_the_policy_blocks_is_blocked_by_its_rule_and_what_waits_is_judged_before(
    desk: LedgerDesk, agents: Agents
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            with pytest.raises(ToolBlocked, match=r"tool\.role"):
                await run.call(ERASE, {"what": "refuse"})
            await run.call(PAY, {"amount": 3})

    with pytest.raises(ApprovalNeeded):
        await work()
    told = await only_run(desk)
    assert [(each.rule_id, each.status, each.arguments) for each in told.tool_calls] == [
        ("tool.role", "blocked_policy", None),
        ("tool.approval", "requested", {"amount": 3}),
    ]
    assert decided(told) == [("arguments", "refused"), ("arguments", "allowed")]


async def test_a_result_that_is_refused_is_handed_to_nobody_and_its_effect_stands(
    desk: LedgerDesk, agents: Agents
) -> None:
    seen: list[Any] = []
    await desk.publish(
        ToolToPublish(
            tool_name="first",
            side_effect="write",
            approval="never",
            execution="parallel",
            description="a",
            input_schema={"type": "object"},
            output_schema={"type": "string"},
            fallback_tool=SEARCH,
        )
    )

    @agents.tools.implement("first")
    async def first(call: RecordedCall) -> None:
        async with call.transaction() as tx:
            await publish(tx, "membership.removed", {"user_id": "u"})
            call.result = f"refuse {SECRET}"

    @agents.tools.implement(SEARCH)
    async def search(call: RecordedCall) -> None:
        seen.append("the fallback")

    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(ContentRefused, match="the result was refused"):
            seen.append(await run.call("first", {}, idempotency_key="k"))
        again = await run.request("first", {}, "k")
        assert (again.is_replay, again.result) == (True, None)
    told = await only_run(desk)
    assert ([each.status for each in told.tool_calls], seen) == (["succeeded", "succeeded"], [])
    assert await desk.rows("SELECT count(*) FROM datalane.events WHERE event_type = 'membership.removed'") == [(1,)]
    assert SECRET not in await everything(desk)


async def test_a_result_that_nobody_judges_undoes_its_effect_and_is_not_tried_again(
    desk: LedgerDesk, agents: Agents
) -> None:
    attempts: list[int] = []

    @agents.tools.implement(CREATE)
    async def create(call: RecordedCall) -> None:
        attempts.append(call.attempt)
        async with call.transaction() as tx:
            await publish(tx, "membership.removed", {"user_id": "u"})
            call.result = f"raise {SECRET}"

    @agents.tools.implement(CALL_OUT)
    async def call_out(call: RecordedCall) -> str:
        attempts.append(call.attempt)
        return f"hang {SECRET}"

    for tool in (CREATE, CALL_OUT):

        async def work(tool: str = tool) -> None:
            async with agents.run(desk.context, "helper") as run:
                await run.call(tool, {}, idempotency_key=tool)

        with pytest.raises(ModerationUnavailable):
            await work()
    runs = [row[0] for row in await desk.rows("SELECT run_id FROM datalane.agent_runs ORDER BY run_id")]
    for run_id in runs:
        told = await desk.show(run_id)
        assert (told.status, told.error_class) == ("failed", "dependency_unavailable")
        assert [(each.status, each.error_class) for each in told.tool_calls] == [("failed", "dependency_unavailable")]
        assert decided(told) == [("arguments", "allowed"), ("result", "failed")]
    assert attempts == [1, 1]
    assert await desk.rows("SELECT count(*) FROM datalane.events WHERE event_type = 'membership.removed'") == [(0,)]
    assert SECRET not in await everything(desk)


async def test_the_output_of_a_block_that_failed_was_judged_by_nobody_and_is_not_kept(
    desk: LedgerDesk, agents: Agents
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            run.output = SECRET
            raise httpx.ConnectError("down")

    with pytest.raises(httpx.ConnectError):
        await work()
    told = await only_run(desk)
    assert (told.status, told.output, decided(told)) == ("failed", None, [])


async def test_a_queued_run_is_judged_when_it_is_taken_up(desk: LedgerDesk, agents: Agents) -> None:
    bad = (await desk.begin(runtime=None, input=f"refuse {SECRET}")).run_id
    good = (await desk.begin(runtime=None, input="Herons?")).run_id
    began: list[UUID] = []
    for run_id in (bad, good):
        with suppress(ContentRefused):
            async with agents.take(desk.context, run_id, "helper") as run:
                began.append(run.run_id)
    assert began == [good]
    refused, taken = await desk.show(bad), await desk.show(good)
    assert (refused.status, refused.input, decided(refused)) == ("blocked_policy", None, [("input", "refused")])
    assert (taken.status, taken.input, decided(taken)) == ("completed", "Herons?", [("input", "allowed")])
    assert SECRET not in await everything(desk)


async def test_an_input_that_was_judged_is_not_judged_again_when_its_run_was_lost(
    desk: LedgerDesk, agents: Agents, words: Words, maintenance: asyncpg.Connection
) -> None:
    run = await desk.hold(input="Herons?")
    async with desk.database.transaction(desk.context) as tx:
        await record_moderation(tx, run, Judged("input", "allowed", "words 1.2"))
    await sweep_once(maintenance, utc_now() + timedelta(seconds=61))
    async with agents.take(desk.context, run.run_id, "helper") as taken:
        taken.output = "Grey."
    assert [subject for subject, _, _ in words.asked] == ["output"]


async def test_without_a_moderator_nothing_is_on_record_and_nothing_more_is_asked(desk: LedgerDesk) -> None:
    agents, statements = Agents(desk.database.transaction, Toolbox()), list[str]()
    async with desk.database.pool.acquire() as connection:
        connection.add_query_logger(lambda asked: statements.append(asked.query))
    async with agents.run(desk.context, "helper", input="refuse") as run:
        async with run.tool(SEARCH, {"query": "refuse"}) as call:
            call.result = "refuse"
        run.output = "refuse"
    told = await only_run(desk)
    asked = [each for each in statements if "moderation" in each]
    assert (len(statements) > 4, [each for each in asked if "FROM datalane.agent_moderations" not in each]) == (
        True,
        [],
    )
    assert len(asked) == 1, "the trace that is shown"
    assert (told.status, told.output, told.moderations) == ("completed", "refuse", [])


async def test_a_refusal_by_the_model_itself_is_on_record_and_takes_nothing_away(
    desk: LedgerDesk, agents: Agents
) -> None:
    async with agents.run(desk.context, "helper", input="How?") as run:
        async with run.step("model", "chat") as step:
            step.output = "I cannot help with that."
        run.refuse("self_harm", "the model declined")
        run.output = "I cannot help with that."
    told = await only_run(desk)
    assert (told.status, told.output, told.steps[0].output) == ("completed", *["I cannot help with that."] * 2)
    [(by, category, reason)] = [
        (each.judged_by, each.category, each.reason) for each in told.moderations if each.outcome == "refused"
    ]
    assert (by, category, reason) == ("agent", "self_harm", "the model declined")


async def test_what_was_judged_is_on_record_when_a_call_that_takes_a_person_ends_the_run(
    desk: LedgerDesk, agents: Agents
) -> None:
    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            with pytest.raises(ContentRefused):
                await run.check_output(f"refuse {SECRET}")
            run.refuse("self_harm")
            with pytest.raises(ApprovalNeeded):
                await run.call(PAY, {"amount": 3})
            with pytest.raises(ContentRefused):
                await run.check_output(f"refuse {SECRET}")

    await work()
    told = await only_run(desk)
    assert told.status == "escalated_human"
    assert decided(told) == [("output", "refused"), ("output", "refused"), ("arguments", "allowed")]
    assert [each.judged_by for each in told.moderations] == ["words 1.2", "agent", "words 1.2"]

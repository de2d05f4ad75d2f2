"""What spans become: a run with its steps, its calls of tools, its thread and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.integration.agents.desk import CREATE, LedgerDesk
from tests.integration.agents.spans.telling import BEGAN, EMBED, TRACE, Piece, Receiver, agent, chat, tool

from datalane.agents.runs.schemas import HeldRun, NewStep
from datalane.agents.runs.sweeping import sweep_once
from datalane.agents.spans.forgetting import forget_once
from datalane.agents.spans.taking import PATIENCE
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Role
from datalane.errors import Conflict
from datalane.kit.clock import utc_now

DAY = 86_400


async def set_price(receiver: Receiver, model: str, seconds: int, price: int, currency: str = "USD") -> None:
    async with receiver.database.transaction(replace(receiver.context, role=Role.ADMIN)) as tx:
        version = await register_model(tx, NewAgentModel(provider="test", model=model))
        said = NewModelPrice(
            model_version_id=version.model_version_id,
            currency=currency,
            input_per_million=Decimal(price),
            output_per_million=Decimal(price),
            effective_at=BEGAN + timedelta(seconds=seconds),
        )
        await create_price(tx, said, BEGAN - timedelta(days=1))


async def test_a_trace_is_a_run_of_the_agent_of_its_root(receiver: Receiver) -> None:
    root = agent().saying(conversation__id="talk-1", output__messages='[{"role": "assistant", "token": "abc"}]')
    await receiver.take(chat(2), tool(3), chat(4, start=5), root)
    run = await receiver.run()
    assert (run.agent, run.source, run.source_run_id, run.status) == ("helper", "spans", TRACE, "completed")
    assert (run.started_at, run.completed_at) == (BEGAN, BEGAN + timedelta(seconds=100))
    assert (run.runtime, run.deadline_at, run.error_class) == ("desk", None, None)
    assert (run.input_tokens, run.output_tokens, run.model_steps) == (200, 20, 2)
    assert [(step.kind, step.name, step.started_at) for step in run.steps] == [
        ("model", "chat small", BEGAN + timedelta(seconds=1)),
        ("model", "chat small", BEGAN + timedelta(seconds=5)),
    ]
    (call,) = run.tool_calls
    assert (call.tool_name, call.status, call.rule_id) == ("look_up", "succeeded", "spans.observed")
    assert (call.arguments, call.result, call.tool_version) == ({"order": "A-1"}, "on its way", None)
    assert run.output == [{"role": "assistant", "token": "[redacted]"}]
    assert await receiver.threads() == {run.thread_id: "talk-1"}
    assert [(each.from_status, each.to_status) for each in run.transitions if each.tool_call_id is None] == [
        (None, "queued"),
        ("queued", "running"),
        ("running", "completed"),
    ]
    assert [each.to_status for each in run.transitions if each.tool_call_id] == ["authorized", "executing", "succeeded"]


async def test_a_run_goes_on_until_its_root_comes(receiver: Receiver) -> None:
    now = utc_now()
    await receiver.take(chat(2), now=now)
    run = await receiver.run()
    assert (run.status, run.agent, run.started_at) == ("running", "desk", BEGAN + timedelta(seconds=1))
    assert run.deadline_at == now + PATIENCE
    await receiver.take(replace(agent(), failed=True), now=now)
    run = await receiver.run()
    assert (run.status, run.agent, run.started_at) == ("failed", "helper", BEGAN)
    assert (run.error_class, run.error_message) == ("unexpected_internal", "it broke")


async def test_a_root_that_says_nothing_of_agents_waits_for_a_span_that_does(receiver: Receiver) -> None:
    await receiver.take(Piece(1, None, None, 0, 9, "POST /ask"), Piece(7, None, 1, 0, 1, "SELECT"))
    assert await receiver.runs() == []
    await receiver.take(agent(2, parent=1).saying(output__messages="bye"), chat(3))
    run = await receiver.run()
    assert (run.status, run.agent, run.output) == ("completed", "helper", "bye")
    assert (run.started_at, run.completed_at) == (BEGAN, BEGAN + timedelta(seconds=9))
    assert [(step.kind, step.name) for step in run.steps] == [
        ("custom", "invoke_agent helper"),
        ("model", "chat small"),
    ]


async def test_a_trace_that_tells_of_no_agent_is_forgotten(receiver: Receiver, maintenance: asyncpg.Connection) -> None:
    now = utc_now()
    await receiver.take(Piece(1, None, None, 0, 9, "GET /health"), now=now)
    other = replace(chat(2), trace="4bf92f3577b34da6a3ce929d0e0e4736")
    await receiver.take(other, now=now)
    assert await forget_once(maintenance, now + PATIENCE - timedelta(seconds=1)) == 0
    assert await forget_once(maintenance, now + PATIENCE + timedelta(seconds=1)) == 1
    assert await forget_once(maintenance, now + PATIENCE + timedelta(seconds=1)) == 0
    await receiver.take(chat(2), now=now)
    assert (await receiver.run()).status == "running"
    assert len(await receiver.runs()) == 2


async def test_a_run_without_a_root_ends_as_its_agent_did_or_fails(
    receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    now, traces = utc_now(), ["a" * 32, "b" * 32, "c" * 32]
    await receiver.take(replace(agent(2, parent=1), trace=traces[0]), now=now)
    await receiver.take(replace(agent(2, parent=1), trace=traces[1], failed=True), now=now)
    await receiver.take(replace(chat(2), trace=traces[2]), now=now)
    assert (await sweep_once(maintenance, now + PATIENCE - timedelta(seconds=1))).failed == 0
    assert (await sweep_once(maintenance, now + PATIENCE + timedelta(seconds=1))).failed == 3
    done, broken, lost = [await receiver.run(trace) for trace in traces]
    assert (done.status, done.completed_at) == ("completed", BEGAN + timedelta(seconds=100))
    assert (broken.status, broken.error_class) == ("failed", "unexpected_internal")
    assert (lost.status, lost.error_class, lost.transitions[-1].reason) == ("failed", "timeout", "root_missing")


async def test_a_root_that_comes_after_the_sweep_changes_no_end_and_all_else(
    receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    now = utc_now()
    await receiver.take(chat(2), now=now)
    await sweep_once(maintenance, now + PATIENCE * 2)
    await receiver.take(agent().saying(output__messages="bye"), tool(3))
    run = await receiver.run()
    assert (run.status, run.error_class) == ("failed", "timeout")
    assert (run.agent, run.output, run.completed_at) == ("helper", "bye", BEGAN + timedelta(seconds=100))
    assert (len(run.steps), len(run.tool_calls)) == (1, 1)


async def test_news_extends_the_time_and_repetition_does_not(receiver: Receiver) -> None:
    now = utc_now()
    await receiver.take(chat(2), now=now)
    await receiver.take(chat(2), now=now + timedelta(hours=1))
    assert (await receiver.run()).deadline_at == now + PATIENCE
    await receiver.take(chat(3), now=now + timedelta(hours=2))
    assert (await receiver.run()).deadline_at == now + timedelta(hours=2) + PATIENCE


async def test_a_cost_is_by_the_price_that_held_when_its_span_began(receiver: Receiver) -> None:
    await set_price(receiver, "small", 0, 1)
    await set_price(receiver, "small", 5, 2)
    million = (1_000_000, 0)
    await receiver.take(chat(3, start=5, tokens=million), agent())
    await receiver.take(chat(2, start=1, tokens=million))
    run = await receiver.run()
    assert [step.cost for step in run.steps] == [Decimal(1), Decimal(2)]
    assert (run.cost, run.currency) == (Decimal(3), "USD")
    await receiver.take(chat(4, start=-1, tokens=million))
    run = await receiver.run()
    assert ([step.cost for step in run.steps], run.cost, run.unpriced_steps) == ([None, 1, 2], None, 1)


async def test_a_run_of_two_currencies_says_the_same_one_in_any_order(receiver: Receiver) -> None:
    await set_price(receiver, "small", 0, 1, "USD")
    await set_price(receiver, "large", 0, 1, "EUR")
    pieces = [chat(2, tokens=(1_000_000, 0)), chat(3, tokens=(3_000_000, 0), model="large")]
    for trace, order in (("a" * 32, pieces), ("b" * 32, pieces[::-1])):
        for piece in order:
            await receiver.take(replace(piece, trace=trace))
        run = await receiver.run(trace)
        assert (run.currency, run.cost, run.known_cost, run.unpriced_steps) == ("EUR", None, Decimal(3), 1)


async def test_a_price_of_the_time_to_come_is_not_used_before_its_time(receiver: Receiver) -> None:
    tomorrow = utc_now() + timedelta(hours=12)
    await set_price(receiver, "small", 0, 1)
    await set_price(receiver, "small", int((tomorrow - BEGAN).total_seconds()), 50)
    ahead = (tomorrow - BEGAN).total_seconds() + 3_600
    await receiver.take(replace(chat(2, tokens=(1_000_000, 0)), start=ahead, end=ahead + 1), agent())
    run = await receiver.run()
    assert (run.cost, run.status) == (Decimal(1), "completed")
    assert run.steps[0].started_at == BEGAN + timedelta(seconds=ahead)


async def test_a_clock_that_is_a_day_off_ends_no_run_before_its_time(
    receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    now = utc_now()
    for days, trace in ((-1, "a" * 32), (1, "b" * 32)):
        start = (now - BEGAN).total_seconds() + days * DAY
        await receiver.take(replace(chat(2, start=start), trace=trace), now=now)
    assert (await sweep_once(maintenance, now + PATIENCE - timedelta(seconds=1))).failed == 0
    for trace in ("a" * 32, "b" * 32):
        await receiver.take(replace(agent(), trace=trace), now=now)
        assert (await receiver.run(trace)).status == "completed"


async def test_a_span_that_ends_years_ahead_is_rejected(receiver: Receiver) -> None:
    ahead = (utc_now() + timedelta(days=3) - BEGAN).total_seconds()
    batch = await receiver.take(replace(chat(2), start=ahead, end=ahead + 1), chat(3), agent())
    assert batch.message == "1 rejected: an end in a time to come, by a clock that is wrong"
    assert len((await receiver.run()).steps) == 1


async def test_a_model_has_the_version_that_answered(receiver: Receiver) -> None:
    asked = chat(2, model="small").saying(response__model="small-2026")
    await receiver.take(asked, chat(3), Piece(4, "chat", 1).saying(system="older", request__model="tiny"))
    async with receiver.database.transaction(receiver.context) as tx:
        known = await tx.fetch("SELECT provider, model, revision FROM datalane.agent_models ORDER BY 1, 2, 3")
    told = [("older", "tiny", ""), ("test", "small", ""), ("test", "small", "small-2026")]
    assert [tuple(row) for row in known] == told


async def test_an_embedding_is_a_retrieval_that_puts_out_no_tokens(receiver: Receiver) -> None:
    await set_price(receiver, "embedder", 0, 1)
    said = {"provider__name": "test", "request__model": "embedder", "usage__input_tokens": 1_000_000}
    await receiver.take(Piece(2, EMBED, 1, name="embeddings embedder").saying(**said), agent())
    (step,) = (await receiver.run()).steps
    assert (step.kind, step.input_tokens, step.output_tokens, step.cost) == (
        "retrieval",
        1_000_000,
        0,
        Decimal(1),
    )


async def test_a_call_of_a_known_tool_says_its_version_and_what_it_does(receiver: Receiver) -> None:
    failed = replace(tool(3, name=CREATE, failed=True), start=4).saying(tool__call__id="call_7")
    await receiver.take(tool(2, name=CREATE), failed)
    first, second = (await receiver.run()).tool_calls
    assert (first.tool_version, first.side_effect, first.status, first.attempt_count) == (1, "write", "succeeded", 1)
    assert (second.status, second.error_class, second.error_message) == ("failed", "unexpected_internal", "it broke")
    assert second.reason == "the model asked for it as call_7"
    assert first.reason is None


USAGE: list[tuple[Mapping[str, Any], tuple[int | None, ...]]] = [
    ({"input_tokens": 5, "output_tokens": 3}, (5, None, 3, None)),
    ({"prompt_tokens": 5, "completion_tokens": 3}, (5, None, 3, None)),
    ({"input_tokens": 5, "output_tokens": 3, "cache_read__input_tokens": 2}, (5, 2, 3, None)),
    ({"input_tokens": 5, "cache_read_input_tokens": 2}, (5, 2, None, None)),
    ({"output_tokens": 3, "reasoning__output_tokens": 3}, (None, None, 3, 3)),
    ({"input_tokens": -5, "output_tokens": 3}, (None, None, 3, None)),
    ({"input_tokens": "5", "output_tokens": "many"}, (None, None, None, None)),
    ({"input_tokens": 5.0, "output_tokens": True}, (None, None, None, None)),
    ({"input_tokens": 2**60, "output_tokens": 0}, (None, None, 0, None)),
    ({"input_tokens": 5, "cache_read__input_tokens": 6}, (None, None, None, None)),
    ({"cache_read__input_tokens": 6}, (None, None, None, None)),
]


@pytest.mark.parametrize(("said", "counted"), USAGE)
async def test_tokens_are_counted_where_they_are_counts(
    receiver: Receiver, said: Mapping[str, Any], counted: tuple[int | None, ...]
) -> None:
    await receiver.take(Piece(2, "chat", 1).saying(**{f"usage__{name}": value for name, value in said.items()}))
    (step,) = (await receiver.run()).steps
    assert counted == (step.input_tokens, step.cached_input_tokens, step.output_tokens, step.reasoning_tokens)


async def test_the_same_trace_in_two_workspaces_is_two_runs(receiver: Receiver, other_context: Any) -> None:
    other = Receiver(receiver.database, other_context)
    await receiver.take(chat(2), agent())
    await other.take(chat(2))
    mine, theirs = await receiver.run(), await other.run()
    assert mine.run_id != theirs.run_id
    assert (mine.status, theirs.status) == ("completed", "running")


async def test_nobody_holds_a_run_that_spans_tell(receiver: Receiver, desk: LedgerDesk) -> None:
    await receiver.take(chat(2))
    run = await receiver.run()
    with pytest.raises(Conflict, match="told by spans"):
        await desk.record(
            HeldRun.model_construct(run_id=run.run_id, lease_token=0), NewStep(kind="custom", name="mine")
        )
    with pytest.raises(Conflict, match="held by another"):
        await desk.take(run.run_id)


async def test_what_happened_is_told_by_events(receiver: Receiver) -> None:
    await receiver.take(chat(2))
    await receiver.take(tool(3), agent())
    await receiver.take(tool(3), agent())
    async with receiver.database.transaction(receiver.context) as tx:
        rows = await tx.fetch(
            "SELECT event_type FROM datalane.events WHERE event_type LIKE 'agent.%' ORDER BY event_id"
        )
    assert sorted(row["event_type"] for row in rows) == [
        "agent.run.completed",
        "agent.run.started",
        "agent.tool.called",
    ]

"""Runs that spans tell are forgotten as all others are, with their traces."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.spans.telling import BEGAN, Piece, Receiver, agent, chat, tool

from datalane.agents.forgetting import Forgotten, forget_once
from datalane.settings import Retention

KEPT = Retention()
OLD, ANCIENT = (BEGAN + timedelta(days=days) for days in (91, 401))
OTHER_TRACE = "1af7651916cd43dd8448eb211c80319c"


def whole() -> tuple[Piece, ...]:
    """The spans of a run with contents in every place."""
    said = '[{"role": "user", "content": "secret"}]'
    return (
        agent().saying(input__messages=said, output__messages=said),
        chat(2).saying(input__messages=said, output__messages=said),
        tool(3),
    )


async def left(desk: LedgerDesk) -> list[int]:
    """How many runs, traces and spans are there."""
    tables = ("agent_runs", "agent_traces", "agent_spans")
    return [(await desk.rows(f"SELECT count(*) FROM datalane.{table}"))[0][0] for table in tables]


async def test_an_old_run_goes_with_its_trace_and_keeps_no_other_run(
    desk: LedgerDesk, receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    await receiver.take(*whole())
    await desk.end(await desk.hold(), now=BEGAN + timedelta(hours=1))
    assert await left(desk) == [2, 1, 3]
    assert (await forget_once(maintenance, ANCIENT, KEPT)).agent_runs == 2
    assert await left(desk) == [0, 0, 0]
    await receiver.take(*whole())
    assert await left(desk) == [1, 1, 3]


async def test_the_contents_of_spans_are_forgotten_and_what_comes_late_is_too(
    receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    root, *others, late = whole()
    await receiver.take(root, *others)
    for _ in range(2):
        assert await forget_once(maintenance, OLD, KEPT) == Forgotten(agent_artifacts=1)
        run = await receiver.run()
        assert (run.artifacts_forgotten, run.input, run.output) == (True, None, None)
        assert [(step.input, step.output) for step in run.steps] == [(None, None)]
        assert {(call.arguments, call.result) for call in run.tool_calls} <= {(None, None)}
        await receiver.take(late)
    assert len((await receiver.run()).tool_calls) == 1
    assert await forget_once(maintenance, OLD, KEPT) == Forgotten(), "what is known already is no news"


async def test_a_trace_that_is_being_taken_keeps_its_run_and_holds_up_nobody(
    desk: LedgerDesk, receiver: Receiver, maintenance: asyncpg.Connection
) -> None:
    await receiver.take(*whole())
    await receiver.take(replace(agent(), trace=OTHER_TRACE))
    taking = asyncio.Event()
    over = asyncio.Event()

    async def take() -> None:
        async with desk.database.transaction(desk.context) as tx:
            await tx.execute("SELECT datalane.take_agent_spans($1, '[]')", OTHER_TRACE)
            taking.set()
            await over.wait()

    task = asyncio.create_task(take())
    await taking.wait()
    try:
        assert (await forget_once(maintenance, ANCIENT, KEPT)).agent_runs == 1
    finally:
        over.set()
        await task
    assert await left(desk) == [1, 1, 1]
    assert (await forget_once(maintenance, ANCIENT, KEPT)).agent_runs == 1
    assert await left(desk) == [0, 0, 0]

"""Spans are taken by a verb alone, by members of one workspace, and one batch of a trace after the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.spans.telling import TRACE, Piece, Receiver, agent, chat, tool
from tests.integration.agents.versions.test_versions import blocks

from datalane.contracts.context import Context, Role
from datalane.errors import DatalaneError, Forbidden, InvalidInput

pytestmark = pytest.mark.one_database

TAKE = "SELECT run_id, kept FROM datalane.take_agent_spans($1, $2::text::jsonb)"
A_SPAN = (
    '[{"span_id": "a", "kind": "agent", "agent": "x", "service": "x", '
    '"started_at": "2026-03-01", "ended_at": "2026-03-02"}]'
)


async def test_a_viewer_takes_no_spans_by_raw_sql(receiver: Receiver) -> None:
    viewer = replace(receiver.context, role=Role.VIEWER)
    with pytest.raises(Forbidden):
        async with receiver.database.transaction(viewer) as tx:
            await tx.fetch(TAKE, TRACE, A_SPAN)
    with pytest.raises(Forbidden):
        await Receiver(receiver.database, viewer).take(agent())
    assert await receiver.runs() == []


@pytest.mark.parametrize("table", ["agent_traces", "agent_spans"])
async def test_an_owner_writes_no_span_by_hand(receiver: Receiver, table: str) -> None:
    await receiver.take(agent())
    owner = replace(receiver.context, role=Role.OWNER)
    for statement in (
        f"DELETE FROM datalane.{table}",
        f"UPDATE datalane.{table} SET trace_id = 'x'",
        f"INSERT INTO datalane.{table} (workspace_id) VALUES (app.workspace_id())",
    ):
        with pytest.raises(Forbidden):
            async with receiver.database.transaction(owner) as tx:
                await tx.execute(statement)


async def test_another_workspace_sees_no_span(receiver: Receiver, other_context: Context) -> None:
    await receiver.take(chat(2), agent())
    async with receiver.database.transaction(other_context) as tx:
        for table in ("agent_traces", "agent_spans", "agent_runs"):
            assert await tx.fetchval(f"SELECT count(*) FROM datalane.{table}") == 0


HOSTILE: list[tuple[Any, type[BaseException]]] = [
    ("null", InvalidInput),
    ('{"a": 1}', InvalidInput),
    ("[1]", asyncpg.PostgresError),
    ('[{"span_id": "a"}]', asyncpg.PostgresError),
    (A_SPAN.replace('"agent",', '"none",'), asyncpg.PostgresError),
    (A_SPAN.replace("2026-03-02", "2026-02-02"), asyncpg.PostgresError),
    (
        A_SPAN.replace('"kind": "agent"', '"kind": "model", "step": "model", "name": "x", "input_tokens": -1'),
        asyncpg.PostgresError,
    ),
]


@pytest.mark.parametrize(("spans", "refusal"), HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_span_is_refused_by_the_verb_whole(
    receiver: Receiver, spans: str, refusal: type[BaseException]
) -> None:
    with pytest.raises((refusal, DatalaneError)):
        async with receiver.database.transaction(receiver.context) as tx:
            await tx.fetch(TAKE, TRACE, spans)
    assert await receiver.runs() == []


async def test_a_span_twice_in_one_call_of_the_verb_counts_once(receiver: Receiver) -> None:
    doubled = A_SPAN.replace("}]", '}, {"span_id": "a", "kind": "tool", "tool": "x"}]')
    async with receiver.database.transaction(receiver.context) as tx:
        (row,) = await tx.fetch(TAKE, TRACE, doubled)
    assert row["kept"] == 1
    run = await receiver.run()
    assert (run.agent, run.status, run.tool_calls) == ("x", "completed", [])


async def test_batches_of_a_trace_wait_for_each_other(receiver: Receiver) -> None:
    """The root is known and tells of no agent: the first of two batches makes the run, and the second finds it."""
    await receiver.take(Piece(1, None, None, 0, 9, "POST /ask"))
    async with receiver.database.transaction(receiver.context) as tx:
        await tx.fetch(TAKE, TRACE, A_SPAN.replace('"a"', '"00000000000000aa"'))
        second = asyncio.create_task(receiver.take(tool(3)))
        await blocks(tx, 1)
    await second
    run = await receiver.run()
    assert (run.agent, run.status, len(run.tool_calls)) == ("x", "completed", 1)


async def test_requests_about_the_same_things_do_not_stop_each_other(receiver: Receiver, desk: LedgerDesk) -> None:
    """Each names the traces, threads and models in another order."""
    traces = [f"{number:032x}" for number in range(1, 9)]
    spans = [
        replace(chat(2 + number, model=f"model {number}"), trace=trace).saying(conversation__id=f"talk {number}")
        for number, trace in enumerate(traces)
    ]
    orders = [spans, spans[::-1], spans[4:] + spans[:4], spans[::2] + spans[1::2]] * 2
    await asyncio.gather(*(receiver.take(*order) for order in orders))
    runs = await receiver.runs()
    assert sorted(str(run.source_run_id) for run in runs) == traces
    assert [len(run.steps) for run in runs] == [1] * 8
    assert len(await receiver.threads()) == 8

"""Reading the ledger."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from datalane.agents.permissions import READ_RUNS
from datalane.agents.runs.schemas import (
    AgentRun,
    AgentRunPage,
    AgentRunTrace,
    AgentStep,
    RunStatus,
    Thread,
    ThreadPage,
    ToolCall,
    ToolCallPage,
    Transition,
)
from datalane.agents.safety.schemas import AgentModeration
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What the list is narrowed to; None is everything."""

    thread_id: UUID | None = None
    parent_run_id: UUID | None = None
    agent: str | None = None
    status: RunStatus | None = None


async def list_runs(tx: Transaction, asked: RunFilter, cursor: str | None = None, page_size: int = 25) -> AgentRunPage:
    """Runs, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_RUNS.check(tx.context)
    listing = f"agent runs:{asked}"
    rows = await _queries.list_runs(
        tx.connection,
        workspace_id=tx.workspace_id,
        **asdict(asked),
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["run_id"]])
    return AgentRunPage(data=[AgentRun(**told_costs(row)) for row in page], page_size=page_size, next_cursor=following)


async def get_run(tx: Transaction, run_id: UUID) -> AgentRunTrace:
    """A run with its steps, calls, changes of status and moderations. What spans told stands by when it began, since it
    was recorded in whatever order it came. Raises `NotFound`."""
    READ_RUNS.check(tx.context)
    of = {"workspace_id": tx.workspace_id, "run_id": run_id}
    row = await _queries.get_run(tx.connection, **of)
    if row is None:
        raise NotFound("no such agent run")
    by_time = row["source"] == "spans"
    return AgentRunTrace(
        **told_costs(row),
        steps=[AgentStep(**each) for each in await _queries.list_steps(tx.connection, **of, by_time=by_time)],
        tool_calls=[ToolCall(**each) for each in await _queries.list_calls(tx.connection, **of, by_time=by_time)],
        transitions=[Transition(**each) for each in await _queries.list_transitions(tx.connection, **of)],
        moderations=[AgentModeration(**each) for each in await _queries.list_moderations(tx.connection, **of)],
    )


async def list_waiting_calls(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> ToolCallPage:
    """Calls that wait for a person, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_RUNS.check(tx.context)
    rows = await _queries.list_waiting_calls(
        tx.connection,
        workspace_id=tx.workspace_id,
        before=tx.read_id_cursor("waiting calls", cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("waiting calls", rows, page_size, lambda row: [row["tool_call_id"]])
    return ToolCallPage(data=[ToolCall(**row) for row in page], page_size=page_size, next_cursor=following)


async def list_threads(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> ThreadPage:
    """Threads, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_RUNS.check(tx.context)
    rows = await _queries.list_threads(
        tx.connection,
        workspace_id=tx.workspace_id,
        before=tx.read_id_cursor("agent threads", cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("agent threads", rows, page_size, lambda row: [row["thread_id"]])
    return ThreadPage(data=[Thread(**row) for row in page], page_size=page_size, next_cursor=following)


async def get_thread(tx: Transaction, thread_id: UUID) -> Thread:
    """Raises `NotFound`."""
    READ_RUNS.check(tx.context)
    row = await _queries.get_thread(tx.connection, workspace_id=tx.workspace_id, thread_id=thread_id)
    if row is None:
        raise NotFound("no such thread")
    return Thread(**row)


def told_costs(row: Any) -> dict[str, Any]:
    """A sum of costs is the cost only where nothing is left out of it."""
    told = dict(row)
    known = told.pop("sum_of_costs") or Decimal(0)
    return {**told, "known_cost": known, "cost": None if told["unpriced_steps"] else known}

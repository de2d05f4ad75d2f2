"""What tests do at the ledger: every method is a transaction of its own, as `context`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from datalane.agents.runs import calls, looking, recording
from datalane.agents.runs.calls import RequestedCall
from datalane.agents.runs.schemas import AgentRunTrace, BegunRun, HeldRun, NewRun, NewStep, RunEnd
from datalane.agents.tools.schemas import ToolToPublish
from datalane.agents.tools.service import publish_tool
from datalane.contracts.context import Context, Role
from datalane.db.database import Database

SEARCH, COUNT, CREATE, CALL_OUT, PAY, ERASE = "search", "count", "create_item", "call_out", "pay", "erase"
ANYTHING = {"type": "object"}
TOOLS = (
    ToolToPublish(tool_name=SEARCH, side_effect="read", execution="parallel", description="a", input_schema=ANYTHING),
    ToolToPublish(tool_name=COUNT, side_effect="none", execution="serial", description="a", input_schema=ANYTHING),
    ToolToPublish(
        tool_name=CREATE,
        side_effect="write",
        approval="never",
        execution="parallel",
        description="a",
        input_schema=ANYTHING,
    ),
    ToolToPublish(tool_name=CALL_OUT, side_effect="external", approval="never", description="a", input_schema=ANYTHING),
    ToolToPublish(tool_name=PAY, side_effect="write", approval="always", description="a", input_schema=ANYTHING),
    ToolToPublish(tool_name=ERASE, side_effect="write", required_role="owner", description="a", input_schema=ANYTHING),
)
"""One that runs beside others, one that runs alone, two with effects, one that takes an approval, one for owners."""


@dataclass
class LedgerDesk:
    database: Database
    context: Context

    def acting(self, role: Role) -> LedgerDesk:
        return LedgerDesk(self.database, replace(self.context, role=role))

    async def begin(self, agent: str = "helper", runtime: str | None = "first", **said: Any) -> BegunRun:
        now = said.pop("now", None)
        async with self.database.transaction(self.context) as tx:
            return await recording.begin_run(tx, NewRun(agent=agent, runtime=runtime, **said), now)

    async def hold(self, agent: str = "helper", **said: Any) -> HeldRun:
        """A run that is held by a runtime."""
        begun = await self.begin(agent, **said)
        assert begun.lease_token is not None
        return HeldRun(run_id=begun.run_id, lease_token=begun.lease_token)

    async def take(self, run_id: UUID, runtime: str = "second", now: datetime | None = None) -> HeldRun | None:
        async with self.database.transaction(self.context) as tx:
            return await recording.take_run(tx, run_id, runtime, now=now)

    async def beat(self, *runs: HeldRun, now: datetime | None = None) -> list[UUID]:
        async with self.database.transaction(self.context) as tx:
            return (await recording.extend_runs(tx, runs, timedelta(seconds=60), now)).run_ids

    async def record(self, run: HeldRun, *steps: NewStep) -> list[Any]:
        async with self.database.transaction(self.context) as tx:
            return [step.cost for step in await recording.record_steps(tx, run, steps)]

    async def end(self, run: HeldRun, status: Any = "completed", **said: Any) -> AgentRunTrace:
        now = said.pop("now", None)
        async with self.database.transaction(self.context) as tx:
            ended = await recording.end_run(tx, RunEnd(**run.model_dump(), status=status, **said), now)
            assert ended.status == status
            return await looking.get_run(tx, run.run_id)

    async def publish(self, *tools: ToolToPublish) -> None:
        async with self.database.transaction(replace(self.context, role=Role.ADMIN)) as tx:
            for tool in tools:
                await publish_tool(tx, tool)

    async def ask(self, run: HeldRun, tool: str = SEARCH, arguments: Any = None, **said: Any) -> RequestedCall:
        async with self.database.transaction(self.context) as tx:
            return await calls.request_call(tx, run, tool, arguments or {}, **said)

    async def start(self, run: HeldRun, tool_call_id: UUID) -> int:
        async with self.database.transaction(self.context) as tx:
            return await calls.start_call(tx, run, tool_call_id)

    async def succeed(self, run: HeldRun, tool_call_id: UUID, result: Any = None) -> None:
        async with self.database.transaction(self.context) as tx:
            await calls.succeed_call(tx, run, tool_call_id, result)

    async def fail(self, run: HeldRun, tool_call_id: UUID, retryable: bool = False) -> str:
        async with self.database.transaction(self.context) as tx:
            return await calls.fail_call(tx, run, tool_call_id, "provider_error", "it was down", retryable=retryable)

    async def cancel(self, run: HeldRun, tool_call_id: UUID) -> None:
        async with self.database.transaction(self.context) as tx:
            await calls.cancel_call(tx, run, tool_call_id)

    async def resolve(self, tool_call_id: UUID, approve: bool, reason: str = "seen") -> UUID | None:
        async with self.database.transaction(replace(self.context, role=Role.ADMIN)) as tx:
            return await calls.resolve_call(tx, tool_call_id, approve, reason)

    async def show(self, run_id: UUID) -> AgentRunTrace:
        async with self.database.transaction(self.context) as tx:
            return await looking.get_run(tx, run_id)

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction(self.context) as tx:
            return [tuple(row) for row in await tx.fetch(sql, *args)]


def statuses(run: AgentRunTrace, tool_call_id: UUID | None = None) -> list[str]:
    """The statuses that the run, or one of its calls, went through."""
    return [each.to_status for each in run.transitions if each.tool_call_id == tool_call_id]

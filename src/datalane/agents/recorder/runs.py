"""A run while it goes on: its lease is held by a heartbeat, and its end is told however the block ends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from datalane.agents.budgets.admitting import check_call, is_bounded, register_meters, take_admitted
from datalane.agents.recorder.backlog import Backlog
from datalane.agents.recorder.calling import call_tool
from datalane.agents.recorder.calls import RecordedCall
from datalane.agents.recorder.faults import ApprovalNeeded, BudgetExceeded, ToolBlocked, class_of, message_of
from datalane.agents.recorder.heartbeat import beating
from datalane.agents.recorder.steps import RecordedStep
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs import recording
from datalane.agents.runs.calls import request_call
from datalane.agents.runs.schemas import HeldRun, NewRun, RunEnd, StepKind
from datalane.agents.safety.admitting import begin_judged, read_unjudged_input
from datalane.agents.safety.faults import ContentRefused
from datalane.agents.safety.judging import Judged, Safety
from datalane.agents.safety.moderator import AGENT, About, Moderator, Verdict
from datalane.agents.safety.recording import record_moderation
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters
from datalane.engine.tools import Tools
from datalane.errors import Conflict, DatabaseUnavailable, DatalaneError, LeaseLost
from datalane.kit.contents import Redaction
from datalane.kit.logs import get_logger
from datalane.settings import Limits

Door = Callable[[Context], AbstractAsyncContextManager[Transaction]]
RUNTIME = f"{socket.gethostname()[:150]}:{os.getpid()}"
UNBOUNDED_SECONDS = 5.0
"""For how long a run believes that its workspace has no budget; one that has is asked before every call of a model."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was learned where the run began."""

    limits: Limits
    redaction: Redaction
    is_bounded: bool
    has_schema: bool = True


class Agents:
    """Records the runs of agents. `tools` are what they may call, beside what a `with` block does itself; `meters` are
    asked before they begin and before they call a model, `safety` about what they are given and answer."""

    def __init__(self, door: Door, tools: Toolbox, meters: Meters | None = None, safety: Safety | None = None) -> None:
        self._door = door
        self.tools = tools
        self.meters = _own_meters() if meters is None else meters
        self.safety = Safety() if safety is None else safety

    @asynccontextmanager
    async def run(
        self, context: Context, agent: str, *, lease: timedelta = recording.LEASE, runtime: str = RUNTIME, **said: Any
    ) -> AsyncIterator[RecordedRun]:
        """A run for the time of the block. `said` are the other fields of `NewRun`.

        It completes with the block, and fails with what the block raises, cancellation too; a call that the policy
        blocks ends it as `blocked_policy`, unless the block goes on. Raises as `begin_run`, `Conflict` for a
        `source_run_id` that is known, `BudgetExceeded` when a budget is used up, and `LeaseLost` when the run was lost
        meanwhile. What moderation does not let pass, the input or at the end of the block the output, is not kept: it
        raises `ContentRefused`, or `ModerationUnavailable`.
        """
        new = NewRun(agent=agent, runtime=runtime, lease_seconds=lease.total_seconds(), **said)
        judged = await self.safety.judge("input", new.input, About.of(context, agent=agent))
        async with self._door(context) as tx:
            begun = await begin_judged(tx, self.meters, new, judged)
            has_schema = new.output_schema_version_id is not None
            known = _Known(tx.limits, tx.redaction, await is_bounded(tx, self.meters), has_schema)
        if begun.refused is not None and judged is not None and not judged.passes:
            raise judged.error(begun.run_id)
        if begun.refused is not None:
            raise BudgetExceeded(begun.refused, begun.run_id)
        if begun.lease_token is None:
            raise Conflict("a run with this source_run_id is there already")
        held = HeldRun(run_id=begun.run_id, lease_token=begun.lease_token)
        async with self._holding(context, agent, held, lease, known) as run:
            yield run

    @asynccontextmanager
    async def take(
        self, context: Context, run_id: UUID, agent: str, *, lease: timedelta = recording.LEASE, runtime: str = RUNTIME
    ) -> AsyncIterator[RecordedRun]:
        """A run that was queued, or is to be tried again, for the time of the block. Ends as `run`; raises as
        `take_run`, `Conflict` when it was lost once too often, and `BudgetExceeded`. An input that moderation has not
        judged yet is judged now, as it is kept."""
        async with self._door(context) as tx:
            held = await recording.take_run(tx, run_id, runtime, lease)
            taken = await take_admitted(tx, self.meters, held, run_id)
            is_held = taken.lease_token is not None and self.safety.wants("input")
            given = await read_unjudged_input(tx, run_id) if is_held else None
            known = _Known(tx.limits, tx.redaction, await is_bounded(tx, self.meters))
        if taken.refused is not None:
            raise BudgetExceeded(taken.refused, run_id)
        if held is None:
            raise Conflict("the run was lost once too often, and has failed")
        async with self._holding(context, agent, held, lease, known, given) as run:
            yield run

    @asynccontextmanager
    async def _holding(
        self, context: Context, agent: str, held: HeldRun, lease: timedelta, known: _Known, unjudged: Any = None
    ) -> AsyncIterator[RecordedRun]:
        run = RecordedRun(self, context, agent, held, known)
        try:
            async with beating(run.transaction, held, lease):
                if unjudged is not None:
                    await run.check_input(unjudged)
                yield run
                await run.check_output(run.output)
        except BaseException as error:
            await run.tell_end(error)
            raise
        await run.tell_end(None)

    def moderate_with(self, moderator: Moderator) -> None:
        """Have what agents are given and answer judged, before the lane is opened. Raises `ConfigurationError` for what
        cannot judge, and where another one does already."""
        self.safety.moderate_with(moderator)

    def equip(self, tools: Tools, meters: Meters, safety: Safety) -> None:
        """Give it the tools, the meters and the safety of the lane, which bound from now on what the application has
        bounded, and ask its moderator."""
        meters.take_over(self.meters)
        safety.take_over(self.safety)
        self.tools.built_in, self.meters, self.safety = tools, meters, safety

    def transaction(self, context: Context) -> AbstractAsyncContextManager[Transaction]:
        return self._door(context)


class RecordedRun:
    """A run that goes on. Set `output` before the block ends."""

    def __init__(self, agents: Agents, context: Context, agent: str, held: HeldRun, known: _Known) -> None:
        self.run_id = held.run_id
        self.agent = agent
        self.context = replace(context)
        self.output: Any = None
        self._agents = agents
        self._held = held
        self._backlog = Backlog(self.transaction, held, known.limits, known.redaction)
        self._has_schema = known.has_schema
        self._is_over = False
        self._unbounded_until = -1.0
        self._judged = list[Judged]()
        """To be recorded with the end."""
        if not known.is_bounded:
            self.believe_unbounded()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The tenant door, as whoever asked for the run."""
        return self._agents.transaction(self.context)

    @asynccontextmanager
    async def step(
        self, kind: StepKind, name: str, *, expects_tokens: int = 0, **said: Any
    ) -> AsyncIterator[RecordedStep]:
        """A step for the time of the block; also one that fails is recorded, with what it had used.

        It is written behind the block, before the next call of a tool and before the run ends; `settle` waits for it.
        Before a model is called, the budgets are asked whether they hold, with `expects_tokens` more. Raises
        `BudgetExceeded` before the block, `LimitExceeded` after it for what is too large, and what `settle` raises.
        """
        self._backlog.check()
        if kind == "model":
            await self._admit(expects_tokens, said.get("model_version_id"))
        step = RecordedStep(kind, name, **said)
        try:
            yield step
        except BaseException as error:
            self._backlog.add(step.told(error))
            if self._backlog.waits:
                await self._backlog.settle_rest()
            raise
        self._backlog.add(step.told(None))
        if self._backlog.waits or self._backlog.is_full:
            await self.settle()

    async def settle(self) -> None:
        """Every step that has ended is in the ledger when this returns.

        Raises what stood in the way of one: `LeaseLost`, `DatabaseUnavailable`, or `NotFound` for a version that is not
        there, in which case that step is left and the others are written.
        """
        await self._backlog.settle()

    @asynccontextmanager
    async def tool(
        self, tool_name: str, arguments: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> AsyncIterator[RecordedCall]:
        """A call of a tool for the time of the block, as one attempt: set `call.result`, or leave the effect in
        `call.transaction()`. Where `call.is_replay`, do nothing: it was done.

        Raises `ToolBlocked` before the block where the policy says no, and `ApprovalNeeded` where a person is to say
        yes; the run has ended then.
        """
        call = await self.request(tool_name, arguments, idempotency_key)
        try:
            yield call
            await call.tell_success()
        except BaseException as error:
            await asyncio.shield(call.tell_failure(error, may_retry=False))
            raise

    async def call(self, tool_name: str, arguments: Mapping[str, Any], *, idempotency_key: str | None = None) -> Any:
        """Call a tool of the toolbox: within its time, again when it fails and that may help, then its fallback.

        Answers the result. Raises as `tool`, and what the tool raised last.
        """
        return await call_tool(self, self._agents.tools, tool_name, arguments, idempotency_key)

    async def request(self, tool_name: str, arguments: Mapping[str, Any], idempotency_key: str | None) -> RecordedCall:
        """Ask moderation and the policy for a call, and begin it. Raises as `tool`, and `ModerationUnavailable`."""
        judged = await self._agents.safety.judge("arguments", arguments, self._about(tool_name))
        await self.settle()
        await self._record_judged()
        async with self.transaction() as tx:
            ruled = await request_call(
                tx, self._held, tool_name, arguments, idempotency_key=idempotency_key, judged=judged
            )
        if judged is not None and judged.outcome == "failed":
            raise judged.error(self.run_id)
        if ruled.status == "blocked_policy":
            raise ToolBlocked(
                f"{tool_name} is not called: {ruled.reason} (rule {ruled.rule_id})",
                ruled.error_class or "policy_denied",
                ruled.tool_call_id,
                ruled.rule_id,
                ruled.rule_version,
            )
        if ruled.status == "requested":
            self._is_over = True
            raise ApprovalNeeded(f"{tool_name} waits for a person: {ruled.reason}", ruled.tool_call_id)
        assert ruled.terms is not None
        call = RecordedCall(
            self._held,
            self._agents.transaction,
            self.context,
            ruled.tool_call_id,
            ruled.terms,
            arguments,
            idempotency_key,
            self._agents.safety,
        )
        call.is_replay, call.result = ruled.is_replay, ruled.result
        return call

    def refuse(self, category: str, reason: str | None = None) -> None:
        """Record that the model itself refused to answer. The run goes on, and ends as it does. `reason` says why
        without saying what was asked for. Raises `ValidationError` for a category of more than 100 characters."""
        said = Verdict(outcome="refused", category=category, reason=reason)
        self._judged.append(Judged("output", "refused", AGENT, said.category, said.reason))

    async def check_input(self, given: Any) -> None:
        """Have an input judged that was kept before. Raises as `check_output`."""
        judged = await self._agents.safety.judge("input", given, self._about())
        if judged is None:
            return
        if not judged.passes:
            self._judged.append(judged)
            raise judged.error(self.run_id)
        async with self.transaction() as tx:
            await record_moderation(tx, self._held, judged)

    async def check_output(self, output: Any) -> None:
        """Have an output, or a part of it that goes elsewhere before the run ends, judged. What is decided is recorded
        with the end. Raises `ContentRefused` for what does not pass, and `ModerationUnavailable`."""
        judged = await self._agents.safety.judge("output", output, self._about())
        if judged is None:
            return
        if not self._is_over:
            self._judged.append(judged)
        if not judged.passes:
            await self._take_away()
            raise judged.error(self.run_id)

    async def _take_away(self) -> None:
        """What was refused leaves the ledger at once, where steps and calls may have written it, or with the end."""
        if self._is_over:
            return
        try:
            await self._backlog.settle_rest()
            await self._record_judged()
        except DatalaneError as error:
            log.warning("agent_moderation_waits", run_id=str(self.run_id), error=str(error))

    async def _record_judged(self) -> None:
        """Before a call that may end the run: what was judged is on record however it ends."""
        if self._judged:
            async with self._opened_for_end() as tx:
                await self._record_judged_in(tx)
            self._judged.clear()

    def _about(self, tool_name: str | None = None) -> About:
        return About.of(self.context, run_id=self.run_id, agent=self.agent, tool_name=tool_name)

    async def tell_end(self, error: BaseException | None) -> None:
        """How the run ended. What stands in the way of telling it hides no error of the agent's."""
        if self._is_over:
            return
        self._is_over = True
        telling = self._tell_end(error)
        try:
            await (telling if self._backlog.waits else asyncio.shield(telling))
        except Exception as untold:
            if error is None:
                raise
            log.warning("agent_run_end_untold", run_id=str(self.run_id), error=str(untold))

    async def _tell_end(self, error: BaseException | None) -> None:
        try:
            await self._backlog.close_with(lambda tx: self._end_in(tx, error), self._opened_for_end())
            return
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as refused:  # of a step, or of the output
            fault = refused
        await self._backlog.settle_rest()
        self.output = None
        async with self._opened_for_end() as tx:
            await self._end_in(tx, error or fault)
        raise fault

    async def _end_in(self, tx: Transaction, error: BaseException | None) -> None:
        await self._record_judged_in(tx)
        await recording.end_run(tx, self._end(error), has_schema=self._has_schema)

    async def _record_judged_in(self, tx: Transaction) -> None:
        for judged in self._judged:
            await record_moderation(tx, self._held, judged, self._agents.safety.citations)

    def _opened_for_end(self) -> AbstractAsyncContextManager[Transaction]:
        naming = next((each for each in self._judged if each.citation_ids), None)
        return self._agents.transaction(self.context if naming is None else naming.recording(self.context))

    def _end(self, error: BaseException | None) -> RunEnd:
        """The output of a block that failed was judged by nobody, so with moderation it is not kept."""
        held = self._held.model_dump()
        if error is None:
            return RunEnd(**held, output=self.output)
        return RunEnd(
            **held,
            status="blocked_policy" if isinstance(error, ToolBlocked | BudgetExceeded | ContentRefused) else "failed",
            output=None if self._agents.safety.wants("output") else self.output,
            error_class=class_of(error),
            error_message=message_of(error),
        )

    def believe_unbounded(self) -> None:
        """No meter needs to be asked for a while."""
        self._unbounded_until = asyncio.get_running_loop().time() + UNBOUNDED_SECONDS

    async def _admit(self, expects_tokens: int, model_version_id: UUID | None) -> None:
        if asyncio.get_running_loop().time() < self._unbounded_until:
            return
        await self.settle()
        async with self.transaction() as tx:
            refusal = await check_call(tx, self._agents.meters, self._held, expects_tokens, model_version_id)
            if refusal is None and not await is_bounded(tx, self._agents.meters):
                self.believe_unbounded()
        if refusal is not None:
            raise BudgetExceeded(refusal.reason, self.run_id)


def _own_meters() -> Meters:
    meters = Meters()
    register_meters(meters)
    return meters

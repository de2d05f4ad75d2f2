"""Routes of threads, runs and calls of tools."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.agents.permissions import DECIDE_CALLS, READ_RUNS, RECORD_RUNS
from datalane.agents.runs import calls, looking, recording
from datalane.agents.runs.looking import RunFilter
from datalane.agents.runs.schemas import (
    AgentRunPage,
    AgentRunTrace,
    BegunRun,
    CallStanding,
    CallToFail,
    CallToRequest,
    CallToResolve,
    CallToSucceed,
    DecidedCall,
    EndedRun,
    Extended,
    Heartbeat,
    HeldCall,
    NewRun,
    NewThread,
    OpenedThread,
    RecordedSteps,
    ResolvedCall,
    RunEnd,
    RunStatus,
    RunToTake,
    StartedCall,
    StepsToRecord,
    TakenRun,
    Thread,
    ThreadPage,
    ToolCallPage,
)
from datalane.agents.safety import doors
from datalane.agents.safety.doors import Given, opened, opener
from datalane.agents.safety.judging import Safety
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]
PageSize = Annotated[int, Query(ge=1, le=100)]


def add_run_routes(routes: APIRouter, door: Door, meters: Meters, safety: Safety) -> None:
    _add_commands(routes, door, meters, safety)
    _add_reads(routes, door)
    _add_thread_routes(routes, door)
    _add_call_routes(routes, door)
    _add_calling(routes, door, safety)


def _add_commands(routes: APIRouter, door: Door, meters: Meters, safety: Safety) -> None:
    @routes.post("/runs/begin", status_code=201)
    async def begin(body: NewRun, given: Given = opener(door, safety)) -> BegunRun:
        """Begin a run under a lease, or queue it when no runtime is named. It is blocked when a budget is used up, or
        moderation does not let its input pass."""
        return await doors.begin(given, meters, safety, body)

    @routes.post("/runs/take")
    async def take(body: RunToTake, given: Given = opener(door, safety)) -> TakenRun:
        """Take up a run that is queued or retrying, or whose lease has run out. `lease_token` is null when it was lost
        once too often, and has failed now, a budget is used up, or moderation does not let its input pass."""
        return await doors.take(door, given, meters, safety, body)

    @routes.post("/runs/heartbeat")
    async def heartbeat(body: Heartbeat, tx: Transaction = door.writer(RECORD_RUNS)) -> Extended:
        """Hold runs for another lease; what is not in the answer is lost or over."""
        return await recording.extend_runs(tx, body.runs, recording.lease_of(body.lease_seconds))

    @routes.post("/runs/record-steps")
    async def record(body: StepsToRecord, tx: Transaction = door.writer(RECORD_RUNS)) -> RecordedSteps:
        """Record steps that are over, with what they used; their costs are computed now and never change."""
        return RecordedSteps(steps=await recording.record_steps(tx, body, body.steps))

    @routes.post("/runs/end")
    async def end(body: RunEnd, given: Given = opener(door, safety)) -> EndedRun:
        """End a run; calls of tools that are open end with it. An output that moderation does not let pass is not kept,
        and the run ends as `blocked_policy`."""
        return await doors.end(door, given, safety, body)


def _add_reads(routes: APIRouter, door: Door) -> None:
    @routes.get("/runs/list")
    async def list_runs(
        thread_id: UUID | None = None,
        parent_run_id: UUID | None = None,
        agent: Asked = None,
        status: RunStatus | None = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_RUNS),
    ) -> AgentRunPage:
        """Runs, the newest first."""
        asked = RunFilter(thread_id, parent_run_id, agent, status)
        return await looking.list_runs(tx, asked, cursor, page_size)

    @routes.get("/runs/{run_id}")
    async def get_run(run_id: UUID, tx: Transaction = door.reader(READ_RUNS)) -> AgentRunTrace:
        """A run with its steps, its calls of tools and its changes of status."""
        return await looking.get_run(tx, run_id)


def _add_thread_routes(routes: APIRouter, door: Door) -> None:
    @routes.post("/threads/open")
    async def open_thread(body: NewThread, tx: Transaction = door.writer(RECORD_RUNS)) -> OpenedThread:
        """The thread with this external id, made when it is new."""
        return await recording.open_thread(tx, body)

    @routes.get("/threads/list")
    async def list_threads(
        cursor: str | None = None, page_size: PageSize = 25, tx: Transaction = door.reader(READ_RUNS)
    ) -> ThreadPage:
        """Threads, the newest first."""
        return await looking.list_threads(tx, cursor, page_size)

    @routes.get("/threads/{thread_id}")
    async def get_thread(thread_id: UUID, tx: Transaction = door.reader(READ_RUNS)) -> Thread:
        """One thread; its runs are those of the list with its id."""
        return await looking.get_thread(tx, thread_id)


def _add_call_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/tool-calls/waiting")
    async def waiting(
        cursor: str | None = None, page_size: PageSize = 25, tx: Transaction = door.reader(READ_RUNS)
    ) -> ToolCallPage:
        """Calls that wait for a person, the newest first."""
        return await looking.list_waiting_calls(tx, cursor, page_size)

    @routes.post("/tool-calls/resolve")
    async def resolve(body: CallToResolve, tx: Transaction = door.writer(DECIDE_CALLS)) -> ResolvedCall:
        """Approve a call that waits for a person, or do not; an approved one goes on in a run of its own."""
        following = await calls.resolve_call(tx, body.tool_call_id, body.approve, body.reason)
        return ResolvedCall(tool_call_id=body.tool_call_id, approved=body.approve, following_run_id=following)


def _add_calling(routes: APIRouter, door: Door, safety: Safety) -> None:
    @routes.post("/tool-calls/request", status_code=201)
    async def request(body: CallToRequest, given: Given = opener(door, safety)) -> DecidedCall:
        """Ask for a call of a tool: the policy decides, and the decision is recorded, before anything is done."""
        judged = await doors.judge_arguments(given.context, safety, body)
        key, execute = body.idempotency_key, body.execute
        decided = await calls.request_call(
            await opened(given),
            body,
            body.tool_name,
            body.arguments,
            idempotency_key=key,
            execute=execute,
            judged=judged,
        )
        return DecidedCall(**{name: getattr(decided, name) for name in DecidedCall.model_fields})

    @routes.post("/tool-calls/start")
    async def start(body: HeldCall, tx: Transaction = door.writer(RECORD_RUNS)) -> StartedCall:
        """Begin a call that was authorized, or one that is to be tried again."""
        attempt = await calls.start_call(tx, body, body.tool_call_id)
        return StartedCall(tool_call_id=body.tool_call_id, attempt_count=attempt)

    @routes.post("/tool-calls/succeed")
    async def succeed(body: CallToSucceed, given: Given = opener(door, safety)) -> CallStanding:
        """A call did what it was to do. A result that moderation does not let pass is not kept."""
        judged = await doors.judge_result(given.context, safety, body)
        await calls.succeed_call(await opened(given), body, body.tool_call_id, body.result, judged=judged)
        refused = None if judged is None or judged.passes else judged.message
        return CallStanding(tool_call_id=body.tool_call_id, status="succeeded", refused=refused)

    @routes.post("/tool-calls/fail")
    async def fail(body: CallToFail, tx: Transaction = door.writer(RECORD_RUNS)) -> CallStanding:
        """An attempt failed; the answer says whether another one is to be made."""
        status = await calls.fail_call(
            tx, body, body.tool_call_id, body.error_class, body.error_message, retryable=body.retryable
        )
        return CallStanding(tool_call_id=body.tool_call_id, status=status)

    @routes.post("/tool-calls/cancel")
    async def cancel(body: HeldCall, tx: Transaction = door.writer(RECORD_RUNS)) -> CallStanding:
        """Leave a call that was authorized and has not begun."""
        await calls.cancel_call(tx, body, body.tool_call_id)
        return CallStanding(tool_call_id=body.tool_call_id, status="canceled")

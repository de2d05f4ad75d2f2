"""Evaluating an agent: each case of a dataset is a run of the ledger, whose output the graders grade.

What an agent raises makes a failed case, what a grader raises an invalid one. What ends the evaluation itself, such as
its cancellation or a database that does not answer, ends it after the cases that were attempted by then are kept: those
under way were not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from datalane.agents.evaluations.adding_up import check_graders
from datalane.agents.evaluations.datasets import find_dataset, read_cases
from datalane.agents.evaluations.graders import Attempt, Grader, Ungradable
from datalane.agents.evaluations.schemas import (
    COVERAGE,
    AgentEvaluation,
    DatasetCase,
    GraderSaid,
    NewCaseResult,
    NewEvaluation,
)
from datalane.agents.evaluations.service import check_versions, record_evaluation
from datalane.agents.permissions import READ_EVALUATIONS, RECORD_EVALUATIONS, RECORD_RUNS
from datalane.agents.recorder import AgentFault, Agents, ApprovalNeeded, RecordedRun
from datalane.agents.recorder.faults import class_of, message_of
from datalane.agents.runs.recording import DEPTH
from datalane.agents.runs.schemas import ErrorClass
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.errors import DatabaseUnavailable, DatalaneError, LeaseLost
from datalane.kit.jsonlimits import encode_within
from datalane.kit.logs import get_logger

AT_ONCE: Final = 4
_READ_CASES = 50
"""Cases that are read at a time: they may be large."""

Answer = Callable[[RecordedRun, DatasetCase], Awaitable[Any]]
"""Runs the agent on a case. What it returns, or leaves in `run.output`, is the output."""
Progress = Callable[[int, int], None]
"""Cases that are through, and all of them."""

Kept = TypeVar("Kept")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated and how. `thresholds` are the least means by the names of scores."""

    dataset_version_id: UUID
    agent: str
    graders: Sequence[Grader]
    prompt_version_id: UUID | None = None
    model_version_id: UUID | None = None
    output_schema_version_id: UUID | None = None
    coverage_threshold: float = COVERAGE
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, UUID | None]:
        names = ("prompt_version_id", "model_version_id", "output_schema_version_id")
        return {name: getattr(self, name) for name in names}


async def evaluate(
    agents: Agents,
    context: Context,
    plan: Plan,
    answer: Answer,
    *,
    at_once: int = AT_ONCE,
    progress: Progress | None = None,
) -> AgentEvaluation:
    """Run the agent on every case, at most `at_once` at a time, and keep what that was worth.

    Raises before anything is run as `record_evaluation` and `Agents.run`. Cancelled, or without its database, it keeps
    what was attempted, if anything was, and raises.
    """
    said = [grader.said for grader in plan.graders]
    async with agents.transaction(context) as tx:
        cases, most = await _prepare(tx, plan, said)
    going = _Evaluating(agents, context, plan, answer, cases, most, progress)
    try:
        await going.attempt_all(max(1, at_once))
    except BaseException as stopped:
        await _through(_keep_attempted(going, said, stopped))
        raise
    return await _through(_keep(going, said))


async def _prepare(tx: Transaction, plan: Plan, said: Sequence[GraderSaid]) -> tuple[int, int]:
    """How many cases there are, and the most bytes of an output. Raises as `evaluate`."""
    for permission in (RECORD_RUNS, RECORD_EVALUATIONS, READ_EVALUATIONS):
        permission.check(tx.context)
    check_graders(_new(plan, said, [NewCaseResult(case_id="any", outcome="invalid", reason="none")]))
    dataset = await find_dataset(tx, plan.dataset_version_id)
    await check_versions(tx, plan)
    return dataset.cases, tx.limits.artifact


@dataclass(slots=True)
class _Evaluating:
    agents: Agents
    context: Context
    plan: Plan
    answer: Answer
    cases: int
    most_bytes: int
    progress: Progress | None
    results: list[NewCaseResult] = field(default_factory=list)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.agents.transaction(self.context)

    async def attempt_all(self, at_once: int) -> None:
        waiting, taking = self._read(), asyncio.Lock()

        async def work() -> None:
            while True:
                async with taking:
                    case = await anext(waiting, None)
                if case is None:
                    return
                self.results.append(await self._attempt(case))
                if self.progress is not None:
                    self.progress(len(self.results), self.cases)

        workers = [asyncio.create_task(work()) for _ in range(min(at_once, self.cases))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _read(self) -> AsyncIterator[DatasetCase]:
        behind = 0
        while True:
            async with self.transaction() as tx:
                some = await read_cases(tx, self.plan.dataset_version_id, behind, _READ_CASES)
            if not some:
                return
            for behind, case in some:  # noqa: B007 - it is where the next ones begin
                yield case

    async def _attempt(self, case: DatasetCase) -> NewCaseResult:
        run: RecordedRun | None = None
        said = {"input": case.input, "max_attempts": 1, **self.plan.versions}
        try:
            async with self.agents.run(self.context, self.plan.agent, **said) as run:
                returned = await self.answer(run, case)
                given = run.output if returned is None else returned
                run.output = None  # what cannot be kept would keep the run from ending
                output = await asyncio.to_thread(_as_json, given, self.most_bytes)
                run.output = output
        except DatabaseUnavailable:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            return NewCaseResult(
                case_id=case.case_id,
                outcome="failed",
                run_id=_run_of(run, error),
                error_class=_class_of(error),
                reason=_told(error),
            )
        return await self._grade(Attempt(case, output, run.run_id, self.transaction))

    async def _grade(self, attempt: Attempt) -> NewCaseResult:
        scores: dict[str, float] = {}
        case_id, run_id = attempt.case.case_id, attempt.run_id
        for grader in self.plan.graders:
            try:
                scores |= checked_scores(grader.said, await grader.grade(attempt))
            except DatabaseUnavailable:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if _is_cancelled(error):
                    raise
                reason = f"{grader.said.name}: {_told(error)}"[:2_000]
                return NewCaseResult(case_id=case_id, run_id=run_id, outcome="invalid", reason=reason)
        return NewCaseResult(case_id=case_id, run_id=run_id, outcome="graded", scores=scores)


def checked_scores(said: GraderSaid, given: Mapping[str, float]) -> dict[str, float]:
    """Raises `Ungradable` for what are not all of the scores of the grader, each a number from 0 to 1."""
    if not isinstance(given, Mapping) or given.keys() != {*said.scores}:
        raise Ungradable(f"it did not give the scores {', '.join(said.scores)} and no others")
    for name, value in given.items():
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
            raise Ungradable(f"its score {name} is {str(value)[:100]}, and no number from 0 to 1")
    return {name: float(value) for name, value in given.items()}


async def _keep_attempted(going: _Evaluating, said: Sequence[GraderSaid], stopped: BaseException) -> None:
    """What stands in the way of it hides nothing of what stopped the evaluation."""
    if not going.results:
        return
    try:
        kept = await _keep(going, said)
    except DatalaneError as error:
        log.warning("agent_evaluation_not_kept", attempted=len(going.results), error=str(error))
        return
    log.warning(
        "agent_evaluation_stopped",
        evaluation_id=str(kept.evaluation_id),
        attempted=kept.attempted,
        cases=kept.cases,
        error=message_of(stopped),
    )


async def _through(keeping: Coroutine[Any, Any, Kept]) -> Kept:
    """Whoever cancels it meanwhile waits: all that was run for would be lost."""
    task = asyncio.create_task(keeping)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("agent_evaluation_not_kept", error=message_of(error))
        raise


async def _keep(going: _Evaluating, said: Sequence[GraderSaid]) -> AgentEvaluation:
    async with going.transaction() as tx:
        return await record_evaluation(tx, _new(going.plan, said, going.results))


def _new(plan: Plan, said: Sequence[GraderSaid], results: list[NewCaseResult]) -> NewEvaluation:
    return NewEvaluation(
        dataset_version_id=plan.dataset_version_id,
        agent=plan.agent,
        **plan.versions,
        graders=list(said),
        coverage_threshold=plan.coverage_threshold,
        thresholds=dict(plan.thresholds),
        results=results,
    )


def _as_json(given: Any, most: int) -> Any:
    """The output as it is kept and graded. Raises `LimitExceeded` and `InvalidInput`, and `AgentFault` for none."""
    if given is None:
        raise AgentFault("validation_error", "the agent gave no output")
    return orjson.loads(encode_within(given, "the output", most, DEPTH))


def _is_cancelled(error: BaseException) -> bool:
    """Whether the evaluation is, and not something inside that cancelled itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _run_of(run: RecordedRun | None, error: BaseException) -> UUID | None:
    """A run that a budget stopped has ended before its block began."""
    return run.run_id if run is not None else getattr(error, "run_id", None)


def _class_of(error: BaseException) -> ErrorClass:
    """As the ledger has it: a run that was lost is swept as one that took too long, and one that waits for a person has
    met the policy."""
    if isinstance(error, LeaseLost):
        return "timeout"
    return "policy_denied" if isinstance(error, ApprovalNeeded) else class_of(error)


def _told(error: BaseException) -> str:
    text = str(error) if isinstance(error, Ungradable) else message_of(error)
    return text.replace("\x00", " ").encode(errors="replace").decode()[:2_000] or type(error).__name__

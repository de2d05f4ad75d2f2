"""Keeping evaluations: what became of the cases is added up, and a score is told or refused, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.agents.evaluations.adding_up import add_up, check_graders, check_results
from datalane.agents.evaluations.datasets import find_dataset, read_case_ids
from datalane.agents.evaluations.schemas import (
    AgentEvaluation,
    AgentEvaluationPage,
    AgentEvaluationResults,
    CaseResult,
    NewCaseResult,
    NewEvaluation,
)
from datalane.agents.permissions import READ_EVALUATIONS, RECORD_EVALUATIONS
from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What a case was worth and has used, in the evaluation and in the baseline."""
_NOT_STORED = frozenset({"dataset", "dataset_version", "coverage", "cost", "created_at", "graders", "scores"})
"""What is derived, or is stored in another form."""

_queries = load_queries(__file__)


async def record_evaluation(tx: Transaction, new: NewEvaluation, now: datetime | None = None) -> AgentEvaluation:
    """Keep an evaluation with its results, whole or not at all; it never changes afterwards.

    Raises `NotFound` for a dataset, a version or a run that is not there, `InvalidInput` for a case that is none of the
    dataset's or stands in it twice, for a run that does, for scores that are not those of the graders, and for a
    threshold of no score.
    """
    RECORD_EVALUATIONS.check(tx.context)
    tx = tx.following()
    check_graders(new)
    await check_versions(tx, new)
    dataset = await find_dataset(tx, new.dataset_version_id)
    places = await read_case_ids(tx, new.dataset_version_id)
    check_results(new, places)
    results = await _with_usage(tx, sorted(new.results, key=lambda result: places[result.case_id]))
    sums = await asyncio.to_thread(add_up, new, results, dataset.cases)
    evaluation = AgentEvaluation(
        evaluation_id=uuid7(),
        dataset=dataset.name,
        dataset_version=dataset.version,
        **new.model_dump(exclude={"results"}),
        **asdict(sums),
        coverage=sums.graded / sums.cases,
        cost=None if sums.unpriced else sums.known_cost,
        created_at=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    await _write(tx, evaluation)
    await _write_results(tx, evaluation, results)
    said = {"agent": new.agent, "dataset_version_id": new.dataset_version_id, "passed": evaluation.passed}
    said |= {"graded": evaluation.graded, "cases": evaluation.cases}
    await record(tx, "agent_evaluation.recorded", "agent_evaluation", evaluation.evaluation_id, after=said)
    return evaluation


async def check_versions(tx: Transaction, named: Any) -> None:
    """That versions which are named are the workspace's. Raises `NotFound`."""
    missing = await _queries.find_missing(
        tx.connection,
        workspace_id=tx.workspace_id,
        prompt_version_id=named.prompt_version_id,
        model_version_id=named.model_version_id,
        output_schema_version_id=named.output_schema_version_id,
    )
    if missing:
        raise NotFound(f"no such version of {missing[0]['missing']}")


async def list_evaluations(
    tx: Transaction,
    dataset_version_id: UUID | None = None,
    agent: str | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> AgentEvaluationPage:
    """Evaluations, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_EVALUATIONS.check(tx.context)
    listing = f"agent evaluations:{[str(dataset_version_id), agent]}"
    rows = await _queries.list_evaluations(
        tx.connection,
        workspace_id=tx.workspace_id,
        dataset_version_id=dataset_version_id,
        agent=agent,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["evaluation_id"]])
    return AgentEvaluationPage(data=[_evaluation(row) for row in page], page_size=page_size, next_cursor=following)


async def get_evaluation(
    tx: Transaction, evaluation_id: UUID, cursor: str | None = None, page_size: int = 25
) -> AgentEvaluationResults:
    """One with a page of its results. Raises `NotFound`, `InvalidInput` for a cursor that is not this list's."""
    READ_EVALUATIONS.check(tx.context)
    listing = f"agent evaluation:{evaluation_id}"
    place = tx.read_cursor(listing, cursor)
    evaluation = await _read(tx, evaluation_id)
    rows = await _queries.list_results(
        tx.connection,
        workspace_id=tx.workspace_id,
        evaluation_id=evaluation_id,
        behind=place[0] if place else 0,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["ordinal"]])
    data = [CaseResult(**{name: row[name] for name in CaseResult.model_fields}) for row in page]
    return AgentEvaluationResults(evaluation=evaluation, data=data, page_size=page_size, next_cursor=following)


async def last_evaluation(tx: Transaction, dataset_version_id: UUID, agent: str) -> UUID | None:
    """The newest one of a dataset and an agent that has scores."""
    READ_EVALUATIONS.check(tx.context)
    found: UUID | None = await _queries.get_last_evaluation(
        tx.connection, workspace_id=tx.workspace_id, dataset_version_id=dataset_version_id, agent=agent
    )
    return found


async def read_compared(
    tx: Transaction, evaluation_id: UUID, baseline_id: UUID
) -> tuple[AgentEvaluation, AgentEvaluation, list[Pair]]:
    """Two evaluations and the cases that both graded. Raises `NotFound`, and `InvalidInput` where they are of two
    datasets or one of them has no scores."""
    READ_EVALUATIONS.check(tx.context)
    evaluation, baseline = await _read(tx, evaluation_id), await _read(tx, baseline_id)
    if evaluation.dataset_version_id != baseline.dataset_version_id:
        raise InvalidInput("the two evaluations are of different datasets, so that no case stands for itself")
    for each in (evaluation, baseline):
        if each.refusal is not None:
            raise InvalidInput(f"evaluation {each.evaluation_id} has no scores to compare: {each.refusal}")
    ours, theirs = [await _read_graded(tx, each) for each in (evaluation_id, baseline_id)]
    return evaluation, baseline, [(row, theirs[case_id]) for case_id, row in ours.items() if case_id in theirs]


async def _read_graded(tx: Transaction, evaluation_id: UUID) -> dict[str, Mapping[str, Any]]:
    """By the ids of the cases, in their order."""
    rows = await _queries.list_graded(tx.connection, workspace_id=tx.workspace_id, evaluation_id=evaluation_id)
    return {row["case_id"]: row for row in rows}


async def _with_usage(tx: Transaction, results: Sequence[NewCaseResult]) -> list[NewCaseResult]:
    """Results with what the ledger knows of their runs, and without what looks like a credential in their reasons."""
    named = [result.run_id for result in results if result.run_id is not None]
    used: dict[UUID, dict[str, Any]] = {}
    if named:
        rows = await _queries.list_usage(tx.connection, workspace_id=tx.workspace_id, run_ids=named)
        used = {row["run_id"]: {**row} for row in rows}
    if len(used) < len(named):
        raise NotFound("no such agent run")
    return [
        result.model_copy(
            update={
                **({} if result.run_id is None else used[result.run_id]),
                "reason": None if result.reason is None else tx.redaction.text(result.reason)[:2_000],
            }
        )
        for result in results
    ]


async def _write(tx: Transaction, evaluation: AgentEvaluation) -> None:
    scores = evaluation.scores
    told = {name: getattr(evaluation, name) for name in AgentEvaluation.model_fields if name not in _NOT_STORED}
    await _queries.add_evaluation(
        tx.connection,
        workspace_id=tx.workspace_id,
        **told,
        graders=[grader.model_dump() for grader in evaluation.graders],
        scores=None if scores is None else {name: score.model_dump() for name, score in scores.items()},
        now=evaluation.created_at,
    )


async def _write_results(tx: Transaction, evaluation: AgentEvaluation, results: Sequence[NewCaseResult]) -> None:
    await _queries.add_results(
        tx.connection,
        workspace_id=tx.workspace_id,
        evaluation_id=evaluation.evaluation_id,
        attempted=evaluation.attempted,
        case_ids=[result.case_id for result in results],
        run_ids=[result.run_id for result in results],
        outcomes=[result.outcome for result in results],
        scores=[None if result.scores is None else encode_json(result.scores) for result in results],
        error_classes=[result.error_class for result in results],
        reasons=[result.reason for result in results],
        costs=[result.cost for result in results],
        currencies=[result.currency for result in results],
        input_tokens=[result.input_tokens for result in results],
        output_tokens=[result.output_tokens for result in results],
        seconds=[result.seconds for result in results],
    )


async def _read(tx: Transaction, evaluation_id: UUID) -> AgentEvaluation:
    row = await _queries.get_evaluation(tx.connection, workspace_id=tx.workspace_id, evaluation_id=evaluation_id)
    if row is None:
        raise NotFound("no such evaluation")
    return _evaluation(row)


def _evaluation(row: Any) -> AgentEvaluation:
    return AgentEvaluation(**row, cost=None if row["unpriced"] else row["known_cost"])

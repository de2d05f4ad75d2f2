"""Keeping runs of judged queries, and comparing two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.contracts.measured import Measured
from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.measuring import MEASURES, Interval, difference_of, mean_of, ratio_of, verdict_of
from datalane.knowledge.evaluation.schemas import (
    Comparison,
    EvaluationRun,
    MeasureChange,
    NewRun,
    QueryResult,
    RunDetails,
    RunList,
)
from datalane.knowledge.methods import Method
from datalane.knowledge.permissions import READ_EVALUATIONS, RECORD_EVALUATIONS

MOST_SHOWN = 1_000
MOST_CHANGED = 10
_FIRST = MEASURES[0]

_queries = load_queries(__file__)


async def record_run(tx: Transaction, new: NewRun, now: datetime | None = None) -> EvaluationRun:
    """Keep a run with its queries. Raises `InvalidInput` for a query that stands in it twice."""
    RECORD_EVALUATIONS.check(tx.context)
    ids = [result.query_id for result in new.results]
    if len(set(ids)) < len(ids):
        raise InvalidInput("a query stands in the run twice")
    measures = {
        name: _measured(mean_of([result.measures.get(name, 0.0) for result in new.results])) for name in MEASURES
    }
    run = EvaluationRun(
        run_id=uuid7(),
        **new.model_dump(exclude={"results"}),
        queries=len(ids),
        measures=measures,
        created_at=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    await _queries.add_run(
        tx.connection,
        workspace_id=tx.workspace_id,
        run_id=run.run_id,
        dataset=run.dataset,
        dataset_sha256=bytes.fromhex(run.dataset_sha256),
        method=run.method.value,
        keyword_weight=run.keyword_weight,
        versions=run.versions,
        queries=run.queries,
        measures={name: one.model_dump() for name, one in measures.items()},
        p95_ms=run.p95_ms,
        now=run.created_at,
        actor_id=run.actor_id,
    )
    await _queries.add_results(
        tx.connection,
        workspace_id=tx.workspace_id,
        run_id=run.run_id,
        query_ids=ids,
        measures=[encode_json(result.measures) for result in new.results],
        found=[encode_json(result.found) for result in new.results],
    )
    return run


async def list_runs(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> RunList:
    """Runs, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_EVALUATIONS.check(tx.context)
    before = tx.read_id_cursor("evaluations", cursor)
    rows = await _queries.list_runs(tx.connection, workspace_id=tx.workspace_id, before=before, page_size=page_size + 1)
    page, following = tx.cut_page("evaluations", rows, page_size, lambda row: [row["run_id"]])
    return RunList(data=[_run(row) for row in page], page_size=page_size, next_cursor=following)


async def get_run(tx: Transaction, run_id: UUID) -> RunDetails:
    """Raises `NotFound`."""
    READ_EVALUATIONS.check(tx.context)
    run, results = await _read(tx, run_id)
    worst = sorted(results.values(), key=lambda result: (result.measures.get(_FIRST, 0.0), result.query_id))
    return RunDetails(run=run, results=worst[:MOST_SHOWN])


async def last_run(tx: Transaction, dataset_sha256: str, method: Method) -> UUID | None:
    """The newest run of a dataset by a method."""
    READ_EVALUATIONS.check(tx.context)
    found: UUID | None = await _queries.get_last_run(
        tx.connection,
        workspace_id=tx.workspace_id,
        dataset_sha256=bytes.fromhex(dataset_sha256),
        method=method.value,
    )
    return found


async def compare_runs(tx: Transaction, run_id: UUID, baseline_id: UUID) -> Comparison:
    """What is better and what is worse than in the baseline, query by query.

    Raises `NotFound`, and `InvalidInput` for runs of two datasets.
    """
    READ_EVALUATIONS.check(tx.context)
    run, ours = await _read(tx, run_id)
    baseline, theirs = await _read(tx, baseline_id)
    if run.dataset_sha256 != baseline.dataset_sha256 or ours.keys() != theirs.keys():
        raise InvalidInput("the two runs are of different datasets, so that no query stands for itself")
    ids = sorted(ours)
    changes = await asyncio.to_thread(_changes, ids, ours, theirs)
    return Comparison(
        run_id=run_id,
        baseline_id=baseline_id,
        measures=changes,
        changed_versions={
            part: (baseline.versions.get(part), run.versions.get(part))
            for part in sorted({*baseline.versions, *run.versions})
            if baseline.versions.get(part) != run.versions.get(part)
        },
        most_changed=_most_changed(ids, ours, theirs),
    )


async def versions_of(tx: Transaction) -> dict[str, str]:
    """What made the chunks that are searched, by part."""
    rows = await _queries.list_chunkers(tx.connection, workspace_id=tx.workspace_id)
    parts = {"chunker": "chunker_version", "parser": "parser_version", "search_language": "search_language"}
    return {part: ", ".join(sorted({str(row[column]) for row in rows})) for part, column in parts.items()}


async def _read(tx: Transaction, run_id: UUID) -> tuple[EvaluationRun, dict[str, QueryResult]]:
    row = await _queries.get_run(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    if row is None:
        raise NotFound("no such run")
    rows = await _queries.list_results(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    return _run(row), {each["query_id"]: QueryResult(**each) for each in rows}


def _changes(
    ids: Sequence[str], ours: Mapping[str, QueryResult], theirs: Mapping[str, QueryResult]
) -> dict[str, MeasureChange]:
    return {
        name: _change(
            [ours[key].measures.get(name, 0.0) for key in ids], [theirs[key].measures.get(name, 0.0) for key in ids]
        )
        for name in MEASURES
    }


def _change(ours: Sequence[float], theirs: Sequence[float]) -> MeasureChange:
    ratio, difference = ratio_of(ours, theirs), difference_of(ours, theirs)
    pairs = list(zip(ours, theirs, strict=True))
    return MeasureChange(
        baseline=sum(theirs) / len(theirs),
        value=sum(ours) / len(ours),
        difference=_measured(difference),
        ratio=None if ratio is None else _measured(ratio),
        verdict=verdict_of(difference, len(ours), "queries"),
        better=sum(1 for mine, other in pairs if mine > other),
        worse=sum(1 for mine, other in pairs if mine < other),
        equal=sum(1 for mine, other in pairs if mine == other),
    )


def _most_changed(ids: Sequence[str], ours: Mapping[str, QueryResult], theirs: Mapping[str, QueryResult]) -> list[str]:
    def change(key: str) -> float:
        return abs(ours[key].measures.get(_FIRST, 0.0) - theirs[key].measures.get(_FIRST, 0.0))

    return [key for key in sorted(ids, key=lambda key: (-change(key), key)) if change(key)][:MOST_CHANGED]


def _run(row: Any) -> EvaluationRun:
    return EvaluationRun(**{**row, "dataset_sha256": bytes(row["dataset_sha256"]).hex()})


def _measured(interval: Interval) -> Measured:
    return Measured(**asdict(interval))

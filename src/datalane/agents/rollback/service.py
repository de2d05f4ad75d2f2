"""From a version, a price or a tool to every run that it has touched, and to what was measured of those.

A run is touched when it names what is asked about, or one of its steps or calls does. Runs around it and inside it are
not, unless they do so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from datalane.agents.evaluations.comparing import same_scores
from datalane.agents.permissions import READ_EVALUATIONS, READ_RUNS
from datalane.agents.rollback.schemas import (
    RollbackReport,
    RollbackRun,
    RollbackSummary,
    RunsByConformance,
    Suspect,
    TouchedEvaluation,
)
from datalane.agents.runs.looking import told_costs
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, NotFound

MOST_EVALUATIONS = 100
_BEYOND = UUID(int=2**128 - 1)
_queries = load_queries(__file__)


async def report_rollback(
    tx: Transaction, suspect: Suspect, cursor: str | None = None, page_size: int = 25
) -> RollbackReport:
    """A page of runs, the newest first, and on the first page the summary of all and the evaluations.

    Raises `InvalidInput` unless one thing is asked about, and for a cursor that is not this list's; `NotFound`.
    """
    READ_RUNS.check(tx.context)
    _check(suspect)
    asked = {"workspace_id": tx.workspace_id, **asdict(suspect)}
    may_see_evaluations = READ_EVALUATIONS.covered_by(tx.context.scopes)
    listing = f"rollback report:{suspect}"
    before = tx.read_id_cursor(listing, cursor)
    if not await _queries.is_known(tx.connection, **asked):
        raise NotFound("no such version, price or tool")
    rows = await _queries.list_touched_runs(tx.connection, **asked, before=before or _BEYOND, page_size=page_size + 1)
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["run_id"]])
    return RollbackReport(
        summary=await _summarize(tx, asked) if before is None else None,
        evaluations=await _evaluations(tx, asked) if before is None and may_see_evaluations else None,
        data=[RollbackRun(**told_costs(row)) for row in page],
        page_size=page_size,
        next_cursor=following,
    )


async def _summarize(tx: Transaction, asked: dict[str, object]) -> RollbackSummary:
    told = dict(await _queries.summarize(tx.connection, **asked))
    conformance = RunsByConformance(**{name: told.pop(name) for name in RunsByConformance.model_fields})
    return RollbackSummary(**told, by_conformance=conformance)


async def _evaluations(tx: Transaction, asked: dict[str, object]) -> list[TouchedEvaluation]:
    rows = await _queries.list_touched_evaluations(tx.connection, **asked, most=MOST_EVALUATIONS)
    return [TouchedEvaluation(**row, change=_change(row)) for row in rows]


def _change(row: Mapping[str, Any]) -> dict[str, float]:
    ours, theirs = row["scores"], row["base_scores"]
    if ours is None or theirs is None:
        return {}
    names = same_scores(row["graders"], row["base_graders"])
    return {name: ours[name]["value"] - theirs[name]["value"] for name in names}


def _check(suspect: Suspect) -> None:
    said = asdict(suspect)
    version_of_tool = said.pop("tool_version")
    if sum(value is not None for value in said.values()) != 1:
        raise InvalidInput(f"ask about one of {', '.join(said)}")
    if version_of_tool is not None and suspect.tool_name is None:
        raise InvalidInput("tool_version is one of a tool; say tool_name too")

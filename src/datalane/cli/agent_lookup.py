"""What `datalane agents` looks up: lists across workspaces as the operator, all else inside one through its door."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.agents.rollback.schemas import RollbackRun, RollbackSummary, Suspect, TouchedEvaluation
from datalane.agents.rollback.service import report_rollback
from datalane.agents.runs.looking import RunFilter, get_run, list_runs, told_costs
from datalane.agents.runs.schemas import AgentRunTrace
from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

MOST_SHOWN_RUNS = 200
"""Of a run with all that are inside it."""
_PAGE = 1_000
_queries = load_queries(__file__, "agents.sql")

Rows = list[dict[str, Any]]


@dataclass
class RunTree:
    """A run with those inside it, the oldest first. `is_cut` says that some are left out."""

    run: AgentRunTrace
    inner: list[RunTree] = field(default_factory=list)
    is_cut: bool = False

    def as_dict(self) -> dict[str, Any]:
        inner = [each.as_dict() for each in self.inner]
        return {**self.run.model_dump(mode="json"), "inner_runs": inner, "inner_runs_left_out": self.is_cut}


@dataclass
class Report:
    """What came of a version, a price or a tool: `answers` are of the runs by their ids."""

    summary: RollbackSummary
    evaluations: list[TouchedEvaluation] = field(default_factory=list)
    runs: list[RollbackRun] = field(default_factory=list)
    answers: dict[UUID, Rows] = field(default_factory=dict)

    def sums(self) -> dict[str, Any]:
        given = [answer for each in self.answers.values() for answer in each]
        counts = {"answers": len(given), "citations": sum(answer["citations"] for answer in given)}
        return {**self.summary.model_dump(mode="json"), **counts}

    def lines(self) -> Rows:
        return [{**run.model_dump(mode="json"), "answers": self.answers.get(run.run_id, [])} for run in self.runs]


class AgentsOffice(Office):
    name = "datalane agents"

    async def list_runs(self, workspace_id: UUID | None, asked: RunFilter, limit: int) -> Rows:
        """The newest first; across workspaces only what the operator sees."""
        if workspace_id is None:
            async with self.operator() as connection:
                with translated():
                    rows = await _queries.list_runs(connection, agent=asked.agent, status=asked.status, most=limit)
            return [told_costs(row) for row in rows]
        async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
            page = await list_runs(tx, asked, page_size=limit)
        return [{"workspace_id": workspace_id, **run.model_dump()} for run in page.data]

    async def get_tree(self, workspace_id: UUID, run_id: UUID) -> RunTree:
        """Raises `NotFound`."""
        async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
            root = RunTree(await get_run(tx, run_id))
            waiting, shown = [root], 1
            while waiting:
                tree = waiting.pop(0)
                page = await list_runs(tx, RunFilter(parent_run_id=tree.run.run_id), page_size=MOST_SHOWN_RUNS)
                room = MOST_SHOWN_RUNS - shown
                tree.is_cut = page.next_cursor is not None or len(page.data) > room
                for inner in reversed(page.data[:room]):
                    tree.inner.append(RunTree(await get_run(tx, inner.run_id)))
                shown += len(tree.inner)
                waiting += tree.inner
        return root

    async def report(self, workspace_id: UUID, suspect: Suspect) -> Report:
        """Every run, with its answers. Raises as `report_rollback`."""
        context = Context.system(workspace_id)
        async with self.database() as database, database.transaction(context, plans=Plans.OWN) as tx:
            page = await report_rollback(tx, suspect, page_size=_PAGE)
            assert page.summary is not None
            report = Report(page.summary, page.evaluations or [])
            while True:
                report.runs += page.data
                if page.next_cursor is None:
                    break
                page = await report_rollback(tx, suspect, page.next_cursor, _PAGE)
            report.answers = await _answers(tx, [run.run_id for run in report.runs])
        return report


async def _answers(tx: Transaction, run_ids: list[UUID]) -> dict[UUID, Rows]:
    found: dict[UUID, Rows] = defaultdict(list)
    for row in await _queries.list_answers(tx.connection, workspace_id=tx.workspace_id, run_ids=run_ids):
        told = dict(row)
        found[told.pop("run_id")].append(told)
    return dict(found)

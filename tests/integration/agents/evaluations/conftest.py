"""What tests do with evaluations: every method is a transaction of its own, as the desk's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from tests.integration.agents.desk import LedgerDesk

from datalane.agents.evaluations import comparing, datasets, service
from datalane.agents.evaluations.running import Answer, Plan, evaluate
from datalane.agents.evaluations.schemas import (
    AddedDataset,
    AgentEvaluation,
    AgentEvaluationComparison,
    CaseResult,
    DatasetCase,
    GraderSaid,
    NewCaseResult,
    NewDataset,
    NewEvaluation,
)
from datalane.agents.recorder import Agents
from datalane.agents.recorder.toolbox import Toolbox

OWN = GraderSaid(name="own", scores=["own"])


@dataclass
class EvaluationDesk:
    desk: LedgerDesk

    @property
    def agents(self) -> Agents:
        return Agents(self.desk.database.transaction, Toolbox())

    async def add(self, cases: int | Sequence[DatasetCase], name: str = "owls", **said: Any) -> AddedDataset:
        """A dataset of cases that are numbered from 0, or of those that are given."""
        if isinstance(cases, int):
            cases = [DatasetCase(case_id=str(place), input={"number": place}, **said) for place in range(cases)]
        async with self.desk.database.transaction(self.desk.context) as tx:
            return await datasets.add_dataset(tx, NewDataset(name=name, cases=list(cases)))

    async def record(self, dataset: UUID, scores: Sequence[float | NewCaseResult], **said: Any) -> AgentEvaluation:
        """An evaluation in which the cases from 0 on have these scores of the grader `OWN`."""
        results = [
            one
            if isinstance(one, NewCaseResult)
            else NewCaseResult(case_id=str(place), outcome="graded", scores={"own": one})
            for place, one in enumerate(scores)
        ]
        usual: dict[str, Any] = {"agent": "helper", "graders": [OWN]}
        new = NewEvaluation(dataset_version_id=dataset, results=results, **{**usual, **said})
        async with self.desk.database.transaction(self.desk.context) as tx:
            return await service.record_evaluation(tx, new)

    async def compare(self, evaluation: AgentEvaluation, baseline: AgentEvaluation) -> AgentEvaluationComparison:
        async with self.desk.database.transaction(self.desk.context) as tx:
            return await comparing.compare_evaluations(tx, evaluation.evaluation_id, baseline.evaluation_id)

    async def results(self, evaluation: AgentEvaluation) -> list[CaseResult]:
        async with self.desk.database.transaction(self.desk.context) as tx:
            found = await service.get_evaluation(tx, evaluation.evaluation_id, page_size=100)
        assert found.evaluation == evaluation
        return found.data

    async def listed(self) -> list[AgentEvaluation]:
        async with self.desk.database.transaction(self.desk.context) as tx:
            return (await service.list_evaluations(tx)).data

    async def evaluate(self, dataset: UUID, answer: Answer, *graders: Any, **said: Any) -> AgentEvaluation:
        going = {name: said.pop(name) for name in ("at_once", "progress") if name in said}
        plan = Plan(dataset, "helper", graders, **said)
        return await evaluate(self.agents, self.desk.context, plan, answer, **going)


def failed(case: object) -> NewCaseResult:
    return NewCaseResult(case_id=str(case), outcome="failed", error_class="timeout", reason="it took too long")


def invalid(case: object) -> NewCaseResult:
    return NewCaseResult(case_id=str(case), outcome="invalid", reason="no expected output")


@pytest.fixture
def bench(desk: LedgerDesk) -> EvaluationDesk:
    return EvaluationDesk(desk)

"""Routes of datasets and evaluations."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from datalane.agents.evaluations import comparing, datasets, service
from datalane.agents.evaluations.schemas import (
    AddedDataset,
    AgentDatasetCases,
    AgentDatasetPage,
    AgentEvaluation,
    AgentEvaluationComparison,
    AgentEvaluationPage,
    AgentEvaluationResults,
    NewDataset,
    NewEvaluation,
)
from datalane.agents.permissions import ADD_DATASETS, READ_EVALUATIONS, RECORD_EVALUATIONS
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]
_WAS_THERE: dict[int | str, dict[str, Any]] = {200: {"model": AddedDataset, "description": "It was there"}}
PageSize = Annotated[int, Query(ge=1, le=100)]


def add_evaluation_routes(routes: APIRouter, door: Door) -> None:
    _add_datasets(routes, door)
    _add_evaluations(routes, door)


def _add_datasets(routes: APIRouter, door: Door) -> None:
    @routes.post("/datasets/add", status_code=201, responses=_WAS_THERE)
    async def add(body: NewDataset, response: Response, tx: Transaction = door.writer(ADD_DATASETS)) -> AddedDataset:
        """The version of these cases: 201 when it is new, 200 when it was there."""
        added = await datasets.add_dataset(tx, body)
        response.status_code = 201 if added.created else 200
        return added

    @routes.get("/datasets/list")
    async def list_datasets(
        name: Asked = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_EVALUATIONS),
    ) -> AgentDatasetPage:
        """Versions without their cases, the newest first."""
        return await datasets.list_datasets(tx, name, cursor, page_size)

    @routes.get("/datasets/{dataset_version_id}")
    async def get_dataset(
        dataset_version_id: UUID,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_EVALUATIONS),
    ) -> AgentDatasetCases:
        """A version with a page of its cases."""
        return await datasets.get_dataset(tx, dataset_version_id, cursor, page_size)


def _add_evaluations(routes: APIRouter, door: Door) -> None:
    @routes.post("/evaluations/record", status_code=201)
    async def record(body: NewEvaluation, tx: Transaction = door.writer(RECORD_EVALUATIONS)) -> AgentEvaluation:
        """Keep an evaluation that was made. Its scores are refused where too few cases are graded."""
        return await service.record_evaluation(tx, body)

    @routes.get("/evaluations/list")
    async def list_evaluations(
        dataset_version_id: UUID | None = None,
        agent: Asked = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_EVALUATIONS),
    ) -> AgentEvaluationPage:
        """Evaluations, the newest first."""
        return await service.list_evaluations(tx, dataset_version_id, agent, cursor, page_size)

    @routes.get("/evaluations/compare")
    async def compare(
        evaluation_id: UUID, baseline_id: UUID, tx: Transaction = door.reader(READ_EVALUATIONS)
    ) -> AgentEvaluationComparison:
        """What is better and what is worse than in the baseline, on the cases that both graded."""
        return await comparing.compare_evaluations(tx, evaluation_id, baseline_id)

    @routes.get("/evaluations/{evaluation_id}")
    async def get_evaluation(
        evaluation_id: UUID,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_EVALUATIONS),
    ) -> AgentEvaluationResults:
        """An evaluation with a page of its results."""
        return await service.get_evaluation(tx, evaluation_id, cursor, page_size)

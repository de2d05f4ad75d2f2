"""Routes of evaluations. Runs are made by `datalane eval retrieval`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.knowledge.confidence import service as confidence
from datalane.knowledge.confidence.schemas import CalibrationList
from datalane.knowledge.evaluation import service
from datalane.knowledge.evaluation.schemas import Comparison, RunDetails, RunList
from datalane.knowledge.permissions import READ_CALIBRATIONS, READ_EVALUATIONS


def router(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/evaluations", tags=["evaluations"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/list")
    async def list_runs(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_EVALUATIONS)
    ) -> RunList:
        """Runs of judged queries, the newest first. `cursor` is the `next_cursor` of the page before."""
        return await service.list_runs(tx, cursor, page_size)

    @routes.get("/calibrations/list")
    async def list_calibrations(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_CALIBRATIONS)
    ) -> CalibrationList:
        """How scores become confidences, and how far that holds; the newest first. Made by `datalane eval retrieval
        --calibrate`."""
        return await confidence.list_calibrations(tx, cursor, page_size)

    @routes.get("/compare")
    async def compare_runs(
        run_id: UUID, baseline_id: UUID, tx: Transaction = door.reader(READ_EVALUATIONS)
    ) -> Comparison:
        """What is better and what is worse than in the baseline, with intervals of the paired ratios."""
        return await service.compare_runs(tx, run_id, baseline_id)

    @routes.get("/{run_id}")
    async def get_run(run_id: UUID, tx: Transaction = door.reader(READ_EVALUATIONS)) -> RunDetails:
        """One run with its queries, the worst first."""
        return await service.get_run(tx, run_id)

    return routes

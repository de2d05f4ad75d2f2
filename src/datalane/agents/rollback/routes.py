"""The route of the rollback report."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.agents.permissions import READ_RUNS
from datalane.agents.rollback.schemas import RollbackReport, Suspect
from datalane.agents.rollback.service import report_rollback
from datalane.contracts.http import Door
from datalane.contracts.plans import Plans
from datalane.contracts.storable import Text
from datalane.db.transaction import Transaction

ToolName = Annotated[Text | None, Query(min_length=1, max_length=64)]
ToolVersion = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


def add_rollback_routes(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/rollback-report")
    async def rollback_report(
        model_version_id: UUID | None = None,
        prompt_version_id: UUID | None = None,
        price_version_id: UUID | None = None,
        tool_name: ToolName = None,
        tool_version: ToolVersion = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_RUNS, plans=Plans.OWN),
    ) -> RollbackReport:
        """Every run that a version, a price or a tool has touched, the newest first, and on the first page their
        sums."""
        suspect = Suspect(model_version_id, prompt_version_id, price_version_id, tool_name, tool_version)
        return await report_rollback(tx, suspect, cursor, page_size)

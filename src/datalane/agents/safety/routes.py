"""The route of what moderation decided."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.agents.permissions import READ_RUNS
from datalane.agents.safety.looking import list_moderations
from datalane.agents.safety.moderator import Outcome
from datalane.agents.safety.schemas import AgentModerationPage
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction


def add_safety_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/moderations/list")
    async def moderations(
        run_id: UUID | None = None,
        outcome: Outcome | None = None,
        cursor: str | None = None,
        page_size: int = Query(25, ge=1, le=100),
        tx: Transaction = door.reader(READ_RUNS),
    ) -> AgentModerationPage:
        """What moderation decided about runs of agents, the newest first."""
        return await list_moderations(tx, run_id, outcome, cursor, page_size)

"""Routes of demo access. Nothing here changes it: that is for the operator, and for what the operator trusts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datalane.access.lifecycle import service
from datalane.access.lifecycle.schemas import AccessHistoryPage, DemoAccessStatus
from datalane.access.permissions import READ_ACCESS_HISTORY, READ_DEMO_ACCESS
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction


def add_demo_access_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/demo/status")
    async def get_status(tx: Transaction = door.reader(READ_DEMO_ACCESS)) -> DemoAccessStatus:
        """Where the demo access of the workspace is, until when, and by what it was told."""
        return await service.get_status(tx)

    @routes.get("/demo/history/list")
    async def list_history(
        cursor: str | None = None,
        page_size: Annotated[int, Query(ge=1, le=100)] = 25,
        tx: Transaction = door.reader(READ_ACCESS_HISTORY),
    ) -> AccessHistoryPage:
        """Changes of the demo access, the newest row first, with those that a late signal made untrue."""
        return await service.list_history(tx, cursor, page_size)

"""Routes of connectors."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.integrations.connectors import reports, service
from datalane.integrations.connectors.schemas import (
    Connector,
    ConnectorHistoryPage,
    ConnectorPage,
    ConnectorRotation,
    ConnectorStatus,
    ConnectorTarget,
    HealthReport,
    NewConnector,
    ReportedHealth,
    RevokedConnector,
)
from datalane.integrations.permissions import MANAGE_CONNECTORS, READ_CONNECTORS, REPORT_HEALTH
from datalane.integrations.runtime import Integrations


def router(door: Door, integrations: Integrations) -> APIRouter:
    routes = door.router(prefix="/integrations/connectors", tags=["connectors"])
    _add_commands(routes, door, integrations)
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("")
    async def list_connectors(
        status: ConnectorStatus | None = None,
        kind: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_CONNECTORS, plans=Plans.OWN),
    ) -> ConnectorPage:
        """Connectors with their health, the newest first, revoked ones too. Nobody is shown credentials."""
        return await service.list_connectors(tx, status, kind, cursor, page_size)

    @routes.get("/history/list")
    async def list_history(
        connector_id: UUID | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_CONNECTORS, plans=Plans.OWN),
    ) -> ConnectorHistoryPage:
        """Rotations, reports, calls and ends of connectors, or of one, the newest first."""
        return await service.list_history(tx, connector_id, cursor, page_size)

    @routes.get("/{connector_id}")
    async def get_connector(connector_id: UUID, tx: Transaction = door.reader(READ_CONNECTORS)) -> Connector:
        """One connector, without its credentials."""
        return await service.get_connector(tx, connector_id)

    return routes


def _add_commands(routes: APIRouter, door: Door, integrations: Integrations) -> None:
    @routes.post("/register", status_code=201)
    async def register(body: NewConnector, tx: Transaction = door.writer(MANAGE_CONNECTORS)) -> Connector:
        """Connect another system. The credentials are sealed, and never shown again."""
        return await service.register_connector(tx, integrations.outbound, body)

    @routes.post("/health")
    async def health(body: HealthReport, tx: Transaction = door.writer(REPORT_HEALTH)) -> ReportedHealth:
        """Say what you saw of the connection. An older report than the last one changes nothing and is kept."""
        return await reports.report_health(tx, body, integrations.dependents)

    @routes.post("/rotate")
    async def rotate(body: ConnectorRotation, tx: Transaction = door.writer(MANAGE_CONNECTORS)) -> Connector:
        """Put other credentials in the place of all that were there."""
        return await service.rotate_credentials(tx, body)

    @routes.post("/revoke")
    async def revoke(body: ConnectorTarget, tx: Transaction = door.writer(MANAGE_CONNECTORS)) -> RevokedConnector:
        """End a connector for good: its credentials are removed, and what depends on it stops."""
        return await service.revoke_connector(tx, body, integrations.dependents)

"""Routes of webhook endpoints."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.integrations.permissions import MANAGE_ENDPOINTS, READ_WEBHOOKS
from datalane.integrations.webhooks.endpoints import service
from datalane.integrations.webhooks.endpoints.recovery import recover_endpoint
from datalane.integrations.webhooks.endpoints.schemas import (
    EndpointRecovery,
    NewWebhookEndpoint,
    RecoveredEndpoint,
    RemovedWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpointPage,
    WebhookEndpointSecret,
    WebhookEndpointTarget,
    WebhookSecretRotation,
)


def add_endpoint_routes(routes: APIRouter, door: Door) -> None:
    _add_changes(routes, door)
    _add_switches(routes, door)
    _add_reads(routes, door)


def _add_changes(routes: APIRouter, door: Door) -> None:
    allowed, webhooks = door.settings.outbound.allowed, door.settings.webhooks

    @routes.post("/endpoints/create", status_code=201)
    async def create(
        body: NewWebhookEndpoint, tx: Transaction = door.writer(MANAGE_ENDPOINTS)
    ) -> WebhookEndpointSecret:
        """Have events delivered to a URL. The secret in the answer verifies them, and is shown this once."""
        return await service.create_endpoint(tx, body, allowed)

    @routes.post("/endpoints/update")
    async def update(body: WebhookEndpointChange, tx: Transaction = door.writer(MANAGE_ENDPOINTS)) -> WebhookEndpoint:
        """Change the URL, the description, the connector or the types of events. What is left out stays."""
        return await service.change_endpoint(tx, body, allowed)

    @routes.post("/endpoints/rotate-secret")
    async def rotate(
        body: WebhookSecretRotation, tx: Transaction = door.writer(MANAGE_ENDPOINTS)
    ) -> WebhookEndpointSecret:
        """Sign with a new secret, shown this once; for a while with the one before as well."""
        return await service.rotate_secret(tx, body, webhooks.rotation)

    @routes.post("/endpoints/remove")
    async def remove(
        body: WebhookEndpointTarget, tx: Transaction = door.writer(MANAGE_ENDPOINTS)
    ) -> RemovedWebhookEndpoint:
        """Deliver nothing more for good; the log of what was sent stays."""
        return await service.remove_endpoint(tx, body.endpoint_id)


def _add_switches(routes: APIRouter, door: Door) -> None:
    webhooks = door.settings.webhooks

    @routes.post("/endpoints/enable")
    async def enable(body: WebhookEndpointTarget, tx: Transaction = door.writer(MANAGE_ENDPOINTS)) -> WebhookEndpoint:
        """Deliver what happens from now on. What was kept meanwhile is delivered by a recovery."""
        return await service.enable_endpoint(tx, body.endpoint_id)

    @routes.post("/endpoints/disable")
    async def disable(body: WebhookEndpointTarget, tx: Transaction = door.writer(MANAGE_ENDPOINTS)) -> WebhookEndpoint:
        """Deliver nothing more for now, and keep what happens."""
        return await service.disable_endpoint(tx, body.endpoint_id)

    @routes.post("/endpoints/recover")
    async def recover(body: EndpointRecovery, tx: Transaction = door.writer(MANAGE_ENDPOINTS)) -> RecoveredEndpoint:
        """Deliver what was kept while the endpoint could not be sent to, in order, at a bounded rate."""
        return await recover_endpoint(tx, body, webhooks.recovery_rate)


def _add_reads(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/endpoints/list")
    async def list_endpoints(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_WEBHOOKS)
    ) -> WebhookEndpointPage:
        """Endpoints, the newest first, without their secrets."""
        return await service.list_endpoints(tx, cursor, page_size)

    @routes.get("/endpoints/{endpoint_id}")
    async def get_endpoint(endpoint_id: UUID, tx: Transaction = door.reader(READ_WEBHOOKS)) -> WebhookEndpoint:
        """One endpoint."""
        return await service.get_endpoint(tx, endpoint_id)

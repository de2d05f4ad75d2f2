"""Routes of outbound deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door, LateTransaction
from datalane.contracts.plans import Plans
from datalane.contracts.replay import Replayed
from datalane.db.transaction import Transaction
from datalane.integrations.permissions import DELIVER, READ_WEBHOOKS
from datalane.integrations.webhooks.deliveries import service
from datalane.integrations.webhooks.deliveries.schemas import (
    DeliveryChoice,
    DeliveryStatus,
    NewWebhookDelivery,
    WebhookAttempted,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookDeliveryPage,
    WebhookDeliveryTarget,
)

if TYPE_CHECKING:
    from datalane.integrations.runtime import Integrations

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def add_delivery_routes(routes: APIRouter, door: Door, integrations: Integrations) -> None:
    limits, webhooks = door.settings.limits, door.settings.webhooks
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/outbound/enqueue", status_code=202)
    async def enqueue(body: NewWebhookDelivery, tx: Transaction = door.writer(DELIVER)) -> WebhookDelivery:
        """Deliver one stored event, or a payload of a registered type, to one endpoint."""
        return await service.enqueue_delivery(tx, body)

    @routes.post("/outbound/attempt")
    async def attempt(body: WebhookDeliveryTarget, late: LateTransaction = door.preparer(DELIVER)) -> WebhookAttempted:
        """Try one delivery now, and tell what came of it."""
        sender = integrations.webhooks.sender
        return await service.attempt_now(
            late, lambda: door.transaction(late.context), sender, body.delivery_id, webhooks
        )

    @routes.post("/outbound/replay", status_code=202)
    async def replay(body: DeliveryChoice, tx: Transaction = door.writer(DELIVER)) -> Replayed:
        """Deliver again what has ended: some by id, or up to 1,000 that match. A dry run counts."""
        return await service.replay(tx, body)

    @routes.get("/outbound/list")
    async def list_deliveries(
        endpoint_id: UUID | None = None,
        status: DeliveryStatus | None = None,
        event_type: Asked = None,
        event_id: UUID | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_WEBHOOKS, plans=Plans.OWN),
    ) -> WebhookDeliveryPage:
        """The log of deliveries, the newest first."""
        asked = service.DeliveryFilter(endpoint_id, status, event_type, event_id)
        return await service.list_deliveries(tx, asked, cursor, page_size)

    @routes.get("/outbound/{delivery_id}")
    async def get_delivery(delivery_id: UUID, tx: Transaction = door.reader(READ_WEBHOOKS)) -> WebhookDeliveryDetail:
        """One delivery with what was signed, and its attempts."""
        return await service.get_delivery(tx, delivery_id)

"""Routes of inbound webhooks: the one that providers send to, and those of the workspace."""

from __future__ import annotations

from fastapi import APIRouter, Query
from starlette.requests import Request

from datalane.contracts.http import Door, correlation_of
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.integrations.inbound import held, service
from datalane.integrations.inbound.receiving import Delivery, receive
from datalane.integrations.inbound.schemas import (
    HeldDelivery,
    HeldPage,
    HeldStatus,
    HeldTarget,
    InboundPage,
    InboundReceipt,
    InboundTarget,
    InboundWebhook,
    OpenedInbound,
    OpenInbound,
    ReleasedDelivery,
)
from datalane.integrations.permissions import DECIDE_HELD, MANAGE_INBOUND, READ_INBOUND

_ANY_JSON = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_receiving(door))
    routes.include_router(_managing(door))
    routes.include_router(_deciding(door))
    return routes


def _receiving(door: Door) -> APIRouter:
    routes = door.router(prefix="/webhooks/inbound", tags=["inbound webhooks"])

    @routes.post("/{connector}", status_code=202, responses={404: {}}, openapi_extra=_ANY_JSON)
    async def receive_webhook(connector: str, request: Request) -> InboundReceipt:
        """Take a webhook of a connected system, when it is signed as the connector's rule says."""
        delivery = Delivery(request.headers.getlist, await request.body(), correlation_of(request))
        return await receive(door.transaction, connector, delivery, door.settings.inbound)

    return routes


def _managing(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/integrations/inbound", tags=["inbound webhooks"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/open", status_code=201)
    async def open_inbound(body: OpenInbound, tx: Transaction = door.writer(MANAGE_INBOUND)) -> OpenedInbound:
        """Take webhooks of a connector, at a path that is shown this once."""
        return await service.open_inbound(tx, body)

    @routes.post("/close")
    async def close_inbound(body: InboundTarget, tx: Transaction = door.writer(MANAGE_INBOUND)) -> InboundWebhook:
        """Take no more webhooks of a connector."""
        return await service.close_inbound(tx, body)

    @routes.get("/list")
    async def list_inbound(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_INBOUND)
    ) -> InboundPage:
        """Whose webhooks are taken, or were, and how they are checked."""
        return await service.list_inbound(tx, cursor, page_size)

    return routes


def _deciding(door: Door) -> APIRouter:
    routes, limits = door.router(prefix="/integrations/inbound/held", tags=["inbound webhooks"]), door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/list")
    async def list_held(
        status: HeldStatus | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_INBOUND, plans=Plans.OWN),
    ) -> HeldPage:
        """Deliveries whose signed bytes came before, the newest first."""
        return await held.list_held(tx, status, cursor, page_size)

    @routes.post("/release")
    async def release(body: HeldTarget, tx: Transaction = door.writer(DECIDE_HELD)) -> ReleasedDelivery:
        """It is an event of its own: publish it."""
        return await held.release_held(tx, body)

    @routes.post("/dismiss")
    async def dismiss(body: HeldTarget, tx: Transaction = door.writer(DECIDE_HELD)) -> HeldDelivery:
        """It is the same event again: drop it."""
        return await held.dismiss_held(tx, body)

    return routes

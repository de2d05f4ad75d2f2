"""Routes of integrations and automation."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.integrations.automation import routes as automation_routes
from datalane.integrations.connectors import routes as connectors
from datalane.integrations.events.routes import add_routes as add_event_routes
from datalane.integrations.inbound import routes as inbound
from datalane.integrations.notifications.routes import router as notification_routes
from datalane.integrations.runtime import Integrations
from datalane.integrations.webhooks.deliveries.routes import add_delivery_routes
from datalane.integrations.webhooks.endpoints.routes import add_endpoint_routes


def router(door: Door, integrations: Integrations) -> APIRouter:
    routes = APIRouter()
    events = door.router(prefix="/automation/events", tags=["automation"])
    add_event_routes(events, door)
    routes.include_router(events)
    routes.include_router(connectors.router(door, integrations))
    routes.include_router(automation_routes.router(door, integrations))
    routes.include_router(notification_routes(door))
    webhooks = door.router(prefix="/webhooks", tags=["webhooks"])
    add_endpoint_routes(webhooks, door)
    add_delivery_routes(webhooks, door, integrations)
    routes.include_router(webhooks)
    routes.include_router(inbound.router(door))
    return routes

"""Routes of integrations and automation."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.integrations.events.routes import add_routes as add_event_routes
from datalane.integrations.runtime import Integrations


def router(door: Door, integrations: Integrations) -> APIRouter:
    events = door.router(prefix="/automation/events", tags=["automation"])
    add_event_routes(events, door)
    return events

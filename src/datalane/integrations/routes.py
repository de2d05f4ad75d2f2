"""Routes of integrations and automation."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.integrations.events.routes import add_routes as add_event_routes


def router(door: Door) -> APIRouter:
    events = door.router(prefix="/automation/events", tags=["automation"])
    add_event_routes(events, door)
    return events

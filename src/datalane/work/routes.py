"""All routes of core work."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.work.items import routes as items
from datalane.work.projects import routes as projects


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    for slice_ in (projects, items):
        routes.include_router(slice_.router(door))
    return routes

"""All routes of core work."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.contracts.http import Door
from datalane.work.fields import routes as fields
from datalane.work.items import routes as items
from datalane.work.projects import routes as projects
from datalane.work.query import routes as item_lists
from datalane.work.timeline import routes as timeline
from datalane.work.views import routes as views


def router(door: Door) -> APIRouter:
    routes = APIRouter()
    for slice_ in (projects, fields, views, item_lists, items, timeline):  # /items/list comes before /items/{item_id}
        routes.include_router(slice_.router(door))
    return routes

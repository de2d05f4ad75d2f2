"""Routes of saved views. Each has one permission, so what is shared has routes of its own."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from datalane.contracts.authorization import Permission
from datalane.contracts.http import Door, plain
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.work.permissions import KEEP_VIEWS, READ_ITEMS, READ_VIEWS, SHARE_VIEWS, UNSHARE_VIEWS
from datalane.work.preconditions import IfMatch, tagged
from datalane.work.query import service as lists
from datalane.work.query.schemas import ItemPage
from datalane.work.views import service
from datalane.work.views.schemas import NewView, View, ViewPage, ViewTarget, ViewUpdate


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/items/views", tags=["views"])
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.get("/list")
    async def list_views(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_VIEWS)
    ) -> ViewPage:
        """One's own views and the shared ones, by name. `cursor` is the `next_cursor` of the page before."""
        return await service.list_views(tx, cursor, page_size)

    @routes.get("/{view_id}/items", response_model=ItemPage)
    async def list_items(
        view_id: UUID,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_ITEMS, plans=Plans.OWN),
    ) -> Response:
        """The items that a view asks for now. A view that cannot be asked as it is gets 422 with what is wrong."""
        query = await service.load_view_query(tx, view_id)
        return plain(await lists.find_items(tx, query.model_copy(update={"page_size": page_size, "cursor": cursor})))

    _add_commands(routes, door, "", False, KEEP_VIEWS, KEEP_VIEWS)
    _add_commands(routes, door, "/shared", True, SHARE_VIEWS, UNSHARE_VIEWS)

    @routes.get("/{view_id}")
    async def get_view(view_id: UUID, response: Response, tx: Transaction = door.reader(READ_VIEWS)) -> View:
        """One of one's own views or of the shared ones, and whether it can be run as it is."""
        return tagged(await service.get_view(tx, view_id), response)

    return routes


def _add_commands(
    routes: APIRouter, door: Door, under: str, shared: bool, saving: Permission, deleting: Permission
) -> None:
    kind = "shared" if shared else "own"

    @routes.post(f"{under}/create", status_code=201, name=f"create_{kind}_view")
    async def create(body: NewView, response: Response, tx: Transaction = door.writer(saving)) -> View:
        """Save a query of items under a name."""
        return tagged(await service.create_view(tx, body, shared=shared), response)

    @routes.post(f"{under}/update", name=f"update_{kind}_view")
    async def update(body: ViewUpdate, precondition: IfMatch, tx: Transaction = door.writer(saving)) -> View:
        """Change the name or the query of the version that you saw."""
        return await precondition.edit(partial(service.update_view, shared=shared), tx, body)

    @routes.post(f"{under}/delete", name=f"delete_{kind}_view")
    async def delete(body: ViewTarget, precondition: IfMatch, tx: Transaction = door.writer(deleting)) -> View:
        """Take a view away."""
        return await precondition.edit(partial(service.delete_view, shared=shared), tx, body)

"""Routes of items."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.work.items import service
from datalane.work.items.batch import report
from datalane.work.items.schemas import (
    BatchResult,
    CreateItems,
    Item,
    ItemTarget,
    ItemTransition,
    ItemUpdate,
    NewItem,
    TransitionItems,
    UpdateItems,
)
from datalane.work.permissions import CHANGE_ITEMS, CREATE_ITEMS, READ_ITEMS
from datalane.work.preconditions import IfMatch, tagged


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/items", tags=["items"])
    _add_commands(routes, door)
    _add_batches(routes, door)

    @routes.get("/{item_id}")
    async def get_item(
        item_id: UUID, response: Response, deleted: bool = False, tx: Transaction = door.reader(READ_ITEMS)
    ) -> Item:
        """One item, with its version as `ETag`. A deleted one is found with `deleted=true` only."""
        return tagged(await service.get_item(tx, item_id, deleted=deleted), response)

    return routes


def _add_commands(routes: APIRouter, door: Door) -> None:
    @routes.post("/create", status_code=201)
    async def create(body: NewItem, response: Response, tx: Transaction = door.writer(CREATE_ITEMS)) -> Item:
        """Make an item."""
        return tagged(await service.create_item(tx, body), response)

    @routes.post("/update")
    async def update(body: ItemUpdate, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_ITEMS)) -> Item:
        """Change fields of the version that you saw. A stale version gets the current row and what others changed."""
        return await precondition.edit(service.update_item, tx, body)

    @routes.post("/transition")
    async def transition(
        body: ItemTransition, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_ITEMS)
    ) -> Item:
        """Move an item from draft to active, from active to archived, or back to active."""
        return await precondition.edit(service.transition_item, tx, body)

    @routes.post("/delete")
    async def delete(body: ItemTarget, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_ITEMS)) -> Item:
        """Take an item out of sight; `restore` brings it back."""
        return await precondition.edit(service.delete_item, tx, body)

    @routes.post("/restore")
    async def restore(body: ItemTarget, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_ITEMS)) -> Item:
        """Bring a deleted item back as it was."""
        return await precondition.edit(service.restore_item, tx, body)


def _add_batches(routes: APIRouter, door: Door) -> None:
    @routes.post("/bulk/create")
    async def create_many(body: CreateItems, tx: Transaction = door.writer(CREATE_ITEMS)) -> BatchResult:
        """Make up to 1,000 items in one transaction. Each row has its own result; refused rows make nothing."""
        return report(await service.create_items(tx, body.items))

    @routes.post("/bulk/update")
    async def update_many(body: UpdateItems, tx: Transaction = door.writer(CHANGE_ITEMS)) -> BatchResult:
        """Change up to 1,000 items in one transaction. Each row has its own result; refused rows change nothing."""
        return report(await service.update_items(tx, body.items))

    @routes.post("/bulk/transition")
    async def transition_many(body: TransitionItems, tx: Transaction = door.writer(CHANGE_ITEMS)) -> BatchResult:
        """Move up to 1,000 items in one transaction. Each row has its own result; refused rows stay where they are."""
        return report(await service.transition_items(tx, body.items))

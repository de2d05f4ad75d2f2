"""Routes of fields."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.work.fields import service
from datalane.work.fields.schemas import FieldList, FieldOfItems, FieldRename, FieldTarget, FieldUpdate, NewField
from datalane.work.permissions import DEFINE_FIELDS, READ_FIELDS
from datalane.work.preconditions import IfMatch, tagged


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/items/fields", tags=["fields"])

    @routes.get("/list")
    async def list_fields(tx: Transaction = door.reader(READ_FIELDS)) -> FieldList:
        """All fields of the workspace, by key; items are found by those whose index is ready."""
        return await service.list_fields(tx)

    @routes.post("/define", status_code=201)
    async def define(body: NewField, response: Response, tx: Transaction = door.writer(DEFINE_FIELDS)) -> FieldOfItems:
        """Say what the metadata of items holds under a key. An index over items that are there is built by jobs."""
        return tagged(await service.define_field(tx, body), response)

    @routes.post("/change")
    async def change(
        body: FieldUpdate, precondition: IfMatch, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Change whether a field is required, indexed, sensitive. Its type is for good."""
        return await precondition.edit(service.change_field, tx, body)

    @routes.post("/rename")
    async def rename(
        body: FieldRename, precondition: IfMatch, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Give a field another key. Items show their values under it from now on."""
        return await precondition.edit(service.rename_field, tx, body)

    @routes.post("/remove")
    async def remove(
        body: FieldTarget, precondition: IfMatch, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Take a field away; what items have under its key is free metadata."""
        return await precondition.edit(service.remove_field, tx, body)

    return routes

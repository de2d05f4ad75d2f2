"""Routes of fields."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.work.fields import service
from datalane.work.fields.schemas import FieldList, FieldOfItems, FieldRename, FieldTarget, FieldUpdate, NewField
from datalane.work.permissions import DEFINE_FIELDS, READ_FIELDS
from datalane.work.preconditions import IfMatch, precondition, seen, tagged


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
        body: FieldUpdate, response: Response, if_match: IfMatch = None, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Change whether a field is required, indexed, sensitive. Its type is for good."""
        with precondition(if_match):
            return tagged(await service.change_field(tx, seen(body, if_match)), response)

    @routes.post("/rename")
    async def rename(
        body: FieldRename, response: Response, if_match: IfMatch = None, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Give a field another key. Items show their values under it from now on."""
        with precondition(if_match):
            return tagged(await service.rename_field(tx, seen(body, if_match)), response)

    @routes.post("/remove")
    async def remove(
        body: FieldTarget, response: Response, if_match: IfMatch = None, tx: Transaction = door.writer(DEFINE_FIELDS)
    ) -> FieldOfItems:
        """Take a field away; what items have under its key is free metadata."""
        with precondition(if_match):
            return tagged(await service.remove_field(tx, seen(body, if_match)), response)

    return routes

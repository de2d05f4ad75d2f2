"""Routes that list items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datalane.contracts.http import Door, plain
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput
from datalane.work.fields.definitions import load_fields
from datalane.work.permissions import READ_ITEMS
from datalane.work.query import service
from datalane.work.query.faults import refused
from datalane.work.query.params import parameters, read_params, typed
from datalane.work.query.schemas import ItemPage, ItemQuery


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/items", tags=["items"])
    add_routes(routes, door)
    return routes


def add_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/list", response_model=ItemPage, openapi_extra={"parameters": parameters()})
    async def list_items(request: Request, tx: Transaction = door.reader(READ_ITEMS, plans=_plans)) -> Response:
        """A page of items. A field of metadata that is defined and indexed is filtered by `metadata.<key>`, and
        compared by `metadata.<key>.gte` (`gt`, `lt`, `lte`) with values of its type."""
        query, fields = read_params(request.query_params.multi_items()), None
        if query.filters.metadata is not None:
            fields = await load_fields(tx)
            query = typed(query, fields)
        with _named("query."):
            return plain(await service.find_items(tx, query, fields))

    @routes.post("/query", response_model=ItemPage)
    async def query_items(body: ItemQuery, tx: Transaction = door.reader(READ_ITEMS, plans=Plans.OWN)) -> Response:
        """A page of items, asked as JSON: a filter is a value, a list of values, or comparisons."""
        with _named("body.filters."):
            return plain(await service.find_items(tx, body))


def _plans(request: Request) -> Plans:
    """What the service will most likely want, as `plans_of` tells of a query, so that it need not say so."""
    filters = set(request.query_params) - {"sort", "page_size", "cursor"}
    narrow = {name for name in filters if name.startswith(("tags", "metadata."))}
    if not filters or ("text" in filters and not narrow):
        return Plans.ONE
    return Plans.ONE if len(filters) == len(narrow) == 1 else Plans.OWN


@contextmanager
def _named(filters: str) -> Iterator[None]:
    """Faults of filters at the place where the request has them."""
    try:
        yield
    except InvalidInput as error:
        told = [
            {**fault, "field": filters + fault["field"].removeprefix("filters.")}
            if fault["field"].startswith("filters.")
            else {**fault, "field": f"{filters.partition('.')[0]}.{fault['field'].rpartition('.')[2]}"}
            for fault in error.errors
        ]
        raise (refused(told) if told else error) from error

"""Lists of items: the page, how many there are, and where the list goes on."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from asyncpg import Record

from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.engine.search.keyword import MOST_TERMS
from datalane.engine.search.language import search_language
from datalane.errors import LimitExceeded
from datalane.settings import Limits
from datalane.work.fields.definitions import Fields, load_fields
from datalane.work.items.service import plain_item
from datalane.work.permissions import READ_ITEMS
from datalane.work.query.clauses import Order, Position
from datalane.work.query.compose import Composed, compose, compose_probe, compose_single, plans_of
from datalane.work.query.faults import refused
from datalane.work.query.indexed import field_conditions
from datalane.work.query.schemas import ItemPage, ItemQuery, applied
from datalane.work.query.walking import Known
from datalane.work.texts import check_name

_NO_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class Found:
    """What `ItemPage` says, with items as plain values."""

    data: list[dict[str, Any]]
    total_count: int
    total_count_estimated: bool
    text_bounded: bool
    page_size: int
    next_cursor: str | None
    applied_filters: dict[str, Any]


async def list_items(tx: Transaction, query: ItemQuery, fields: Fields | None = None) -> ItemPage:
    """What `find_items` finds, as its model, which costs half as much again. Raises as it does."""
    return ItemPage.model_validate(await find_items(tx, query, fields), from_attributes=True)


async def find_items(tx: Transaction, query: ItemQuery, fields: Fields | None = None) -> Found:
    """The page of `query`. `fields` spares loading the workspace's when the caller has them.

    Raises `InvalidInput` for what cannot be asked, with an entry for each fault, and for a cursor that is not one of
    this very query; `LimitExceeded` for a text or tag past the lane's limits.
    """
    READ_ITEMS.check(tx.context)
    query, order = _within(query, tx.limits), Order.of(query.sort)
    filters = applied(query.filters)
    listing = _listing(filters, query.sort)
    after = _position(tx.read_cursor(listing, query.cursor))
    if query.filters.metadata is not None and fields is None:
        fields = await load_fields(tx)
    language = "" if query.filters.text is None else await search_language(tx)
    await tx.state_plans(plans_of(query))
    composed, rows = await fetch_page(tx, query, fields or _NO_FIELDS, language, after)
    if not rows and after is not None:
        return await _end_of(tx, query, fields)
    if rows:
        _check_words(rows[0]["text_terms"])
        if rows[0]["has_renamed"] and fields is None:
            fields = await load_fields(tx)
    total, estimated = await _total(tx, composed, rows[0]) if rows else (0, False)
    found = [row for row in rows if row["item_id"] is not None]
    page = [plain_item(row, fields or _NO_FIELDS) for row in found[: query.page_size]]
    more = len(found) > query.page_size
    return Found(
        data=page,
        total_count=total,
        total_count_estimated=estimated,
        text_bounded=bool(rows) and rows[0]["text_bounded"],
        page_size=query.page_size,
        next_cursor=_cursor(tx, listing, order, page[-1]) if more else None,
        applied_filters=filters,
    )


async def fetch_page(
    tx: Transaction, query: ItemQuery, fields: Fields, language: str, after: Position | None = None
) -> tuple[Composed, list[Record]]:
    """The statement of the page of `query` for the rows that are there, which `tx` plans, and what it answers.

    Parameters as `compose`.
    """
    known, rows = Known.NOTHING, []
    for single in compose_single(query, fields, language, tx.workspace_id, tx.limits, after):
        rows = await tx.fetch(single.sql, *single.args)
        if rows[0]["is_answered"]:
            return single, rows
    if rows:
        await tx.state_plans(Plans.OWN)
        known = Known.FAR if rows[0]["is_far"] else Known.NOTHING
    elif probe := compose_probe(query, fields, tx.workspace_id):
        known = Known.FEW if await tx.fetchval(probe[0], *probe[1]) else Known.NOTHING
    composed = compose(query, fields, language, tx.workspace_id, tx.limits, after, known)
    return composed, await tx.fetch(composed.sql, *composed.args)


async def _end_of(tx: Transaction, query: ItemQuery, fields: Fields | None) -> Found:
    """The empty page behind the last one, whose rows went away meanwhile: it says how many items there are."""
    first = await find_items(tx, query.model_copy(update={"cursor": None}), fields)
    return replace(first, data=[], next_cursor=None)


def check_query(query: ItemQuery, fields: Fields, limits: Limits) -> None:
    """That `query` may be asked by these fields. Raises as `find_items`; words are looked at when it is asked."""
    _within(query, limits)
    if query.filters.metadata is not None:
        field_conditions(query.filters.metadata, fields)


def _within(query: ItemQuery, limits: Limits) -> ItemQuery:
    """`query` with the page size that it gets. Raises what is past the lane's limits."""
    size = query.page_size if "page_size" in query.model_fields_set else min(query.page_size, limits.page_size)
    if size > limits.page_size:
        message = f"is at most {limits.page_size:,} (limits.page_size)"
        raise refused([{"field": "page_size", "message": message, "code": "less_than_equal"}])
    text = query.filters.text
    if text is not None and len(text) > limits.query_characters:
        raise LimitExceeded(
            f"filters.text has {len(text):,} characters, the limit is {limits.query_characters:,} "
            "(limits.query_characters)"
        )
    for name, tags in query.filters.tags or ():
        for tag in tags:
            check_name(tag, f"filters.tags.{name}", limits.tag_characters)
    return query if size == query.page_size else query.model_copy(update={"page_size": size})


def _listing(filters: dict[str, Any], sort: str) -> str:
    """The list that a cursor is of: these filters in this order."""
    said = orjson.dumps([filters, sort], option=orjson.OPT_SORT_KEYS)
    return f"items:{hashlib.sha256(said).hexdigest()[:32]}"


def _cursor(tx: Transaction, listing: str, order: Order, last: dict[str, Any]) -> str:
    reached, item_id = last[order.column], str(last["item_id"])
    return tx.make_cursor(listing, reached.isoformat() if isinstance(reached, datetime) else reached, item_id)


def _position(place: tuple[Any, ...] | None) -> Position | None:
    if place is None:
        return None
    reached, item_id = place
    return (datetime.fromisoformat(reached) if isinstance(reached, str) else reached), UUID(item_id)


def _check_words(terms: int | None) -> None:
    """`terms` are the different words of the text, but for stop words; None without a text."""
    if terms == 0:
        message = "has no word to look for: blanks, marks and words as common as `the` are not looked for"
        raise refused([{"field": "filters.text", "message": message, "code": "no_words"}])
    if terms is not None and terms > MOST_TERMS:
        message = f"has more than {MOST_TERMS} different words; look for fewer"
        raise refused([{"field": "filters.text", "message": message, "code": "too_many_words"}])


async def _total(tx: Transaction, composed: Composed, told: Record) -> tuple[int, bool]:
    """The number of items, and whether it is an estimate, no less than were counted.

    Without filters it is the workspace's own size, else two digits of what the planner expects.
    """
    counted = told["total_count"]
    if composed.filter_sql is None or counted <= tx.limits.exact_count:
        return counted, False
    if (size := told.get("size")) is not None:
        return max(size, counted), True
    plan = await tx.fetchval(f"EXPLAIN (FORMAT JSON) {composed.filter_sql}", *composed.filter_args)
    rows = int(orjson.loads(plan)[0]["Plan"]["Plan Rows"])
    step = 10 ** max(0, int(math.log10(max(rows, 1))) - 1)
    return max(rows // step * step, counted), True

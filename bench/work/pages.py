"""The first page of a list and one that 1,000 pages lie before."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.work.ground import Ground, opened
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.engine.search.language import search_language
from datalane.work.fields.definitions import Fields, load_fields
from datalane.work.query.clauses import Order, Position
from datalane.work.query.compose import compose, plans_of
from datalane.work.query.schemas import ItemQuery, read_query
from datalane.work.query.service import fetch_page
from datalane.work.samples import read_items, typical

DEPTH = 1_000
_PAGE = 25
_WARM_UP = 5


@dataclass
class Depth:
    """Seconds of the first page and of a deep one, in turns."""

    name: str
    first: list[float] = field(default_factory=list)
    deep: list[float] = field(default_factory=list)


async def time_pages(ground: Ground, runs: int) -> list[Depth]:
    plain = await asyncpg.connect(ground.plain_url)
    try:
        async with opened(ground.prepared, size=1) as database:
            async with database.transaction(Context.system(ground.workspace_id)) as tx:
                fields, language = await load_fields(tx), await search_language(tx)
                samples = typical(await read_items(tx), fields)
            asked: list[tuple[str, dict[str, Any], str]] = [
                ("by update", {}, "-updated_at"),
                ("by creation, oldest first", {}, "created_at"),
                ("by priority", {}, "-priority"),
                ("active", {"status": "active"}, "-updated_at"),
                ("a project", {"project_id": samples.project_id}, "-updated_at"),
                ("a common tag", {"tags": {"any": [samples.tags[0]]}}, "-updated_at"),
            ]
            found = []
            for name, filters, sort in asked:
                query = read_query({"filters": filters, "sort": sort, "page_size": _PAGE})
                position = await _position(plain, query, fields, language, ground, database)
                if position is not None:
                    found.append(await _time(name, query, position, fields, language, ground, database, runs))
            return found
    finally:
        await plain.close()


async def _position(
    plain: asyncpg.Connection, query: ItemQuery, fields: Fields, language: str, ground: Ground, database: Database
) -> Position | None:
    """The last row of page 1,000, found the slow way; None when the list is shorter, as in a small run."""
    composed = compose(query, fields, language, ground.workspace_id, database.limits)
    assert composed.filter_sql is not None
    order = Order.of(query.sort)
    row = await plain.fetchrow(
        composed.filter_sql.replace("SELECT FROM", f"SELECT i.{order.column}, i.item_id FROM", 1)
        + f" {order.by('i')} OFFSET {DEPTH * _PAGE - 1} LIMIT 1",
        *composed.filter_args,
    )
    return None if row is None else (row[0], row[1])


async def _time(
    name: str,
    query: ItemQuery,
    position: Position,
    fields: Fields,
    language: str,
    ground: Ground,
    database: Database,
    runs: int,
) -> Depth:
    found = Depth(name)
    for run in range(runs + _WARM_UP):
        for after, times in ((None, found.first), (position, found.deep)):
            async with database.transaction(Context.system(ground.workspace_id), plans=plans_of(query)) as tx:
                began = time.perf_counter()
                await fetch_page(tx, query, fields, language, after)
                seconds = time.perf_counter() - began
            if run >= _WARM_UP:
                times.append(seconds)
    return found

"""The SQL of a list of items: one statement gives the page and the count.

Values are parameters, and what is text of the statement comes from this file. Behind the wall only leakproof operators
on plain types reach an index, so tags and metadata are looked for in narrow tables: as semi-joins, which the planner
may begin from either side. Each condition says the workspace, which restores the planner's estimates.

A page begins after the last row of the page before, by a comparison of rows in the order of the list: a deep page
costs what the first costs. The items are counted up to a bound; past it `filter_sql` is what the planner estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from datalane.settings import Limits
from datalane.work.fields.definitions import Fields
from datalane.work.query.clauses import Order, Parameters, Position
from datalane.work.query.indexed import field_conditions
from datalane.work.query.schemas import OPERATORS, ItemFilters, ItemQuery
from datalane.work.query.words import text_statement

COLUMNS = (
    "item_id",
    "project_id",
    "title",
    "description",
    "status",
    "priority",
    "assignee_id",
    "tags",
    "metadata",
    "version",
    "created_at",
    "updated_at",
    "archived_at",
    "deleted_at",
    "created_by_actor_id",
    "updated_by_actor_id",
)
_PLAIN = {
    "status": ("status", "text"),
    "project_id": ("project_id", "uuid"),
    "assignee_id": ("assignee_id", "uuid"),
    "created_by": ("created_by_actor_id", "uuid"),
    "priority": ("priority", "smallint"),
    "created_at": ("created_at", "timestamptz"),
    "updated_at": ("updated_at", "timestamptz"),
}
"""Filters that are columns of the items, with column and type."""

MOST_JOINS = 4
"""Conditions on the narrow tables that the planner may begin from. Its time grows steeply with their number (fifty take
it seconds), so that further ones only check what the first ones found."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A statement and its parameters. Its rows begin with `total_count` (one more than the bound: there are more),
    `has_renamed` (whether the workspace has fields that had another key before), `text_terms` and `text_bounded`; the
    columns of the items follow, all null in the one row of an empty page.

    `filter_sql` with `filter_args` selects everything that the filters let through; None when the count is exact.
    """

    sql: str
    args: tuple[Any, ...]
    filter_sql: str | None = None
    filter_args: tuple[Any, ...] = ()


def compose(
    query: ItemQuery,
    fields: Fields,
    language: str,
    workspace_id: UUID,
    limits: Limits,
    after: Position | None = None,
) -> Composed:
    """The statement of the page of `query` that begins after `after`, with one row more than the page holds.

    `fields` are asked when metadata is filtered, `language` (a text search configuration) when text is. Raises
    `InvalidInput` for metadata that cannot be filtered so.
    """
    values, order = Parameters(), Order.of(query.sort)
    workspace = values.add(workspace_id, "uuid")
    conditions = " AND ".join(_conditions(query.filters, fields, workspace, values))
    filtered = tuple(values.values)
    if query.filters.text is not None:
        with_items, total, told = text_statement(
            workspace, conditions, order, values, query.filters.text, language, after, query.page_size + 1, COLUMNS
        )
    else:
        with_items, total = _plain_statement(conditions, order, values, query.page_size + 1, after, limits.exact_count)
        told = "NULL::bigint AS text_terms, false AS text_bounded"
    sql = (
        f"WITH {with_items}\n"
        f"SELECT told.total_count, told.has_renamed, told.text_terms, told.text_bounded, {_listed('page')}\n"
        f"FROM (SELECT {total} AS total_count, {told},\n"
        f"  EXISTS (SELECT FROM datalane.field_aliases a WHERE a.workspace_id = {workspace}) AS has_renamed) AS told\n"
        f"LEFT JOIN page ON true {order.by('page')}"
    )
    if query.filters.text is not None:
        return Composed(sql, tuple(values.values))
    return Composed(sql, tuple(values.values), f"SELECT FROM datalane.items i WHERE {conditions}", filtered)


def _plain_statement(
    conditions: str, order: Order, values: Parameters, rows: int, after: Position | None, bound: int
) -> tuple[str, str]:
    """The page, and the count. A first page that is not full has counted them all."""
    further = f" AND {order.after('i', values, after)}" if after is not None else ""
    most, counted = values.add(rows, "bigint"), values.add(bound + 1, "bigint")
    page = (
        f"page AS MATERIALIZED (\n  SELECT {_listed('i')}\n  FROM datalane.items i WHERE {conditions}{further}\n"
        f"  {order.by('i')} LIMIT {most})"
    )
    count = f"(SELECT count(*) FROM (SELECT FROM datalane.items i WHERE {conditions} LIMIT {counted}) AS counted)"
    if after is not None:
        return page, count
    shown = "(SELECT count(*) FROM page)"
    return page, f"CASE WHEN {shown} < {most} THEN {shown} ELSE {count} END"


def _listed(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in COLUMNS)


def _conditions(filters: ItemFilters, fields: Fields, workspace: str, values: Parameters) -> Iterator[str]:
    yield f"i.workspace_id = {workspace}"
    yield "i.deleted_at IS NOT NULL" if filters.deleted else "i.deleted_at IS NULL"
    for name, (column, kind) in _PLAIN.items():
        comparisons = getattr(filters, name)
        if comparisons is not None:
            yield from _compared(f"i.{column}", kind, comparisons, values)
    for number, (table, condition) in enumerate(_narrow(filters, fields, values)):
        check = "" if number < MOST_JOINS else " OFFSET 0"
        yield (
            f"EXISTS (SELECT FROM datalane.{table} n WHERE n.workspace_id = {workspace} AND n.item_id = i.item_id "
            f"AND {condition}{check})"
        )


def _compared(column: str, kind: str, asked: Iterable[tuple[str, Any]], values: Parameters) -> Iterator[str]:
    for name, value in asked:
        if name == "in":
            yield _one_of(column, kind, value, values)
        elif value is None:
            yield f"{column} IS NULL"
        else:
            yield f"{column} {OPERATORS[name]} {values.add(value, kind)}"


def _narrow(filters: ItemFilters, fields: Fields, values: Parameters) -> Iterator[tuple[str, str]]:
    """Each narrow table `n` in which an item must have a row, and what must hold of the row."""
    for name, tags in filters.tags or ():
        if name == "any":
            yield "item_tags", _one_of("n.tag", "text", tags, values)
        else:
            for tag in tags:
                yield "item_tags", f"n.tag = {values.add(tag, 'text')}"
    if filters.metadata is not None:
        for field in field_conditions(filters.metadata, fields):
            own = f"n.field_id = {values.add(field.field_id, 'uuid')}"
            yield "item_fields", " AND ".join([own, *_compared(f"n.{field.column}", field.kind, field.asked, values)])


def _one_of(column: str, kind: str, wanted: Sequence[Any], values: Parameters) -> str:
    if len(wanted) == 1:
        return f"{column} = {values.add(wanted[0], kind)}"
    return f"{column} = ANY ({values.add(wanted, f'{kind}[]')})"

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
from itertools import islice
from typing import Any
from uuid import UUID

from datalane.contracts.plans import Plans
from datalane.engine.search.index import Collection
from datalane.settings import Limits
from datalane.work.fields.definitions import Fields
from datalane.work.query.clauses import Order, Parameters, Position
from datalane.work.query.indexed import field_conditions
from datalane.work.query.schemas import OPERATORS, ItemFilters, ItemQuery
from datalane.work.query.walking import MOST_JOINS, Conditions, Known, Narrow, Page, far_time, is_few
from datalane.work.query.words import COUNTED, TextPage, is_one_word

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
_OF_ITEMS, _OF_PAGE = (", ".join(f"{table}.{column}" for column in COLUMNS) for table in ("i", "page"))
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
_INDEXED = {"status", "project_id", "assignee_id", "created_by"}
"""Filters with an index of their own, in the order of updates."""
_SIZE = f"""SELECT sum(t.entries)::bigint FROM datalane.search_totals t
  WHERE t.workspace_id = {{workspace}} AND t.collection = {int(Collection.ITEMS)}::smallint"""
"""Items that have words; those that have none are few."""
_HAS_RENAMED = "EXISTS (SELECT FROM datalane.field_aliases a WHERE a.workspace_id = {workspace}) AS has_renamed"
_NOT_ASKED = "false AS has_renamed"
_NO_TEXT = "NULL::bigint AS text_terms, false AS text_bounded"


@dataclass(frozen=True, slots=True)
class Composed:
    """A statement and its parameters. Its rows begin with `total_count` (one more than the bound: there are more),
    `has_renamed` (whether the workspace has fields that had another key before; it is not asked and false where
    metadata is filtered by, as the caller has the fields then), `text_terms` and `text_bounded`; the columns of the
    items follow. For an empty page there is no row, or one in which these columns are null.

    `filter_sql` with `filter_args` selects everything that the filters let through; None when the count is exact.
    Where nothing is filtered by, a column `size` says about how many items the workspace has.
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
    known: Known = Known.NOTHING,
) -> Composed:
    """The statement of the page of `query` that begins after `after`, with one row more than the page holds.

    `fields` are asked when metadata is filtered, `language` (a text search configuration) when text is; `known` is
    what an earlier statement found. Raises `InvalidInput` for metadata that cannot be filtered so.
    """
    values, order, filters = Parameters(), Order.of(query.sort), query.filters
    workspace = values.add(workspace_id, "uuid")
    conditions = _conditions(filters, order, fields, workspace, values)
    if filters.text is not None:
        rows = query.page_size + 1
        text = TextPage(conditions, workspace, order, values, filters.text, language, after, rows, COLUMNS)
        return _composed_text(*text.of_every_word(), _has_renamed(filters, workspace), order, values)
    everything, filtered = f"SELECT FROM datalane.items i WHERE {conditions.text}", tuple(values.values)
    told = f"{_has_renamed(filters, workspace)}, {_NO_TEXT}"
    page = _page(query, conditions, workspace, order, values, after)
    if known is Known.FEW:
        return Composed(page.read(told), tuple(values.values))
    bound = values.add(limits.exact_count + 1, "bigint")
    count = f"(SELECT count(*) FROM ({everything} LIMIT {bound}) AS counted)"
    if conditions.far or conditions.narrow:
        tables, total = page.walked(count, known)
        sql = _framed(tables, f"{total} AS total_count, {told}", order)
        return Composed(sql, tuple(values.values), everything, filtered)
    size = "" if filters.deleted or conditions.filtered_besides else f"({_SIZE.format(workspace=workspace)}) AS size, "
    sql = f"SELECT {count} AS total_count, {size}{told}, {page.simple}"
    return Composed(sql, tuple(values.values), everything, filtered)


def compose_single(
    query: ItemQuery, fields: Fields, language: str, workspace_id: UUID, limits: Limits, after: Position | None = None
) -> Iterator[Composed]:
    """As `compose`, where one tag or one field is asked for, or one word beside them.

    The statements are to be tried in turn, and their rows say by `is_answered` whether they have the answer. Of a tag
    or a field the first one has it if the items are few, the second if they are at the beginning of the list. When it
    is false there is one row, not of an item; after the last `compose` has the statement, of items that are
    `Known.FAR` if `is_far` says so. Nothing for several tags or fields, but with a word. Raises as `compose`.
    """
    filters = query.filters
    if filters.tags is None and filters.metadata is None:
        return
    values, order = Parameters(), Order.of(query.sort)
    workspace = values.add(workspace_id, "uuid")
    conditions = _conditions(filters, order, fields, workspace, values)
    if filters.text is not None:
        if is_one_word(filters.text):
            rows = query.page_size + 1
            text = TextPage(conditions, workspace, order, values, filters.text, language, after, rows, COLUMNS)
            yield _composed_text(*text.of_one_word(), _has_renamed(filters, workspace), order, values)
        return
    if len(conditions.narrow) != 1:
        return
    filtered = tuple(values.values)
    page = _page(query, conditions, workspace, order, values, after)
    told, args = f"{_has_renamed(filters, workspace)}, {_NO_TEXT}", tuple(values.values)
    yield Composed(page.read_if_few(told), args)
    everything = f"SELECT FROM datalane.items i WHERE {conditions.text}"
    yield Composed(page.walked_if_near(told, limits.exact_count + 1), args, everything, filtered)


def _page(
    query: ItemQuery, conditions: Conditions, workspace: str, order: Order, values: Parameters, after: Position | None
) -> Page:
    further = f" AND {order.after('i', values, after)}" if after is not None else ""
    return Page(conditions, workspace, order, further, values.add(query.page_size + 1, "bigint"), _OF_ITEMS)


def plans_of(query: ItemQuery) -> Plans:
    """One plan where an index has exactly the rows, in their order: nothing is better then, whosever rows they are.

    Where one tag or one field is all that is asked for, it is that of `compose_single`. The plan of a text is given by
    how it is written, but for one word beside tags or metadata.
    """
    column, filters = Order.of(query.sort).column, query.filters
    if filters.text is not None:
        beside_narrow = filters.tags is not None or filters.metadata is not None
        return Plans.OWN if beside_narrow and is_one_word(filters.text) else Plans.ONE
    asked = filters.model_fields_set - {"deleted", column}
    ordered = getattr(filters, column)
    if ordered is not None and "in_" in ordered.model_fields_set:
        return Plans.OWN
    if not asked:
        return Plans.ONE if column == "updated_at" or not filters.deleted else Plans.OWN
    if _is_one_narrow(query):
        return Plans.ONE
    if len(asked) > 1 or not asked <= _INDEXED or column != "updated_at" or filters.deleted:
        return Plans.OWN
    [name] = asked
    return Plans.ONE if getattr(filters, name).model_fields_set == {"eq"} else Plans.OWN


def _is_one_narrow(query: ItemQuery) -> bool:
    """Whether the filters are one condition on a narrow table, and nothing on the items themselves."""
    filters = query.filters
    asked = filters.model_fields_set - {"deleted"}
    if asked == {"metadata"}:
        return len(filters.metadata or ()) == 1
    if asked != {"tags"} or filters.tags is None:
        return False
    return sum(1 if name == "any" else len(tags) for name, tags in filters.tags) == 1


def compose_probe(query: ItemQuery, fields: Fields, workspace_id: UUID) -> tuple[str, tuple[Any, ...]] | None:
    """A statement, with its parameters, whose one value says whether few rows of a narrow table are asked for.

    None when none are asked for. Raises as `compose`.
    """
    filters = query.filters
    if filters.text is not None or (filters.tags is None and not filters.metadata):
        return None
    values = Parameters()
    workspace = values.add(workspace_id, "uuid")
    narrow = list(islice(_narrow(filters, fields, workspace, values), MOST_JOINS))
    return f"SELECT {is_few(narrow)}", tuple(values.values)


def _has_renamed(filters: ItemFilters, workspace: str) -> str:
    return _HAS_RENAMED.format(workspace=workspace) if filters.metadata is None else _NOT_ASKED


def _composed_text(tables: str, told: str, has_renamed: str, order: Order, values: Parameters) -> Composed:
    told = f"{COUNTED} AS total_count, {has_renamed}, {told}"
    return Composed(_framed(tables, told, order), tuple(values.values))


def _framed(tables: str, told: str, order: Order) -> str:
    """What is told beside the table `page`; of that there is a row for an empty page as well."""
    return (
        f"WITH {tables}\nSELECT told.*, {_OF_PAGE}\nFROM (SELECT {told}) AS told\n"
        f"LEFT JOIN page ON true {order.by('page')}"
    )


def _conditions(filters: ItemFilters, order: Order, fields: Fields, workspace: str, values: Parameters) -> Conditions:
    easy = [f"i.workspace_id = {workspace}", f"i.deleted_at IS {'NOT ' if filters.deleted else ''}NULL"]
    far: list[str] = []
    beside: list[str] = []
    far_away = far_time(filters, order)
    said = filters.model_fields_set
    for name, (column, kind) in _PLAIN.items():
        if name in said and (comparisons := getattr(filters, name)) is not None:
            in_order = column == order.column or (name in _INDEXED and order.column == "updated_at")
            where = far if name == far_away else easy if in_order else beside
            where.extend(_compared(f"i.{column}", kind, comparisons, values))
    return Conditions(easy, beside, far, list(_narrow(filters, fields, workspace, values)))


def _compared(column: str, kind: str, asked: Iterable[tuple[str, Any]], values: Parameters) -> Iterator[str]:
    for name, value in asked:
        if name == "in":
            yield _one_of(column, kind, value, values)
        elif value is None:
            yield f"{column} IS NULL"
        else:
            yield f"{column} {OPERATORS[name]} {values.add(value, kind)}"


def _narrow(filters: ItemFilters, fields: Fields, workspace: str, values: Parameters) -> Iterator[Narrow]:
    for name, tags in filters.tags or ():
        if name == "any":
            yield Narrow("item_tags", workspace, _one_of("n.tag", "text", tags, values), repeats=len(tags) > 1)
        else:
            for tag in tags:
                yield Narrow("item_tags", workspace, f"n.tag = {values.add(tag, 'text')}")
    if filters.metadata is not None:
        for field in field_conditions(filters.metadata, fields):
            own = f"n.field_id = {values.add(field.field_id, 'uuid')}"
            asked = _compared(f"n.{field.column}", field.kind, field.asked, values)
            yield Narrow("item_fields", workspace, own, field.column, " AND ".join(asked))


def _one_of(column: str, kind: str, wanted: Sequence[Any], values: Parameters) -> str:
    if len(wanted) == 1:
        return f"{column} = {values.add(wanted[0], kind)}"
    return f"{column} = ANY ({values.add(wanted, f'{kind}[]')})"

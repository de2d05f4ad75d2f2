"""Pages whose items may stand far from where the list begins.

The planner takes conditions for independent of each other and of the order, and walks in the order of the list until
the page is full. They are not: what was made in March was mostly changed in March, and a walk from today passes over
everything since; two tags that never stand together are looked for to the end. So the walk goes so far and no further,
and when the page is not full then, everything that is asked for is read and sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datalane.work.query.clauses import Order
from datalane.work.query.schemas import ItemFilters, MomentFilter

MOST_STEPS = 50_000
"""Items that a walk looks at in an index of one time, which includes the other, or before all of a half-open range is
read."""
MOST_LOOKUPS = 10_000
"""Items that a walk looks up: themselves, or what they have in narrow tables."""
MOST_MISSED = 5_000
"""Items that a walk looks up for a range of a time with two ends. Where nothing is correlated, a range that has no page
of 25 among so many holds one item in 200 at most, and is sooner read than looked for."""
FEW = 5_000
"""Rows of a narrow table that are read rather than walked to."""
MOST_JOINS = 4
"""Conditions on the narrow tables that the planner may begin from. Its time grows steeply with their number (fifty take
it seconds), so that further ones only check what the first ones found."""

FILTERED = ("status", "project_id", "assignee_id", "created_by_actor_id", "priority", "created_at", "updated_at")
"""Columns of the items that are filtered by."""
_UNFILTERED = 2
"""Conditions that every list has: the workspace, and whether items are deleted."""
_TIMES = {"created_at", "updated_at"}
_UPPER, _LOWER = {"lt", "lte"}, {"gt", "gte"}


@dataclass(frozen=True, slots=True)
class Narrow:
    """A row `n` that an item must have in a narrow table: at the beginning of a plan, or looked up."""

    table: str
    workspace: str
    condition: str

    @property
    def rows(self) -> str:
        return f"SELECT {self._source}"

    @property
    def item_ids(self) -> str:
        return f"SELECT n.item_id {self._source}"

    @property
    def _source(self) -> str:
        return f"FROM datalane.{self.table} n WHERE n.workspace_id = {self.workspace} AND {self.condition}"

    @property
    def joined(self) -> str:
        return f"EXISTS ({self.rows} AND n.item_id = i.item_id)"

    @property
    def looked_up(self) -> str:
        return f"EXISTS ({self.rows} AND n.item_id = i.item_id OFFSET 0)"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What items `i` must fulfil. `easy` are met by the order's index or another one in this order, `beside` by looking
    at the items; `far` is the range of a time that a walk may be far from."""

    easy: Sequence[str]
    beside: Sequence[str]
    far: Sequence[str]
    narrow: Sequence[Narrow]

    @property
    def filtered_besides(self) -> bool:
        """Whether columns are filtered by, besides the time that is far."""
        return bool(self.beside) or len(self.easy) > _UNFILTERED

    def __str__(self) -> str:
        first, others = self.narrow[:MOST_JOINS], self.narrow[MOST_JOINS:]
        joined = [each.joined for each in first] + [each.looked_up for each in others]
        return " AND ".join([*self.easy, *self.beside, *self.far, *joined])


def far_time(filters: ItemFilters, order: Order) -> str | None:
    """The time that is filtered by in a list whose order may begin far from it; None when there is none.

    A list of the latest begins in a range without an end.
    """
    if order.column not in _TIMES:
        return next((time for time in sorted(_TIMES) if getattr(filters, time) is not None), None)
    [time] = _TIMES - {order.column}
    asked: MomentFilter | None = getattr(filters, time)
    passes_over = _UPPER if order.descending else _LOWER
    return time if asked is not None and passes_over & asked.model_fields_set else None


def is_few(narrow: Sequence[Narrow]) -> str:
    """An expression: whether one of the conditions is met by so few rows that it is best to begin with them."""
    counted = ", ".join(f"(SELECT count(*) FROM ({each.rows} LIMIT {FEW}) AS n)" for each in narrow[:MOST_JOINS])
    return f"least({counted}) < {FEW}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of `rows` items (with `columns`) in `order`; `further` says where it begins."""

    conditions: Conditions
    workspace: str
    order: Order
    further: str
    rows: str
    columns: str

    @property
    def simple(self) -> str:
        """What follows SELECT, where the planner knows best."""
        source = f"datalane.items i WHERE {self.conditions}{self.further}"
        return f"{self.columns}\nFROM {source}\n{self.order.by('i')} LIMIT {self.rows}"

    def walked(self, count: str) -> tuple[str, str]:
        """The tables up to `page`, and how many items there are: as far as a walk goes, else all that is asked for.

        `count` counts them to a bound, for when they are not all read.
        """
        is_full = f"(SELECT count(*) FROM walked) = {self.rows}"
        begun = f"walked AS MATERIALIZED ({self._walk()}),\n"
        found = f"SELECT w.item_id, w.{self.order.column} FROM walked w WHERE {is_full}\n  UNION ALL "
        if self.conditions.narrow:
            every = f"SELECT {self._sought} FROM datalane.items i WHERE NOT {is_full} AND {self.conditions}"
            hits = f"hits AS MATERIALIZED ({every})"
            tables = f"{begun}{hits},\n{self._page(found + self._first_of('hits i'))}"
            return tables, f"CASE WHEN {is_full} THEN {count} ELSE (SELECT count(*) FROM hits) END"
        rest = f"(SELECT {self._sought} FROM datalane.items i WHERE NOT {is_full} AND {self.conditions} OFFSET 0) AS i"
        return begun + self._page(found + self._first_of(rest)), count

    def read(self, told: str) -> str:
        """The statement that reads all that is asked for and counts it, with `told` in every row of the page."""
        return (
            f"WITH hits AS MATERIALIZED (SELECT {self.columns} FROM datalane.items i WHERE {self.conditions})\n"
            f"SELECT (SELECT count(*) FROM hits) AS total_count, {told}, {self.columns}\n"
            f"FROM hits i WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows}"
        )

    def read_if_few(self, told: str) -> str:
        """As `read`, where a single narrow table is asked and has few rows; that is told by `is_few`, in one row at
        least. Its plan is given by how it is written."""
        [narrow] = self.conditions.narrow
        besides = " AND ".join(self.conditions.easy)
        page = f"SELECT {self.columns} FROM hits i WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows}"
        return (
            f"WITH found AS MATERIALIZED ({narrow.item_ids} LIMIT {FEW}),\n"
            f"few AS MATERIALIZED (SELECT count(*) < {FEW} AS is_few FROM found),\n"
            f"hits AS MATERIALIZED (SELECT {self.columns} FROM datalane.items i\n"
            f"  WHERE (SELECT is_few FROM few) AND {besides} AND i.item_id IN (SELECT item_id FROM found))\n"
            f"SELECT few.is_few, (SELECT count(*) FROM hits) AS total_count, {told}, {self.columns}\n"
            f"FROM few LEFT JOIN ({page}) AS i ON true {self.order.by('i')}"
        )

    @property
    def _sought(self) -> str:
        return f"i.item_id, i.{self.order.column}"

    def _walk(self) -> str:
        every = self.conditions
        hard = [*every.beside, *every.far, *(each.looked_up for each in every.narrow)]
        in_the_index = not every.filtered_besides and self.order.column in _TIMES
        is_closed = len(every.far) > 1 and not in_the_index
        steps = MOST_LOOKUPS if every.narrow else MOST_MISSED if is_closed else MOST_STEPS
        return (
            f"SELECT {self._sought} FROM (\n"
            f"    SELECT i.item_id, {', '.join(f'i.{column}' for column in FILTERED)} FROM datalane.items i\n"
            f"    WHERE {' AND '.join(every.easy)}{self.further} {self.order.by('i')} LIMIT {steps}) AS i\n"
            f"  WHERE {' AND '.join(hard)} {self.order.by('i')} LIMIT {self.rows}"
        )

    def _first_of(self, source: str) -> str:
        return f"(SELECT {self._sought} FROM {source} WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows})"

    def _page(self, found: str) -> str:
        return (
            f"page AS MATERIALIZED (SELECT {self.columns} FROM ({found}) AS found\n"
            f"  JOIN datalane.items i ON i.workspace_id = {self.workspace} AND i.item_id = found.item_id)"
        )

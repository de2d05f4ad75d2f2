"""Pages whose items may stand far from where the list begins.

The planner takes conditions for independent of each other and of the order, and walks in the order of the list until
the page is full. They are not: what was made in March was mostly changed in March, and a walk from today passes over
everything since; two tags that never stand together are looked for to the end. So the walk goes so far and no further,
and when the page is not full then, everything that is asked for is read and sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from datalane.work.query.clauses import Order
from datalane.work.query.schemas import ItemFilters, MomentFilter

MOST_STEPS = 50_000
"""Items that a walk looks at in an index of one time, which includes the other, or before all of a half-open range is
read."""
MOST_LOOKUPS = 10_000
"""Items that a walk looks up: themselves, or what they have in a narrow table."""
MOST_LOOKUPS_OF_SEVERAL = 2_500
"""As many, where they are looked up in several narrow tables. What two ask for is met together seldom, or so often that
the page is full by then."""
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


class Known(Enum):
    """What an earlier statement has found out about the items that are asked for."""

    NOTHING = auto()
    FEW = auto()
    """They are so few that they are read at once."""
    FAR = auto()
    """A walk ends before it has a page of them."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """A row `n` that an item must have in a narrow table: at the beginning of a plan, or looked up.

    An item has one row of a `key`, unless it `repeats`; `asked` is a condition on the row's `value`, where it has one.
    """

    table: str
    workspace: str
    key: str
    value: str = ""
    asked: str = ""
    repeats: bool = False

    @property
    def item_ids(self) -> str:
        return f"SELECT n.item_id {self._source}{self._and_asked}"

    @property
    def rows(self) -> str:
        return f"SELECT {self._source}{self._and_asked}"

    @property
    def joined(self) -> str:
        """As a semi-join, which the planner may begin from either side."""
        return f"EXISTS ({self.rows} AND n.item_id = i.item_id)"

    @property
    def looked_up(self) -> str:
        """By the key and the item, never by the value: a plan for any value would expect few rows to have it."""
        its = f"{self._source} AND n.item_id = i.item_id OFFSET 0"
        if not self.asked:
            return f"EXISTS (SELECT {its})"
        return f"EXISTS (SELECT FROM (SELECT n.{self.value} {its}) AS n WHERE {self.asked})"

    @property
    def _source(self) -> str:
        return f"FROM datalane.{self.table} n WHERE n.workspace_id = {self.workspace} AND {self.key}"

    @property
    def _and_asked(self) -> str:
        return f" AND {self.asked}" if self.asked else ""


@dataclass(frozen=True)
class Conditions:
    """What items `i` must fulfil. `easy` are met by the order's index or another one in this order, `beside` by looking
    at the items; `far` is the range of a time that a walk may be far from."""

    easy: Sequence[str]
    beside: Sequence[str]
    far: Sequence[str]
    narrow: Sequence[Narrow]

    @property
    def plain(self) -> list[str]:
        """What the columns of the items must fulfil."""
        return [*self.easy, *self.beside, *self.far]

    @property
    def filtered_besides(self) -> bool:
        """Whether columns are filtered by, besides the time that is far."""
        return bool(self.beside) or len(self.easy) > _UNFILTERED

    @property
    def joined(self) -> list[str]:
        """What rows of narrow tables there must be, the first ones for the planner to begin from."""
        if not self.narrow:
            return []
        first, others = self.narrow[:MOST_JOINS], self.narrow[MOST_JOINS:]
        return [each.joined for each in first] + [each.looked_up for each in others]

    @cached_property
    def text(self) -> str:
        return " AND ".join([*self.plain, *self.joined])


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
        source = f"datalane.items i WHERE {self.conditions.text}{self.further}"
        return f"{self.columns}\nFROM {source}\n{self.order.by('i')} LIMIT {self.rows}"

    def walked(self, count: str, known: Known) -> tuple[str, str]:
        """The tables up to `page`, and how many items there are: as far as a walk goes, else all that is asked for.

        `count` counts them to a bound, for when they are not all read.
        """
        is_full = f"(SELECT count(*) FROM walked) = {self.rows}"
        begun = f"walked AS MATERIALIZED ({self._walk(0 if known is Known.FAR else self._most_steps)}),\n"
        found = f"SELECT w.item_id, w.{self.order.column} FROM walked w WHERE {is_full}\n  UNION ALL "
        every = f"SELECT {self._sought} FROM datalane.items i WHERE NOT {is_full} AND {self.conditions.text}"
        if not self.conditions.narrow:
            return begun + self._page(found + self._first_of(f"({every} OFFSET 0) AS i")), count
        tables = f"{begun}hits AS MATERIALIZED ({every}),\n{self._page(found + self._first_of('hits i'))}"
        return tables, f"CASE WHEN {is_full} THEN {count} ELSE (SELECT count(*) FROM hits) END"

    def read(self, told: str) -> str:
        """The statement that reads all that is asked for and counts it, with `told` in every row of the page."""
        return (
            f"WITH hits AS MATERIALIZED (SELECT {self.columns} FROM datalane.items i WHERE {self.conditions.text})\n"
            f"SELECT (SELECT count(*) FROM hits) AS total_count, {told}, {self.columns}\n"
            f"FROM hits i WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows}"
        )

    def read_if_few(self, told: str) -> str:
        """As `read`, where a single narrow table is asked and fewer than `FEW` of its rows are meant. When more are,
        `is_answered` is false, in a row without an item.

        Where no column is filtered by, its plan is given by how it is written.
        """
        [narrow] = self.conditions.narrow
        plain = " AND ".join(self.conditions.plain)
        first = f"SELECT {self.columns} FROM hits i WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows}"
        return (
            f"WITH few AS MATERIALIZED (\n"
            f"  SELECT count(*) = 0 AS is_few FROM ({narrow.rows} OFFSET {FEW - 1} LIMIT 1) AS last),\n"
            f"hits AS MATERIALIZED (SELECT {self.columns} FROM datalane.items i\n"
            f"  WHERE (SELECT is_few FROM few) AND {plain} AND i.item_id IN ({narrow.item_ids} LIMIT {FEW}))\n"
            f"SELECT few.is_few AS is_answered, (SELECT count(*) FROM hits) AS total_count, {told}, {self.columns}\n"
            f"FROM few LEFT JOIN ({first}) AS i ON true {self.order.by('i')}"
        )

    def walked_if_near(self, told: str, bound: int) -> str:
        """The page that a walk fills where many rows of a single narrow table are meant; up to `bound` items counted.
        `is_answered` is false, in a row without an item, when it fills none (`is_far`), or fewer are counted.

        Its plan is given as that of `read_if_few`.
        """
        [narrow] = self.conditions.narrow
        plain = " AND ".join(self.conditions.plain)
        is_full = f"(SELECT count(*) FROM walked) = {self.rows}"
        found = f"{narrow.item_ids} LIMIT {max(FEW, bound)}"
        ids = f"SELECT DISTINCT item_id FROM ({found}) AS f" if narrow.repeats else found
        return (
            f"WITH walked AS MATERIALIZED ({self._walk(self._most_steps)}),\n"
            f"counted AS MATERIALIZED (SELECT count(*) AS items FROM (SELECT FROM ({ids}) AS f\n"
            f"  JOIN datalane.items i ON i.item_id = f.item_id AND {plain} WHERE {is_full} LIMIT {bound}) AS c),\n"
            f"page AS MATERIALIZED (SELECT {self.columns} FROM walked\n"
            f"  JOIN datalane.items i ON i.workspace_id = {self.workspace} AND i.item_id = walked.item_id\n"
            f"  WHERE (SELECT items FROM counted) = {bound})\n"
            f"SELECT counted.items = {bound} AS is_answered, NOT {is_full} AS is_far, counted.items AS total_count,\n"
            f"  {told}, {self.columns}\nFROM counted LEFT JOIN page AS i ON true {self.order.by('i')}"
        )

    @property
    def _sought(self) -> str:
        return f"i.item_id, i.{self.order.column}"

    @property
    def _most_steps(self) -> int:
        every = self.conditions
        in_the_index = not every.filtered_besides and self.order.column in _TIMES
        is_closed = len(every.far) > 1 and not in_the_index
        if every.narrow:
            return MOST_LOOKUPS if len(every.narrow) == 1 else MOST_LOOKUPS_OF_SEVERAL
        return MOST_MISSED if is_closed else MOST_STEPS

    def _walk(self, steps: int, provided: str = "true") -> str:
        """The first `rows` among so many items of the order, `provided` an expression that is checked once."""
        every = self.conditions
        hard = [*every.beside, *every.far, *(each.looked_up for each in every.narrow)]
        return (
            f"SELECT {self._sought} FROM (\n"
            f"    SELECT i.item_id, {', '.join(f'i.{column}' for column in FILTERED)} FROM datalane.items i\n"
            f"    WHERE {provided} AND {' AND '.join(every.easy)}{self.further} {self.order.by('i')}\n"
            f"    LIMIT {steps}) AS i\n"
            f"  WHERE {' AND '.join(hard)} {self.order.by('i')} LIMIT {self.rows}"
        )

    def _first_of(self, source: str) -> str:
        return f"(SELECT {self._sought} FROM {source} WHERE true{self.further} {self.order.by('i')} LIMIT {self.rows})"

    def _page(self, found: str) -> str:
        return (
            f"page AS MATERIALIZED (SELECT {self.columns} FROM ({found}) AS found\n"
            f"  JOIN datalane.items i ON i.workspace_id = {self.workspace} AND i.item_id = found.item_id)"
        )

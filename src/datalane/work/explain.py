"""How the database answers each shape of a query: the plan it takes, the indexes that it reads, and the time.

The statements are those of the query API, through the tenant door, so row-level security is part of the plan. EXPLAIN
plans with the values at hand, as the API's statements are planned. An index that no shape reads may still be needed: a
primary key and a unique index keep the data right.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection
from datalane.engine.search.language import search_language
from datalane.work.fields.definitions import load_fields
from datalane.work.query.compose import Composed
from datalane.work.query.service import fetch_page
from datalane.work.query.shapes import shapes
from datalane.work.samples import read_items, typical

RUNS = 7
QUERIED = ("items", "item_tags", "item_fields", "field_aliases", "search_postings")
"""Tables that the shapes read, in the schema `datalane`."""
TABLES = (*QUERIED, "projects", "field_definitions", "timeline", "personal_views", "shared_views")

_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
_queries = load_queries(__file__, "explain.sql")

Node = Mapping[str, Any]
Told = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Explained:
    """One shape. `plan` names the steps from the inside out, `indexes` those that were read. Times are milliseconds of
    planning and execution over `runs` runs; `blocks` are the 8 KiB blocks of the last run."""

    shape: str
    plan: str
    indexes: tuple[str, ...]
    rows: int
    p50: float
    p95: float
    runs: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Index:
    """`size` in bytes. `scans` since the statistics began. `is_queried`: of a table that the shapes read."""

    table: str
    name: str
    kind: str
    size: int
    scans: int
    is_queried: bool
    shapes: tuple[str, ...]

    @property
    def is_only_read(self) -> bool:
        """Nothing but speed depends on it."""
        return self.kind == "index"


@dataclass(frozen=True, slots=True)
class Explanation:
    workspace_id: UUID
    items: int
    shapes: tuple[Explained, ...]
    indexes: tuple[Index, ...]

    @property
    def without_shape(self) -> list[Index]:
        """Indexes of the queried tables that no shape reads and nothing but speed depends on."""
        return [index for index in self.indexes if index.is_only_read and index.is_queried and not index.shapes]

    @property
    def never_scanned(self) -> list[Index]:
        return [index for index in self.indexes if index.is_only_read and index.scans == 0]


async def explain_shapes(
    database: Database, workspace_id: UUID, runs: int = RUNS, told: Told = lambda done, total: None
) -> Explanation:
    """Every shape in one workspace, as the lane itself; `told` hears how many shapes are done, of how many.

    Raises `NotFound` for a workspace without items.
    """
    context, explained = Context.system(workspace_id), []
    async with database.transaction(context) as tx:
        statements = await _statements(tx)
        items = await count_items(tx)
    for done, (name, composed) in enumerate(statements):
        told(done, len(statements))
        async with database.transaction(context, plans=Plans.OWN) as tx:
            explained.append(await _explain(tx, name, composed, runs))
    async with database.transaction(context) as tx:
        indexes = await _indexes(tx, explained)
    return Explanation(workspace_id, items, tuple(explained), indexes)


async def count_items(tx: Transaction) -> int:
    """How many items the workspace has, as its search index counts them."""
    return int(
        await _queries.count_indexed(tx.connection, workspace_id=tx.workspace_id, collection=int(Collection.ITEMS))
    )


async def _statements(tx: Transaction) -> list[tuple[str, Composed]]:
    fields, language = await load_fields(tx), await search_language(tx)
    samples = typical(await read_items(tx), fields)
    return [(shape.name, (await fetch_page(tx, shape.query, fields, language))[0]) for shape in shapes(samples)]


async def _explain(tx: Transaction, name: str, composed: Composed, runs: int) -> Explained:
    """The first run warms up and is not counted."""
    times: list[float] = []
    answer: Node = {}
    for number in range(runs + 1):
        [answer] = orjson.loads(await tx.fetchval(_EXPLAIN + composed.sql, *composed.args))
        if number:
            times.append(float(answer["Planning Time"]) + float(answer["Execution Time"]))
    root = answer["Plan"]
    done = [node for node in _nodes(root) if node.get("Actual Loops", 0) > 0]
    return Explained(
        shape=name,
        plan=_in_one_line(done),
        indexes=tuple(sorted({node["Index Name"] for node in done if "Index Name" in node})),
        rows=int(root["Actual Rows"]),
        p50=statistics.median(times),
        p95=sorted(times)[math.ceil(len(times) * 0.95) - 1],
        runs=runs,
        blocks=int(root["Shared Hit Blocks"]) + int(root["Shared Read Blocks"]),
    )


def _nodes(node: Node) -> Iterator[Node]:
    """From the inside out."""
    for each in node.get("Plans", ()):
        yield from _nodes(each)
    yield node


_SHOWN = ("Scan", "Sort", "Join", "Loop", "Bitmap")
_LEFT_OUT = ("Subquery Scan", "Function Scan", "CTE Scan", "Bitmap Heap Scan", "Result", "WorkTable Scan")


def _in_one_line(nodes: Sequence[Node]) -> str:
    """Scans with what they read, joins and sorts, in their order; a step that is repeated at once is said once."""
    steps: list[str] = []
    for node in nodes:
        kind = node["Node Type"]
        if kind in _LEFT_OUT or not any(word in kind for word in _SHOWN):
            continue
        read = node.get("Index Name") or node.get("Relation Name")
        step = f"{kind.lower()} {read}" if read else kind.lower()
        if not steps or steps[-1] != step:
            steps.append(step)
    return ", ".join(steps) or "no table"


async def _indexes(tx: Transaction, explained: Sequence[Explained]) -> tuple[Index, ...]:
    rows = await _queries.list_indexes(tx.connection, tables=list(TABLES))
    return tuple(
        Index(
            row["table_name"],
            row["index_name"],
            row["kind"],
            row["size"],
            row["scans"],
            row["table_name"] in QUERIED,
            tuple(each.shape for each in explained if row["index_name"] in each.indexes),
        )
        for row in rows
    )

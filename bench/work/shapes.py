"""Every shape of the query API in turns with SQL written by hand, on the same rows with the same values.

The SQL written by hand goes straight to the database as a login that no policy holds. Ours is the composed statement
inside an open door, and the service with the door around it.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench.cores import one_core_for_both
from bench.work.ground import Ground, opened
from datalane.contracts.context import Context
from datalane.contracts.storable import read_date
from datalane.db.database import Database, prepare_connection
from datalane.db.transaction import DEFAULT_LIMITS
from datalane.engine.search.language import search_language
from datalane.work.fields.definitions import Fields, load_fields
from datalane.work.query.compose import COLUMNS, plans_of
from datalane.work.query.service import fetch_page, list_items
from datalane.work.query.shapes import Samples, Shape, shapes
from datalane.work.samples import of_item, read_items

_COUNTED = DEFAULT_LIMITS.exact_count + 1
_ROWS = 26
_WARM_UP = 5
_SHORT_SECONDS, _MORE_RUNS = 0.01, 8
"""A shape that takes less is run more often: of a millisecond, a 95th percentile of 100 runs is five of them."""
PASSES = 5
"""Each shape has its runs in as many parts, with the others between: a bad second of the machine falls on one."""
_TRIALS = 8
"""Runs by which a plan is chosen: the server itself may change to a general plan after five."""
_PLANS = {
    "auto": "RESET ALL",
    "own": "RESET ALL; SET plan_cache_mode = force_custom_plan; SET jit = off",
    "own, cheap pages": "RESET ALL; SET plan_cache_mode = force_custom_plan; SET jit = off; SET random_page_cost = 1.1",
}
"""How whoever writes SQL by hand may have it planned; each shape gets what is fastest for it."""
_LISTED = ", ".join(f"i.{column}" for column in COLUMNS)


@dataclass
class Times:
    """Seconds of each of the `runs` of one shape. `plans` is how the SQL written by hand was planned, `faults` are runs
    in which the two sides answered other rows."""

    shape: str
    plans: str = ""
    runs: int = 0
    hand: list[float] = field(default_factory=list)
    composed: list[float] = field(default_factory=list)
    service: list[float] = field(default_factory=list)
    faults: int = 0
    bounded: int = 0


@dataclass(frozen=True)
class HandWritten:
    sql: str
    names: tuple[str, ...]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] for name in self.names]


def read_hand_written() -> dict[str, HandWritten]:
    """The statements of ``shapes.sql`` by the name of their shape, with the names of their values in order."""
    found = {}
    for part in Path(__file__).with_suffix(".sql").read_text().split("-- shape: ")[1:]:
        name, body = part.split("\n", 1)
        names: list[str] = []

        def number(match: re.Match[str], names: list[str] = names) -> str:
            if match[1] not in names:
                names.append(match[1])
            return f"${names.index(match[1]) + 1}"

        found[name] = HandWritten(re.sub(r"(?<!:):([a-z_]+)", number, page_of(body.strip())), tuple(names))
    return found


def page_of(body: str) -> str:
    """A whole statement as it is; of `FROM … WHERE … ORDER BY …` the page and the count."""
    if not body.startswith("FROM"):
        return body.replace("{columns}", _LISTED)
    source, order = body.rsplit("ORDER BY", 1)
    count = f"SELECT count(*) FROM (SELECT {source} LIMIT {_COUNTED}) AS counted"
    return f"SELECT {_LISTED}, ({count}) AS total_count {source} ORDER BY {order} LIMIT {_ROWS}"


def values_of(samples: Samples, fields: Fields, ground: Ground) -> dict[str, Any]:
    """What the statements name, from what the shapes look for."""
    values: dict[str, Any] = {
        "workspace_id": ground.workspace_id,
        "project_id": samples.project_id,
        "assignee_id": samples.assignee_id,
        "created_by": samples.created_by,
        "since": samples.since,
        "until": samples.since + timedelta(days=7),
        "tags": list(samples.tags),
        "first_tag": samples.tags[0],
        "second_tag": samples.tags[1],
        "last_tag": samples.tags[-1],
        "first_word": samples.words[0],
        "second_word": samples.words[1],
    }
    for kind, (key, value) in samples.fields.items():
        values[f"{kind}_field"] = fields.by_key[key].field_id
        values[f"{kind}_value"] = read_date(value) if kind == "date" else float(value) if kind == "number" else value
    return values


async def time_shapes(ground: Ground, runs: int, only: Sequence[str] = ()) -> list[Times]:
    """Each shape `runs` times on each side (a short one more often), with the values of another item in every run."""
    written = read_hand_written()
    plain = await asyncpg.connect(ground.plain_url)
    await prepare_connection(plain)
    try:
        async with opened(ground.prepared, size=1) as database:
            context = Context.system(ground.workspace_id)
            async with database.transaction(context) as tx:
                fields, rows, language = await load_fields(tx), await read_items(tx), await search_language(tx)
                servers = [tx.connection.get_server_pid(), plain.get_server_pid()]
            of_run = [of_item(n * 7, rows, fields) for n in range(runs * _MORE_RUNS + _WARM_UP)]
            names = [shape.name for shape in shapes(of_run[0]) if not only or shape.name in only]
            _require_all(names, written)
            turn = _Turn(database, plain, ground, fields, language)
            found = {name: Times(name) for name in names}
            with one_core_for_both(servers):
                for part in range(PASSES):
                    for times in found.values():
                        await _take_part(turn, times, written[times.shape], of_run, runs, part)
                    print(f"  pass {part + 1} of {PASSES} over {len(names)} shapes", file=sys.stderr, flush=True)
            return list(found.values())
    finally:
        await plain.close()


async def _take_part(
    turn: _Turn, times: Times, written: HandWritten, of_run: Sequence[Samples], runs: int, part: int
) -> None:
    """One part of the runs of a shape, after some that are not counted. How it is planned by hand, the first tells."""
    if not times.plans:
        trials = [values_of(samples, turn.fields, turn.ground) for samples in of_run[:_TRIALS]]
        times.plans = await _fastest_plans(turn.plain, written, trials)
    await turn.plain.execute(f"{_PLANS[times.plans]}; DISCARD PLANS")
    warm = await _take_turns(turn, Times(times.shape), written, of_run[:_WARM_UP])
    if not times.runs:
        is_short = max(warm.hand[-1], warm.composed[-1]) < _SHORT_SECONDS
        times.runs = runs * (_MORE_RUNS if is_short else 1)
    await _take_turns(turn, times, written, of_run[_WARM_UP:][part_of(times.runs, part)])


def part_of(runs: int, part: int) -> slice:
    """Which of so many runs a part is."""
    return slice(runs * part // PASSES, runs * (part + 1) // PASSES)


async def _fastest_plans(plain: asyncpg.Connection, written: HandWritten, values: Sequence[Mapping[str, Any]]) -> str:
    """The setting of plans with the lowest median of the last runs; the connection is left with it."""
    medians: dict[str, float] = {}
    for name, setting in _PLANS.items():
        await plain.execute(f"{setting}; DISCARD PLANS")
        seconds = []
        for each in values:
            began = time.perf_counter()
            await plain.fetch(written.sql, *written.arguments(each))
            seconds.append(time.perf_counter() - began)
        medians[name] = statistics.median(seconds[_TRIALS // 2 :])
    best = min(medians, key=lambda name: medians[name])
    await plain.execute(_PLANS[best])
    return best


@dataclass(frozen=True)
class _Turn:
    database: Database
    plain: asyncpg.Connection
    ground: Ground
    fields: Fields
    language: str

    async def take(self, shape: Shape, written: HandWritten, samples: Samples, times: Times, ours_first: bool) -> None:
        arguments = written.arguments(values_of(samples, self.fields, self.ground))
        context = Context.system(self.ground.workspace_id)
        ours: list[Any] = []
        if ours_first:
            ours = await self._composed(shape, context, times)
        began = time.perf_counter()
        theirs = await self.plain.fetch(written.sql, *arguments)
        times.hand.append(time.perf_counter() - began)
        if not ours_first:
            ours = await self._composed(shape, context, times)
        began = time.perf_counter()
        async with self.database.transaction(context, plans=plans_of(shape.query)) as tx:
            page = await list_items(tx, shape.query)
        times.service.append(time.perf_counter() - began)
        times.bounded += page.text_bounded
        mine = [row["item_id"] for row in ours if row["item_id"] is not None]
        if mine != [row["item_id"] for row in theirs] and not page.text_bounded:
            times.faults += 1

    async def _composed(self, shape: Shape, context: Context, times: Times) -> list[Any]:
        async with self.database.transaction(context, plans=plans_of(shape.query)) as tx:
            began = time.perf_counter()
            _, rows = await fetch_page(tx, shape.query, self.fields, self.language)
            times.composed.append(time.perf_counter() - began)
        return rows


async def _take_turns(turn: _Turn, times: Times, written: HandWritten, of_run: Sequence[Samples]) -> Times:
    asked = [next(each for each in shapes(samples) if each.name == times.shape) for samples in of_run]
    for run, (shape, samples) in enumerate(zip(asked, of_run, strict=True)):
        await turn.take(shape, written, samples, times, ours_first=run % 2 == 0)
    return times


def _require_all(names: Sequence[str], written: Mapping[str, HandWritten]) -> None:
    missing = [name for name in names if name not in written]
    if missing:
        raise RuntimeError(f"shapes.sql has nothing for {', '.join(missing)}")

"""What the index finds and costs, and what the neighbour's load costs the small ones."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from bench.neighbour.ground import Ground
from bench.neighbour.load import Load
from datalane.contracts.context import Context
from datalane.db.roles import Roles
from datalane.knowledge.methods import Method
from datalane.knowledge.models.in_use import Searched, searched_model
from datalane.knowledge.own_indexes.promotion import Promotion
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import retrieve, search_semantic
from datalane.knowledge.vectors import to_wire
from datalane.settings import SearchSettings

ROUNDS = 8
_QUERIES = 250
"""Of the small workspaces in one round, half of it before and half of it under load."""
_FOUND = 10


@dataclass
class Small:
    """Seconds of queries of the small workspaces: alone, beside a build, and beside the neighbour's queries."""

    alone: list[float] = field(default_factory=list)
    building: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)


@dataclass
class Own:
    """The large workspace's index; `recall` is of the questions' best ten, seconds are of one search by each."""

    build_seconds: float
    measured: float
    effort: int
    recall: float = 0.0
    own: list[float] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)


class Asking:
    """Questions to the small workspaces, one after the other."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._turns: Iterator[tuple[UUID, str, Method]] = zip(
            itertools.cycle(ground.small), itertools.cycle(ground.questions), itertools.cycle(Method), strict=False
        )

    async def ask(self, seconds: list[float], queries: int) -> None:
        for workspace_id, text, method in itertools.islice(self._turns, queries):
            began = time.perf_counter()
            async with self._ground.lane.transaction(Context.system(workspace_id)) as tx:
                await retrieve(
                    tx, QueryVectors(self._ground.knowledge.providers, text), Query(query=text, method=method)
                )
            seconds.append(time.perf_counter() - began)


async def promote(ground: Ground, asking: Asking, small: Small) -> Own:
    """Build and measure as the maintenance process does, while the small workspaces go on."""
    connection = await asyncpg.connect(ground.prepared.maintenance_url)
    try:
        began = time.perf_counter()
        building = asyncio.create_task(Promotion(SearchSettings(), Roles()).keep(connection))
        while not building.done():
            await asking.ask(small.building, 1)
        await building
        [row] = await connection.fetch("SELECT status, recall FROM datalane.plan_vector_indexes(10000, 100)")
    finally:
        await connection.close()
    async with ground.lane.transaction(Context.system(ground.large)) as tx:
        own = await searched_model(tx, ground.knowledge.providers.usual)
    if own.index_effort is None:
        raise RuntimeError(f"the index is {row['status']}, recall {row['recall']}")
    return Own(time.perf_counter() - began, row["recall"], own.index_effort)


async def time_own(ground: Ground, index: Own) -> None:
    """The questions by the index and exactly, in turns."""
    found = 0
    for text in ground.questions:
        [vector] = to_wire(ground.knowledge.embedder.embed([text]))
        async with ground.lane.transaction(Context.system(ground.large)) as tx:
            model = await searched_model(tx, ground.knowledge.providers.usual)
            began = time.perf_counter()
            own = await search_semantic(tx, model, vector, _FOUND)
            index.own.append(time.perf_counter() - began)
            began = time.perf_counter()
            exact = await search_semantic(tx, Searched(model.model_version), vector, _FOUND)
            index.exact.append(time.perf_counter() - began)
        found += len(own.keys() & exact.keys())
    index.recall = found / (_FOUND * len(ground.questions))


async def time_small(asking: Asking, small: Small, load: Load) -> None:
    """In rounds without and with the neighbour's load."""
    await asking.ask([], _QUERIES)
    for turn in range(2 * ROUNDS):
        loaded = turn % 2 == 1
        if loaded:
            load.on.set()
        await asking.ask(small.loaded if loaded else small.alone, _QUERIES)
        load.on.clear()


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]

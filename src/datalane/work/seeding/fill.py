"""Writing a plan into a lane: slices over several connections, each in a transaction of its own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import UUID

from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection, add_entries
from datalane.engine.search.language import hold_search_language
from datalane.errors import Conflict
from datalane.settings import SessionSettings
from datalane.work.seeding.ground import Place, add_ground, find_owner, found_small, lay_large
from datalane.work.seeding.plan import BEGAN, ITEMS_EACH, STEP, Plan, words

CONNECTIONS = max(2, min(8, os.cpu_count() or 2))
TABLES = (
    "items", "item_tags", "item_fields", "timeline", "projects", "search_postings", "search_entries", "search_totals",
)  # fmt: skip
"""What a seed fills, in the schema `datalane`."""

_FOR_A_SLICE = "SET LOCAL synchronous_commit = off; SET LOCAL work_mem = '64MB'; SET LOCAL jit = off"
"""Nobody waits for the answer of a slice, and one that is lost is made again."""

_queries = load_queries(__file__)

Told = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Seeded:
    """What stands in the lane now. `password` is None when an earlier call had made the account."""

    workspace_id: UUID
    email: str
    password: str | None
    items: int
    workspaces: int
    items_each: int
    added: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Slice:
    place: Place
    salt: int
    first: int
    last: int
    with_ground: bool

    @property
    def size(self) -> int:
        return self.last - self.first + 1


async def seed_work(
    database: Database, plan: Plan, sessions: SessionSettings, told: Told = lambda done, total: None
) -> Seeded:
    """Make what the plan says and is not there yet; `told` hears how many items are, of how many.

    Raises `Conflict` when everything is there, or when the same seed was planted with other numbers.
    """
    began = time.perf_counter()
    owner = await find_owner(database, plan, sessions)
    large = await lay_large(database, plan, owner, sessions)
    missing = [each async for each in _missing(database, plan, large, await found_small(database, plan, sessions))]
    progress = _Progress(plan.total, sum(each.size for each in missing), told)
    added = await _fill(database, missing, progress)
    if not added:
        raise Conflict(
            f"seed {plan.seed} is in this lane already, all {plan.total:,} items of it, most of them in the workspace "
            f"{owner.workspace_id}; give another --seed to add as much again"
        )
    async with database.transaction(large.context) as tx:
        await _queries.settle(tx.connection, workspace_id=tx.workspace_id, project_id=large.projects[0])
    return Seeded(
        owner.workspace_id,
        owner.email,
        owner.password,
        plan.items,
        plan.workspaces,
        ITEMS_EACH,
        added,
        time.perf_counter() - began,
    )


class _Progress:
    def __init__(self, total: int, missing: int, told: Told) -> None:
        self._total, self._done, self._told = total, total - missing, told
        self.added = 0

    def pass_over(self, count: int) -> None:
        self._done += count
        self._told(self._done, self._total)

    def add(self, count: int) -> None:
        self.added += count
        self.pass_over(count)


async def _missing(database: Database, plan: Plan, large: Place, small: list[Place]) -> AsyncIterator[_Slice]:
    """The slices of the large workspace that are not there, and a slice for each small one, which looks itself."""
    slices = list(plan.slices())
    async with database.transaction(large.context) as tx:
        rows = await _queries.slices_there(
            tx.connection,
            workspace_id=tx.workspace_id,
            firsts=[first for first, _ in slices],
            began=BEGAN,
            step=STEP,
        )
    there = {row["first"] for row in rows}
    for first, last in slices:
        if first not in there:
            yield _Slice(large, plan.salt, first, last, with_ground=False)
    for index, place in enumerate(small):
        first = index * ITEMS_EACH
        yield _Slice(place, plan.small_salt, first, first + ITEMS_EACH - 1, with_ground=True)


async def _fill(database: Database, slices: list[_Slice], progress: _Progress) -> int:
    """How many items were added. The first error of one connection stops the others."""
    waiting = iter(slices)

    async def work() -> None:
        for each in waiting:
            if await _add(database, each):
                progress.add(each.size)
            else:
                progress.pass_over(each.size)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return progress.added


async def _add(database: Database, each: _Slice) -> bool:
    """One slice, whole or not at all; False for a small workspace that has its items."""
    async with database.transaction(each.place.context) as tx:
        await tx.execute(_FOR_A_SLICE)
        if each.with_ground and not await add_ground(tx, each.place):
            return False
        await _add_items(tx, each)
        found = await _queries.texts_of_slice(
            tx.connection, workspace_id=tx.workspace_id, first=each.first, last=each.last, began=BEGAN, step=STEP
        )
        language = await hold_search_language(tx)
        await add_entries(tx, Collection.ITEMS, found["item_ids"], found["texts"], language)
    return True


async def _add_items(tx: Transaction, each: _Slice) -> None:
    team, cost, due = each.place.fields
    await _queries.add_items(
        tx.connection,
        workspace_id=tx.workspace_id,
        salt=each.salt,
        first=each.first,
        last=each.last,
        began=BEGAN,
        step=STEP,
        words=words(),
        projects=each.place.projects,
        people=each.place.people,
        team_field=team,
        cost_field=cost,
        due_field=due,
        correlation_id=each.place.context.correlation_id,
    )

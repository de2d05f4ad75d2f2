"""Times of reads and transactions, two contenders in turns, and round trips, counted on the wire.

Who is compared is always two, with the same arguments: a third one that reads the same table would warm the caches of
one side only.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.relay import open_relay
from bench.wall.ground import PAGE_READ, PLAIN, READS, WALL, WORKSPACES, Ground, context_of
from datalane.contracts.context import Context
from datalane.db.database import Database

READ_TARGET = 1.1

Work = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Plan:
    """Each round visits so many workspaces and takes so many turns in each."""

    rounds: int
    visits: int
    turns: int


@dataclass
class Pair:
    """Seconds that two contenders took for one subject, by round. `at_most` is the target of ours over theirs."""

    subject: str
    ours: str
    theirs: str
    at_most: float | None = None
    rounds: list[tuple[list[float], list[float]]] = field(default_factory=list)

    async def take_turn(self, turn: int, ours: Work, theirs: Work) -> None:
        """Each once, the other one first in the next turn."""
        our_times, their_times = self.rounds[-1]
        for work, times in ((ours, our_times), (theirs, their_times))[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            await work()
            times.append(time.perf_counter() - began)


@asynccontextmanager
async def connections(url: str) -> AsyncIterator[tuple[Database, Database]]:
    """One connection for the door and one for who goes without, of the same kind."""
    door, bare = await Database.connect(url, size=1), await Database.connect(url, size=1)
    try:
        yield door, bare
    finally:
        await door.close()
        await bare.close()


async def time_reads(door: Database, ground: Ground, plan: Plan) -> list[Pair]:
    """The query alone, both sides inside the same open door: they differ in the table, or also in the predicate."""
    choice = random.Random(1)
    pairs = {(read, True): Pair(read.title, "wall", "plain", READ_TARGET) for read in READS}
    pairs |= {(read, False): Pair(read.title, "policy alone", "plain") for read in READS}
    for workspace in _visits(plan, pairs.values(), choice):
        async with door.transaction(context_of(workspace)) as tx:
            fetch = tx.connection.fetch
            for (read, says_workspace), pair in pairs.items():
                ours = read.sql(WALL, says_workspace=says_workspace)
                for turn in range(plan.turns):
                    argument = ground.argument(read, workspace, choice)
                    ours_with = (workspace, argument) if says_workspace else (argument,)
                    theirs = partial(fetch, read.sql(PLAIN), workspace, argument)
                    await pair.take_turn(turn, partial(fetch, ours, *ours_with), theirs)
    return list(pairs.values())


async def time_transactions(door: Database, bare: Database, ground: Ground, plan: Plan) -> list[Pair]:
    """Connection from the pool, open, a page of 25 rows, commit, connection back."""
    choice = random.Random(2)
    subject = "a transaction with the page"
    pairs = [
        Pair(subject, "door, wall", "door, plain", READ_TARGET),
        Pair(subject, "door, plain", "BEGIN, plain"),
        Pair(subject, "door, wall", "BEGIN, plain"),
    ]
    for workspace in _visits(plan, pairs, choice):
        context = context_of(workspace)
        for pair in pairs:
            for turn in range(plan.turns):
                arguments = workspace, ground.argument(PAGE_READ, workspace, choice)
                works = {
                    "door, wall": partial(_through_door, door, context, PAGE_READ.sql(WALL), *arguments),
                    "door, plain": partial(_through_door, door, context, PAGE_READ.sql(PLAIN), *arguments),
                    "BEGIN, plain": partial(_through_begin, bare, PAGE_READ.sql(PLAIN), *arguments),
                }
                await pair.take_turn(turn, works[pair.ours], works[pair.theirs])
    return pairs


async def count_round_trips(ground: Ground) -> dict[str, int]:
    """Of the same transactions, once their statements are prepared."""
    workspace = WORKSPACES[0]
    arguments = workspace, ground.argument(PAGE_READ, workspace, random.Random(3))
    async with open_relay(ground.url) as (relay, url), connections(url) as (door, bare):
        works: dict[str, Work] = {
            "door": partial(_through_door, door, context_of(workspace), PAGE_READ.sql(WALL), *arguments),
            "BEGIN": partial(_through_begin, bare, PAGE_READ.sql(PLAIN), *arguments),
        }
        counts = {}
        for name, work in works.items():
            await work()
            before = relay.round_trips
            await work()
            counts[name] = relay.round_trips - before
    return counts


def _visits(plan: Plan, pairs: Collection[Pair], choice: random.Random) -> Iterator[uuid.UUID]:
    """Workspaces to visit, round by round; the first round warms up and is forgotten."""
    for _ in range(plan.rounds + 1):
        for pair in pairs:
            pair.rounds.append(([], []))
        for _ in range(plan.visits):
            yield choice.choice(WORKSPACES)
    for pair in pairs:
        del pair.rounds[0]


async def _through_door(database: Database, context: Context, sql: str, *arguments: Any) -> None:
    async with database.transaction(context) as tx:
        await tx.connection.fetch(sql, *arguments)


async def _through_begin(database: Database, sql: str, *arguments: Any) -> None:
    connection = await database.pool.acquire()
    try:
        await connection.execute("BEGIN")
        await connection.fetch(sql, *arguments)
        await connection.execute("COMMIT")
    finally:
        await database.pool.release(connection)

"""Following the timeline: every entry, once, in the order of its place, from any position on.

A look is a short transaction that reads what is settled after the position (`service.find_settled`); no connection is
held between two. A notification after each commit says when to look. It may be lost, and it may come too early, while
an older transaction keeps the entry from being settled: so there is a slow look without one, and quick ones while
entries wait. Streams take turns, so that all of them together use a part of the connections.

What holds a lane's entries back is any transaction of the database server that has written something and not ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.door import inside_transaction
from datalane.errors import Conflict, DatabaseUnavailable
from datalane.work.timeline.schemas import LiveEntry, Thing
from datalane.work.timeline.service import Place, Settled, find_place, find_settled, write_position

_PAGE = 200

Admit = Callable[[], Awaitable[Context]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `poll` is the longest time without a look, `gap` the shortest between two.

    While entries wait to be settled the next look comes after `gap`, then after twice as long, up to `longest_gap`.
    """

    poll: float = 5.0
    gap: float = 0.05
    longest_gap: float = 1.0
    heartbeat: float = 15.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look found, nothing when it is a heartbeat; `position` is where to go on after all of it."""

    entries: Sequence[LiveEntry]
    position: str
    last: bool = False


async def follow(
    database: Database, context: Context, after: str | None = None, thing: Thing | None = None, pace: Pace = Pace()
) -> AsyncGenerator[LiveEntry, None]:
    """Entries of the context's workspace as they come, for as long as somebody iterates; `entry.position` resumes.

    `after` is the position of an entry, `"beginning"`, or None: from the oldest transaction that is under way now.
    While the database is away it waits. Use `contextlib.aclosing`, so that it ends when the loop is left.

    Raises `Forbidden`, `InvalidInput` for a position that is not of this workspace, and `Conflict` inside a
    transaction, which would hold its own entries back.
    """
    if inside_transaction():
        raise Conflict("the timeline is followed outside of transactions; begin to follow after this one has ended")

    async def admit() -> Context:
        return context

    async with database.transaction(context) as tx:
        place = await find_place(tx, after)
    async with aclosing(watch(database, admit, context, place, thing, pace=pace)) as batches:
        async for batch in batches:
            for entry in batch.entries:
                yield entry


async def watch(
    database: Database,
    admit: Admit,
    context: Context,
    place: Place,
    thing: Thing | None = None,
    *,
    seconds: float | None = None,
    pace: Pace = Pace(),
) -> AsyncGenerator[Batch, None]:
    """Batches of what comes after `place`, and an empty one when there was none for a heartbeat's time.

    `admit` is asked before each look, and what it raises is raised. After `seconds` it ends with what is there then,
    and a last batch, which may be empty; without them it goes on, and waits while the database is away.
    """
    loop, here = asyncio.get_running_loop(), context.workspace_id
    until = None if seconds is None else loop.time() + seconds
    said, gap = loop.time(), pace.gap
    with nullcontext(asyncio.Event()) if seconds == 0 else database.listening.bell(here) as bell:
        while True:
            bell.clear()
            began = loop.time()
            last = until is not None and began >= until
            look = await _look(database, admit, place, thing, or_raise=last)
            if look is not None:
                gap = min(2 * gap, pace.longest_gap) if look.unsettled and look.place == place else pace.gap
                place, last = look.place, last and not look.more
            found = look.entries if look is not None else ()
            if found or last or loop.time() - said >= pace.heartbeat:
                yield Batch(found, write_position(database.cursors, here, place), last)
                said = loop.time()
            if last:
                return
            if look is not None and look.unsettled and not look.more:
                await asyncio.sleep(max(0.0, _soonest(began + gap, said + pace.heartbeat, until) - loop.time()))
            elif look is None or not look.more:
                await _until_rung(bell, _soonest(began + pace.poll, said + pace.heartbeat, until) - loop.time())
                await asyncio.sleep(max(0.0, began + pace.gap - loop.time()))


async def _look(
    database: Database, admit: Admit, place: Place, thing: Thing | None, *, or_raise: bool
) -> Settled | None:
    """None while the database is away."""
    try:
        async with database.listening.turn:
            context = await admit()
            async with database.transaction(context) as tx:
                return await find_settled(tx, place, thing, _PAGE)
    except DatabaseUnavailable:
        if or_raise:
            raise
        return None


def _soonest(*moments: float | None) -> float:
    return min(moment for moment in moments if moment is not None)


async def _until_rung(bell: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await bell.wait()

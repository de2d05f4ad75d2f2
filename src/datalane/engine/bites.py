"""Work of the maintenance process that goes in bites, each a transaction of its own, so that none holds others up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg


async def all_of(verb: Callable[[], Awaitable[int]], bite: int, bites: int) -> int:
    """Do it until one bite finds less than `bite` to do, at most `bites` times: the next round goes on."""
    total = 0
    for _ in range(bites):
        done = await verb()
        total += done
        if done < bite:
            break
    return total


async def forget_all(
    connection: asyncpg.Connection,
    verb: Callable[..., Awaitable[int]],
    kept: timedelta,
    now: datetime,
    bite: int,
    bites: int,
) -> int:
    """As `all_of`, of a query that forgets what is older than `kept`, at most `most` at once."""
    return await all_of(lambda: verb(connection, kept=kept, most=bite, now=now), bite, bites)

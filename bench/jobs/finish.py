"""One rule for every contender of when a backlog is worked off: the database says so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

POLL_SECONDS = 0.005
_GIVE_UP_SECONDS = 180.0


async def wait_until_completed(
    worker: asyncio.Future[None], last_handled: asyncio.Event, dsn: str, tally_sql: str, start: float
) -> float:
    """Seconds from ``start`` (``time.perf_counter``) until no job is unfinished.

    The tally is asked only once the last handler has run, so that it costs the worker nothing before.
    Raises what ``worker`` raised, or TimeoutError when handlers stop before the last job.
    """
    connection = await asyncpg.connect(dsn)
    try:
        last = asyncio.ensure_future(last_handled.wait())
        both: set[asyncio.Future[Any]] = {worker, last}
        await asyncio.wait(both, timeout=_GIVE_UP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            worker.result()
        deadline = time.perf_counter() + 30.0
        while (await connection.fetchrow(tally_sql))[0] > 0:
            if not last.done() or time.perf_counter() > deadline:
                raise TimeoutError("jobs are still unfinished long after the last handler ran")
            await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter() - start
    finally:
        last.cancel()
        await connection.close()


async def wait_until_none_unfinished(dsn: str, tally_sql: str, seconds: float = 10.0) -> None:
    """Let the last completions reach the database; raises TimeoutError when they do not."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(seconds):
            while (await connection.fetchrow(tally_sql))[0] > 0:
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()

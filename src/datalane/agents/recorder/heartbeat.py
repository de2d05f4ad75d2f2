"""The heartbeat of a run: its lease is held while the block goes on, and the block ends when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from datalane.agents.runs.recording import extend_runs
from datalane.agents.runs.schemas import HeldRun
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, LeaseLost
from datalane.kit.logs import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def beating(
    opened: Callable[[], AbstractAsyncContextManager[Transaction]], run: HeldRun, lease: timedelta
) -> AsyncIterator[None]:
    """Hold the lease, three times as often as it takes. Ends the block with `LeaseLost` when the run is lost: by word
    of the database, or because that was not heard of for as long as the lease lasts."""
    lost = asyncio.timeout(None)
    heart = asyncio.create_task(_beat(opened, run, lease, lost))
    try:
        async with lost:
            yield
    except TimeoutError as error:
        if not lost.expired():
            raise
        raise LeaseLost("the lease of the agent run was lost") from error
    finally:
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)


async def _beat(
    opened: Callable[[], AbstractAsyncContextManager[Transaction]],
    run: HeldRun,
    lease: timedelta,
    lost: asyncio.Timeout,
) -> None:
    loop, seconds = asyncio.get_running_loop(), lease.total_seconds()
    held_until = loop.time() + seconds
    while loop.time() < held_until:
        await asyncio.sleep(seconds / 3)
        asked_at = loop.time()
        try:
            async with opened() as tx:
                held = (await extend_runs(tx, [run], lease)).run_ids
        except DatalaneError as error:
            log.warning("agent_heartbeat_failed", run_id=str(run.run_id), error=str(error))
            continue
        if not held:
            break
        held_until = asked_at + seconds
    lost.reschedule(loop.time())

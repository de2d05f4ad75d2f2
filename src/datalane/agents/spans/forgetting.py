"""Traces of which only the root came are forgotten: a duty of the maintenance process."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from datalane.agents.spans.taking import PATIENCE
from datalane.db.named_queries import load_queries
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

PERIOD = timedelta(minutes=10)
BITE, BITES = 10_000, 20

_queries = load_queries(__file__, "forgetting.sql")
log = get_logger(__name__)


def forgetting_traces() -> Duty:
    async def forget(connection: asyncpg.Connection) -> None:
        gone = await forget_once(connection, utc_now())
        if gone:
            log.info("agent_traces_forgotten", traces=gone)

    return Duty("forgetting traces", PERIOD, forget)


async def forget_once(connection: asyncpg.Connection, now: datetime, bite: int = BITE, bites: int = BITES) -> int:
    """One run at `now`, in bites, each a transaction. `connection` is the maintenance login's. Answers how many."""
    total = 0
    for _ in range(bites):
        gone: int = await _queries.forget_traces(connection, kept=PATIENCE, most=bite, now=now)
        total += gone
        if gone < bite:
            break
    return total

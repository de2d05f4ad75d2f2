"""The boundary of periods and the end of reservations: duties of the maintenance process.

A period that is over is also closed by the next use of its quota, whichever comes first; each is closed once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import asyncpg

from datalane.db.named_queries import load_queries
from datalane.engine.bites import all_of
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

PERIOD = timedelta(seconds=10)
FORGETTING_PERIOD = timedelta(minutes=10)
BITE, BITES = 500, 100

_queries = load_queries(__file__, "sweep.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many periods were closed and reservations given back."""

    closed: int = 0
    expired: int = 0


def sweeping_usage() -> Duty:
    async def sweep(connection: asyncpg.Connection) -> None:
        done = await sweep_once(connection, utc_now())
        if done != Swept():
            log.info("usage_swept", **asdict(done))

    return Duty("sweeping_usage", PERIOD, sweep)


def forgetting_usage(kept: timedelta) -> Duty:
    async def forget(connection: asyncpg.Connection) -> None:
        forgotten = await forget_once(connection, utc_now(), kept)
        log.info("usage_forgotten", periods_and_rows=forgotten)

    return Duty("forgetting_usage", FORGETTING_PERIOD, forget)


async def sweep_once(connection: asyncpg.Connection, now: datetime, bite: int = BITE) -> Swept:
    """One sweep at `now`. `connection` is the maintenance login's; each bite is a transaction."""
    return Swept(
        expired=await all_of(lambda: _queries.expire(connection, most=bite, now=now), bite, BITES),
        closed=await all_of(lambda: _queries.close(connection, most=bite, now=now), bite, BITES),
    )


async def forget_once(connection: asyncpg.Connection, now: datetime, kept: timedelta, bite: int = BITE) -> int:
    """Forget closed periods with their ledger. Answers how many periods and rows of rolling windows went."""
    return await all_of(lambda: _queries.forget(connection, kept=kept, most=bite, now=now), bite, BITES)

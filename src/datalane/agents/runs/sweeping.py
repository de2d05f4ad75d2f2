"""The sweep of the ledger, a duty of the maintenance process: a run whose runtime is not heard of is tried again or
fails, and nothing waits for ever."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import asyncpg

from datalane.agents.metrics import SWEPT
from datalane.db.named_queries import load_queries
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

PERIOD = timedelta(seconds=10)
RETRY_PATIENCE = timedelta(hours=1)
"""How long a run that is to be tried again waits for a runtime."""
MOST = 500

_queries = load_queries(__file__, "sweep.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did to runs (`retrying`, `failed`) and to calls that waited for a person (`expired`)."""

    retrying: int = 0
    failed: int = 0
    expired: int = 0


def sweeping() -> Duty:
    async def sweep(connection: asyncpg.Connection) -> None:
        done = await sweep_once(connection, utc_now())
        for outcome, number in asdict(done).items():
            SWEPT.labels(outcome).inc(number)
        if done != Swept():
            log.warning("agent_runs_swept", **asdict(done))

    return Duty("sweeping", PERIOD, sweep)


async def sweep_once(connection: asyncpg.Connection, now: datetime, most: int = MOST) -> Swept:
    """One sweep at `now`, in bites of `most`, each a transaction. `connection` is the maintenance login's."""
    swept = Swept()
    while True:
        row = await _queries.sweep(connection, most=most, patience=RETRY_PATIENCE, now=now)
        bite = Swept(**row)
        swept = Swept(swept.retrying + bite.retrying, swept.failed + bite.failed, swept.expired + bite.expired)
        if max(bite.retrying + bite.failed, bite.expired) < most:
            return swept

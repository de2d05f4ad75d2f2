"""The sweep of demo access, a duty of the maintenance process: what time has changed, and signals whose time has
come, are asked to be written down, and each access is asked to be reconciled when it is to be again.

It leaves jobs, which run in the transaction of their workspace like all else that writes there. Readers do not wait for
it: they see an end that has passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from datalane.access.lifecycle.metrics import SWEPT
from datalane.db.named_queries import load_queries
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

PERIOD = timedelta(seconds=10)
PATIENCE = timedelta(minutes=10)
"""How long a job that was asked for may be on its way, before it is asked for again."""
MOST = 500

_queries = load_queries(__file__, "sweep.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """How many accesses were asked to be settled, and to be reconciled."""

    settling: int = 0
    reconciling: int = 0


def sweeping() -> Duty:
    async def sweep(connection: asyncpg.Connection) -> None:
        done = await sweep_once(connection, utc_now())
        SWEPT.labels("settling").inc(done.settling)
        SWEPT.labels("reconciling").inc(done.reconciling)
        if done != Asked():
            log.info("demo_access_swept", settling=done.settling, reconciling=done.reconciling)

    return Duty("sweeping_demo_access", PERIOD, sweep)


async def sweep_once(connection: asyncpg.Connection, now: datetime, most: int = MOST) -> Asked:
    """One sweep at `now`, in bites of `most`, each a transaction. `connection` is the maintenance login's."""
    asked = Asked()
    while True:
        row = await _queries.sweep(connection, most=most, patience=PATIENCE, now=now)
        asked = Asked(asked.settling + row["settling"], asked.reconciling + row["reconciling"])
        if max(row["settling"], row["reconciling"]) < most:
            return asked

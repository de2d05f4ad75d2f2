"""Events of analytics are kept for a time: a duty of the maintenance process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import asyncpg

from datalane.db.named_queries import load_queries
from datalane.engine.bites import forget_all
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger

PERIOD = timedelta(minutes=10)
BITE, BITES = 10_000, 100

_queries = load_queries(__file__, "forgetting.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many went; anomalies that are open stay."""

    analytics_events: int = 0
    held_events: int = 0
    resolved_anomalies: int = 0


def forgetting_analytics(kept: timedelta) -> Duty:
    async def forget(connection: asyncpg.Connection) -> None:
        done = await forget_once(connection, utc_now(), kept)
        log.info("analytics_forgotten", **asdict(done))

    return Duty("forgetting_analytics", PERIOD, forget)


async def forget_once(
    connection: asyncpg.Connection, now: datetime, kept: timedelta, bite: int = BITE, bites: int = BITES
) -> Forgotten:
    """One round at `now`. `connection` is the maintenance login's, in no transaction."""
    verbs = (_queries.forget_events, _queries.forget_held, _queries.forget_anomalies)
    return Forgotten(*[await forget_all(connection, verb, kept, now, bite, bites) for verb in verbs])

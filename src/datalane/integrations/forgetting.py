"""What integrations keep for a time and forget then: a duty of the maintenance process.

Their tables are not kept by month, since their keys must be unique for longer. So rows go in bites, each in a
transaction of its own, and a run takes so many bites of each table at most: the next one goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import asyncpg

from datalane.db.named_queries import load_queries
from datalane.engine.bites import forget_all
from datalane.engine.maintenance import Duty
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger
from datalane.settings import Retention

PERIOD = timedelta(minutes=10)
BITE, BITES = 10_000, 20

_queries = load_queries(__file__, "forgetting.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows one run forgot; attempts go with their deliveries and are not counted."""

    webhook_deliveries: int
    held_deliveries: int
    connector_history: int


def forgetting(retention: Retention) -> Duty:
    async def forget(connection: asyncpg.Connection) -> None:
        done = await forget_once(connection, utc_now(), retention)
        log.info("integrations_forgotten", **asdict(done))

    return Duty("forgetting", PERIOD, forget)


async def forget_once(
    connection: asyncpg.Connection, now: datetime, retention: Retention, bite: int = BITE, bites: int = BITES
) -> Forgotten:
    """One run at `now`. `connection` is the maintenance login's, in no transaction."""

    async def all_of(verb: Callable[..., Awaitable[int]], kept: timedelta) -> int:
        return await forget_all(connection, verb, kept, now, bite, bites)

    return Forgotten(
        await all_of(_queries.forget_webhook_deliveries, retention.deliveries),
        await all_of(_queries.forget_held_deliveries, retention.deliveries),
        await all_of(_queries.forget_connector_history, retention.connector_history),
    )

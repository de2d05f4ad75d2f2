"""What agents were given and answered is kept for a time, and their runs for a longer one: a duty of the maintenance
process.

Each bite is a transaction of its own, and one round takes so many of them at most: the next one goes on. A bite is a
number of runs, however many steps they have.
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
BITE, BITES = 500, 100

_queries = load_queries(__file__, "forgetting.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many runs lost what they were given and answered, how many runs and how many effects of tools went."""

    agent_artifacts: int = 0
    agent_runs: int = 0
    agent_effects: int = 0


def forgetting(retention: Retention) -> Duty:
    async def forget(connection: asyncpg.Connection) -> None:
        done = await forget_once(connection, utc_now(), retention)
        log.info("agents_forgotten", **asdict(done))

    return Duty("forgetting_agents", PERIOD, forget)


async def forget_once(
    connection: asyncpg.Connection, now: datetime, retention: Retention, bite: int = BITE, bites: int = BITES
) -> Forgotten:
    """One round at `now`. `connection` is the maintenance login's, in no transaction."""

    async def all_of(verb: Callable[..., Awaitable[int]], kept: timedelta) -> int:
        return await forget_all(connection, verb, kept, now, bite, bites)

    return Forgotten(
        agent_runs=await all_of(_queries.forget_runs, retention.agent_runs),
        agent_artifacts=await all_of(_queries.forget_artifacts, retention.agent_artifacts),
        agent_effects=await all_of(_queries.forget_effects, retention.agent_effects),
    )

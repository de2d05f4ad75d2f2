"""Uses of quotas by the library, and plain updates of one row a use, by as many clients.

A use belongs to its workspace, so both sides go through the tenant door: ours as the library does, the other updates a
row in a transaction of the lane: all that a counter takes that has no limit, no ledger and no replay. Two other ways to
update are measured besides: as one statement that states the door by itself, which a function made for it would do, and
as a statement alone, on a connection of one's own without a door. Everybody commits each use durably.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage.enforcing import Usage
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.registration import register
from datalane.kit.ids import uuid7

QUOTA = "api.requests"
_BARE = (
    "CREATE TABLE IF NOT EXISTS bare_counters (workspace_id uuid NOT NULL, quota_key text NOT NULL, "
    "consumed bigint NOT NULL, PRIMARY KEY (workspace_id, quota_key)) WITH (fillfactor = 50)"
)
_IN_ONE = """CREATE OR REPLACE FUNCTION bare_as(
    workspace uuid, actor uuid, actor_role text, correlation text, settings text, quota text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    EXECUTE format(
        'SET LOCAL ROLE {app}; SET LOCAL app.workspace_id = %L; SET LOCAL app.actor_id = %L; '
        'SET LOCAL app.actor_role = %L; SET LOCAL app.correlation_id = %L%s',
        workspace, actor, actor_role, correlation, settings);
    UPDATE bare_counters SET consumed = consumed + 1 WHERE workspace_id = workspace AND quota_key = quota
    RETURNING consumed INTO number;
    RETURN number;
END $$"""
_UPDATE = (
    "UPDATE bare_counters SET consumed = consumed + 1 WHERE workspace_id = $1 AND quota_key = $2 RETURNING consumed"
)

Act = Callable[[int, Context], Awaitable[object]]


@dataclass
class Times:
    """Uses a second, by turn."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    in_one: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.ours, self.bare, strict=True))


async def prepare_counters(database: Database, admin: asyncpg.Connection, number: int) -> list[Context]:
    """So many workspaces with a plan that nobody uses up, and a row by hand for each."""
    plans = Plans()
    plans.add(Plan("bench", (), {QUOTA: Quota(10**12, "month")}))
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans)
    await admin.execute(_BARE)
    await admin.execute(_IN_ONE.format(app=database.roles.app))
    await admin.execute(f"GRANT SELECT, UPDATE ON bare_counters TO {database.roles.app}")
    contexts = [Context(uuid7(), uuid7(), Role.MEMBER) for _ in range(number)]
    for context in contexts:
        async with database.transaction(Context.system(context.workspace_id)) as tx:
            await assign_plan(tx, "bench")
    await admin.executemany(
        "INSERT INTO bare_counters VALUES ($1, $2, 0)", [(each.workspace_id, QUOTA) for each in contexts]
    )
    return contexts


async def warm_up(database: Database, admin: asyncpg.Connection, contexts: Sequence[Context]) -> None:
    """One use in each workspace, and statistics, as a lane has them that runs for longer than a minute."""
    usage = Usage(database)
    for context in contexts:
        await usage.consume(context, QUOTA)
    await admin.execute("ANALYZE")


async def compare(
    database: Database, url: str, contexts: Sequence[Context], clients: int, seconds: float, rounds: int
) -> Times:
    """All in turns of so many seconds; the first turn warms up."""
    usage, times = Usage(database), Times()
    connections = [await asyncpg.connect(url) for _ in range(clients)]

    async def ours(client: int, context: Context) -> object:
        return await usage.consume(context, QUOTA)

    async def bare(client: int, context: Context) -> object:
        async with database.transaction(context) as tx:
            return await tx.fetchval(_UPDATE, context.workspace_id, QUOTA)

    async def in_one(client: int, context: Context) -> object:
        return await database.call(context, "SELECT bare_as($1, $2, $3, $4, $5, $6)", QUOTA)

    async def alone(client: int, context: Context) -> object:
        return await connections[client].fetchval(_UPDATE, context.workspace_id, QUOTA)

    try:
        for turn in range(rounds + 1):
            rates = [await _rate(act, contexts, clients, seconds) for act in (ours, bare, in_one, alone)]
            if turn:
                times.ours.append(rates[0])
                times.bare.append(rates[1])
                times.in_one.append(rates[2])
                times.alone.append(rates[3])
    finally:
        for connection in connections:
            await connection.close()
    return times


async def _rate(act: Act, contexts: Sequence[Context], clients: int, seconds: float) -> float:
    """Uses a second of all clients together."""
    draw = random.Random(7)
    ends = time.perf_counter() + seconds
    done = 0

    async def work(client: int) -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await act(client, draw.choice(contexts))
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(work(client) for client in range(clients)))
    return done / (time.perf_counter() - began)

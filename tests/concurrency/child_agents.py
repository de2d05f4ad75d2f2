"""A runtime of agents, as a process of its own: `python child_agents.py URL WORKSPACE ACTOR LEASE_SECONDS`.

It takes up what is queued or to be tried again, several runs at once, until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import timedelta
from uuid import UUID

from datalane.agents.recorder import Agents, RecordedCall, RecordedRun
from datalane.agents.recorder.toolbox import Toolbox
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.events import publish
from datalane.errors import DatalaneError

SEARCH, CREATE = "search", "create_item"
AT_ONCE = 8
TAKEABLE = "SELECT run_id FROM datalane.agent_runs WHERE status IN ('queued', 'retrying') ORDER BY random() LIMIT 1"

tools = Toolbox()


@tools.implement(SEARCH)
async def search(call: RecordedCall) -> list[str]:
    await asyncio.sleep(random.random() * 0.05)
    return ["heron"]


@tools.implement(CREATE)
async def create(call: RecordedCall) -> str:
    """Its effect is an event, which is to be there once for each task whatever happens to the runtime."""
    async with call.transaction() as tx:
        await publish(tx, "membership.removed", {"user_id": call.arguments["task"]})
        await asyncio.sleep(random.random() * 0.05)
        call.result = call.arguments["task"]
    return str(call.result)


async def work(run: RecordedRun) -> None:
    task = str(run.run_id)
    async with run.step("custom", "think"):
        await asyncio.sleep(random.random() * 0.2)
    await run.call(SEARCH, {"query": task})
    run.output = await run.call(CREATE, {"task": task}, idempotency_key=task)


async def keep_working(database: Database, context: Context, lease: timedelta) -> None:
    agents = Agents(database.transaction, tools)
    while True:
        async with database.transaction(context) as tx:
            run_id = await tx.fetchval(TAKEABLE)
        if run_id is None:
            await asyncio.sleep(0.05)
            continue
        try:
            async with agents.take(context, run_id, "helper", lease=lease, runtime=str(os.getpid())) as run:
                await work(run)
        except DatalaneError:
            continue


async def main(url: str, workspace: str, actor: str, seconds: str) -> None:
    context = Context(UUID(workspace), UUID(actor), Role.MEMBER)
    database = await Database.connect(url)
    working = [keep_working(database, context, timedelta(seconds=float(seconds))) for _ in range(AT_ONCE)]
    await asyncio.gather(*working)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A worker that runs rules, in a process of its own, to be killed: `child_rules.py <database url>` says `ready`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from datalane.db.database import Database
from datalane.engine.actions import Actions
from datalane.engine.handlers import Handlers
from datalane.engine.worker import Worker, WorkerSettings
from datalane.integrations.automation.execution import Execution
from datalane.integrations.runtime import make_integrations
from datalane.settings import JobSettings, Settings
from datalane.work.items.actions import register_actions

SHORT_LEASES = WorkerSettings(
    jobs=JobSettings(lease=timedelta(seconds=1), heartbeat=timedelta(seconds=0.25), rescues=1_000),
    batch=40,
    groups=4,
    poll=timedelta(seconds=0.05),
)


async def main(url: str) -> None:
    database = await Database.connect(url)
    actions = Actions()
    register_actions(actions)
    integrations = make_integrations(Settings(), actions)
    handlers = Handlers()
    Execution(database, integrations.conditions, integrations.actions).register(handlers)
    ready = asyncio.Event()
    working = asyncio.create_task(Worker(database, handlers, SHORT_LEASES).run(asyncio.Event(), ready))
    await ready.wait()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await working


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

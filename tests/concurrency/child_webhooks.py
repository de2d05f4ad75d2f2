"""A worker that delivers webhooks, as a process of its own: `python child_webhooks.py SETTINGS`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta

from datalane.engine.worker import WorkerSettings
from datalane.integrations.runtime import make_integrations
from datalane.lane import Lane
from datalane.settings import Settings


async def main(written: str) -> None:
    settings, lane = Settings.model_validate_json(written), Lane()
    integrations = make_integrations(settings, lane.actions)
    async with lane.open(settings):
        integrations.register(lane.handlers, lane.database)
        worker = lane.worker(WorkerSettings(jobs=settings.jobs, poll=timedelta(milliseconds=100), groups=2))
        ready = asyncio.Event()

        async def tell() -> None:
            await ready.wait()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on: a full pipe would stop the worker

        telling = asyncio.create_task(tell())
        await worker.run(asyncio.Event(), ready)
        await telling


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

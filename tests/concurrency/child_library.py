"""A worker that ingests and fills models, as a process of its own: `python child_library.py SETTINGS`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from datalane.engine.worker import WorkerSettings
from datalane.knowledge.models import backfill
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings


async def main(written: str) -> None:
    backfill.SLICE = 20
    settings, lane = Settings.model_validate_json(written), Lane()
    async with lane.open(settings), open_knowledge(settings) as knowledge:
        knowledge.register(lane.handlers, lane.database)
        worker = lane.worker(WorkerSettings(jobs=settings.jobs, poll=timedelta(milliseconds=100)))
        ready = asyncio.Event()

        async def tell() -> None:
            await ready.wait()
            sys.stdout.write("ready\n")
            sys.stdout.flush()

        telling = asyncio.create_task(tell())
        await worker.run(asyncio.Event(), ready)
        await telling


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

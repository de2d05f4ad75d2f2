"""kill -9 of workers, real processes, at random moments; an independent checker judges."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest
from tests.concurrency.checker import at_rest, check_exactly_once, check_histories
from tests.concurrency.child_worker import handlers
from tests.concurrency.test_races import seeds
from tests.conftest import a_context

from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.events import NewEvent, publish_batch
from datalane.engine.jobs import NewJob, enqueue_batch

CHILD = Path(__file__).with_name("child_worker.py")


async def start(url: str, child: Path = CHILD) -> Process:
    """A worker process that claims already."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(child), url, stdout=PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readuntil(b"ready\n"), 60)
    return process


@pytest.mark.parametrize("seed", seeds(2, 12))
async def test_killed_workers_lose_and_double_nothing(database: Database, urls: Prepared, seed: int) -> None:
    draw = random.Random(seed)
    contexts = [a_context(), a_context()]
    handlers()
    processes = [await start(urls.database_url) for _ in range(2)]
    told = []
    try:
        for context in contexts:
            names = [str(number) for number in range(400)]
            for start_at in range(0, 400, 50):
                async with database.transaction(context) as tx:
                    batch = names[start_at : start_at + 50]
                    await publish_batch(
                        tx,
                        [NewEvent("thing.happened", {}, source_event_id=one, subject_id=one[-1]) for one in batch],
                    )
                    await enqueue_batch(tx, [NewJob("staged")] * 20)
            told.append(names)
        for _ in range(4):
            await asyncio.sleep(draw.random() / 4)  # the moment of the kill, not a wait for anything
            victim = processes.pop(draw.randrange(len(processes)))
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            processes.append(await start(urls.database_url))
        await at_rest(database, contexts)
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    for context, names in zip(contexts, told, strict=True):
        await check_exactly_once(database, context, names)
        await check_histories(database, context)

"""A worker that outlives its database: what broke off is done as soon as the database is back, and nothing twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest
from tests.conftest import FAST_AND_FORGETFUL
from tests.integration.engine.lab import Lab, eventually
from tests.integration.engine.wire import wired
from tests.integration.engine.workers import (
    AT_ONCE,
    counting,
    cut_all_connections,
    effects,
    ended,
    put,
    states,
    working,
)

from datalane.contracts.context import Context
from datalane.db.access import Access, Prepared
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import prepare
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import JobState
from datalane.engine.worker import WorkerSettings
from datalane.errors import DatabaseUnavailable
from datalane.settings import JobSettings

LEASE = timedelta(minutes=10)
SOON = 8.0
"""Seconds from the database being back to the last job done: far less than any lease or heartbeat here."""


def long_leases(rescues: int = 10, **options: Any) -> WorkerSettings:
    """The worker's own polls, with leases and heartbeats that no test outlives."""
    return WorkerSettings(jobs=JobSettings(lease=LEASE, heartbeat=LEASE / 3, rescues=rescues), **options)


class Outage:
    """A server of these tests' own, which goes away and comes back."""

    def __init__(self, server: EmbeddedPostgres, urls: Prepared) -> None:
        self.server = server
        self.urls = urls

    def begin(self, how: str) -> None:
        if how == "stopped":
            self.server.stop()
            return
        assert self.server.pid is not None
        process = psutil.Process(self.server.pid)
        os.kill(self.server.pid, signal.SIGKILL)
        process.wait(10)

    def end(self) -> float:
        """The moment at which the database answers again."""
        self.server.start()
        return asyncio.get_running_loop().time()


@pytest.fixture(scope="module")
def outage() -> Iterator[Outage]:
    home = Path(tempfile.mkdtemp(prefix="dlo"))
    home.chmod(0o755)
    server = EmbeddedPostgres(home, options={**FAST_AND_FORGETFUL, "wal_writer_delay": "10s"})
    server.start()
    yield Outage(server, prepare(server.url(), "lane", Access.generate()))
    server.stop()
    for folder in (server.root, server.socket_dir, home):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def lane(outage: Outage) -> AsyncIterator[Lab]:
    """A lab on the server that will go away; what it asks itself, it asks on new connections."""
    database = await Database.connect(outage.urls.database_url)
    async with Lab.opened(database) as lab:
        await lab.register()
        yield lab
    await database.close()


class Script:
    """What the handlers do in their first run: say so, and wait for the word; `runs` counts each job's."""

    def __init__(self) -> None:
        self.runs: dict[UUID, int] = {}
        self.underway = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.runs[job.id] = self.runs.get(job.id, 0) + 1
        if any(self.runs[job.id] == 1 and job.args["n"] == 2 for job in jobs):
            self.underway.set()
            await self.go_on.wait()


def scripted(script: Script, mode: str) -> Handlers:
    handlers = Handlers()

    if mode == "transactional":

        @handlers.transactional("work", retry=AT_ONCE)
        async def work(tx: Transaction, job: Job) -> None:
            await publish(tx, "thing.happened", {"n": job.args["n"]})
            await script.run([job])

    elif mode == "staged":

        async def prepare_all(jobs: Sequence[Job]) -> list[int]:
            await script.run(jobs)
            return [job.args["n"] for job in jobs]

        @handlers.staged("work", prepare=prepare_all, batch=10, retry=AT_ONCE)
        async def apply(tx: Transaction, jobs: Sequence[Job], numbers: Sequence[int]) -> None:
            for number in numbers:
                await publish(tx, "thing.happened", {"n": number})

    else:

        @handlers.external("work", retry=AT_ONCE)
        async def call(job: Job) -> None:
            await script.run([job])
            if mode == "failing" and script.runs[job.id] == 1:
                raise RuntimeError("the other side said no")

    return handlers


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("mode", ["transactional", "staged"])
async def test_what_broke_off_is_done_once_the_database_is_back(
    outage: Outage, lane: Lab, context: Context, mode: str, how: str, record_property: Callable[[str, object], None]
) -> None:
    script = Script()
    ids = await put(lane.database, context, "work", *({"n": n} for n in range(5)))
    async with working(lane.database, scripted(script, mode), long_leases()):
        await asyncio.wait_for(script.underway.wait(), 10)
        outage.begin(how)
        script.go_on.set()
        await noticed(lane.database, context)
        back = outage.end()
        jobs = await ended_again(lane, context, ids)
        took = asyncio.get_running_loop().time() - back
    record_property("seconds_from_back_to_done", round(took, 3))
    assert took < SOON
    assert await effects(lane, context) == list(range(5))
    assert {job.attempt_count for job in jobs} == {1}, "an outage spends no attempt"
    assert max(script.runs.values()) == 2


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("mode", ["external", "failing"])
async def test_what_the_outside_world_said_is_written_down_once_the_database_is_back(
    outage: Outage, lane: Lab, context: Context, mode: str, how: str
) -> None:
    script = Script()
    ids = await put(lane.database, context, "work", {"n": 2})
    async with working(lane.database, scripted(script, mode), long_leases()):
        await asyncio.wait_for(script.underway.wait(), 10)
        write_everything(outage)
        outage.begin(how)
        script.go_on.set()
        await noticed(lane.database, context)
        back = outage.end()
        (job,) = await ended_again(lane, context, ids)
        assert asyncio.get_running_loop().time() - back < SOON
    assert (job.attempt_count, script.runs[job.id]) == ((2, 2) if mode == "failing" else (1, 1))


async def test_a_claim_that_the_crash_forgot_is_claimed_again(outage: Outage, lane: Lab, context: Context) -> None:
    """Claims do not wait for the disk. The last one before the kill may be gone, and its fencing token with it."""
    script = Script()
    ids = await put(lane.database, context, "work", *({"n": n} for n in range(5)))
    async with working(lane.database, scripted(script, "transactional"), long_leases()):
        await asyncio.wait_for(script.underway.wait(), 10)
        outage.begin("killed")
        script.go_on.set()
        await noticed(lane.database, context)
        back = outage.end()
        jobs = await ended_again(lane, context, ids)
        assert asyncio.get_running_loop().time() - back < SOON
    assert {job.rescue_count for job in jobs} == {0}, "there was nothing left to take back"
    assert await effects(lane, context) == list(range(5))


async def test_an_outage_while_jobs_wait_for_a_slot_loses_none(outage: Outage, lane: Lab, context: Context) -> None:
    script = Script()
    contexts = [context, *(Context.system(UUID(int=n)) for n in range(900, 906))]
    ids = {each: await put(lane.database, each, "work", *({"n": n} for n in range(5))) for each in contexts}
    async with working(lane.database, scripted(script, "transactional"), long_leases(groups=2)):
        await asyncio.wait_for(script.underway.wait(), 10)
        outage.begin("killed")
        script.go_on.set()
        await noticed(lane.database, context)
        back = outage.end()
        for each in contexts:
            await ended_again(lane, each, ids[each])
        assert asyncio.get_running_loop().time() - back < SOON
    for each in contexts:
        assert await effects(lane, each) == list(range(5))


@pytest.mark.parametrize(
    ("mode", "marker"), [("transactional", b"COMMIT"), ("staged", b"COMMIT"), ("external", b"finish_jobs")]
)
async def test_a_completion_whose_answer_was_lost_is_not_done_again(
    lab: Lab, urls: Prepared, context: Context, mode: str, marker: bytes
) -> None:
    script = Script()
    ids = await put(lab.database, context, "work", {"n": 2})
    with tempfile.TemporaryDirectory(prefix="dlw") as folder:
        async with wired(urls.database_url, Path(folder)) as (wire, url):
            database = await Database.connect(url)
            async with working(database, scripted(script, mode), long_leases()) as worker:
                await asyncio.wait_for(script.underway.wait(), 10)
                wire.lose(marker)
                script.go_on.set()
                await asyncio.wait_for(wire.lost.wait(), 10)
                (job,) = await ended(lab.database, context, ids)
                after = await put(lab.database, context, "work", {"n": 3})
                await ended(lab.database, context, after)
                assert worker.tally.completed >= 1
            await database.close()
    assert (job.attempt_count, job.rescue_count, script.runs[job.id]) == (1, 0, 1)
    if mode != "external":
        assert await effects(lab, context) == [2, 3]


async def test_a_claim_whose_answer_was_lost_is_taken_back(lab: Lab, urls: Prepared, context: Context) -> None:
    handlers = counting(Handlers())
    with tempfile.TemporaryDirectory(prefix="dlw") as folder:
        async with wired(urls.database_url, Path(folder)) as (wire, url):
            database = await Database.connect(url)
            wire.lose(b"claim_jobs")
            ids = await put(lab.database, context, "work", *({"n": n} for n in range(5)))
            async with working(database, handlers, long_leases()):
                await asyncio.wait_for(wire.lost.wait(), 10)
                began = asyncio.get_running_loop().time()
                jobs = await ended(lab.database, context, ids)
                assert asyncio.get_running_loop().time() - began < SOON
            await database.close()
    assert {(job.attempt_count, job.rescue_count) for job in jobs} == {(1, 1)}
    assert await effects(lab, context) == list(range(5))


async def test_a_job_that_breaks_the_connection_each_time_ends_as_a_dead_letter(lab: Lab, context: Context) -> None:
    handlers, began = Handlers(), []

    @handlers.transactional("poison")
    async def poison(tx: Transaction, job: Job) -> None:
        began.append(asyncio.get_running_loop().time())
        await cut_all_connections(lab.database)
        await tx.execute("SELECT 1")

    ids = await put(lab.database, context, "poison")
    async with working(lab.database, handlers, long_leases(rescues=2)):

        async def dead() -> bool:
            try:
                return (await states(lab.database, context, ids))[0].status == "dead_letter"
            except DatabaseUnavailable:
                return False

        await eventually(dead)
    (job,) = await states(lab.database, context, ids)
    assert (job.dead_letter_reason, job.last_error_class) == ("rescued_too_often", "database_unavailable")
    assert len(began) == 3
    assert began[2] - began[1] > 0.9, "the second time it waits, so that it does not keep everybody else from working"


async def test_an_external_handler_that_met_the_outage_itself_spends_no_attempt(
    outage: Outage, lane: Lab, context: Context
) -> None:
    handlers, underway, go_on, runs = Handlers(), asyncio.Event(), asyncio.Event(), []

    @handlers.external("work")
    async def call(job: Job) -> None:
        runs.append(job.id)
        underway.set()
        await go_on.wait()
        async with lane.database.transaction(job.context) as tx:
            await tx.execute("SELECT 1")

    ids = await put(lane.database, context, "work", max_attempts=1)
    async with working(lane.database, handlers, long_leases()):
        await asyncio.wait_for(underway.wait(), 10)
        outage.begin("stopped")
        go_on.set()
        await noticed(lane.database, context)
        outage.end()
        (job,) = await ended_again(lane, context, ids)
    assert (job.attempt_count, len(runs)) == (1, 2)


async def test_a_worker_told_to_stop_in_an_outage_stops(outage: Outage, lane: Lab, context: Context) -> None:
    script = Script()
    await put(lane.database, context, "work", {"n": 2})
    try:
        async with working(lane.database, scripted(script, "external"), long_leases(drain=timedelta(seconds=0.2))):
            await asyncio.wait_for(script.underway.wait(), 10)
            outage.begin("stopped")
            script.go_on.set()
            await noticed(lane.database, context)
        assert not outage.server.running()
    finally:
        outage.server.start()


async def noticed(database: Database, context: Context) -> None:
    """Wait until the database is away for clients, too."""

    async def away() -> bool:
        try:
            async with database.transaction(context) as tx:
                await tx.execute("SELECT 1")
        except DatabaseUnavailable:
            return True
        return False

    await eventually(away)


async def ended_again(lane: Lab, context: Context, ids: Sequence[UUID]) -> list[JobState]:
    """Wait until every job is completed; the pool's own connections may still have to find out that they were cut."""

    async def all_there() -> list[JobState] | None:
        try:
            found = await states(lane.database, context, ids)
        except DatabaseUnavailable:
            return None
        return found if all(job.status == "completed" for job in found) else None

    answer = await eventually(all_there)
    assert answer is not None
    return answer


def write_everything(outage: Outage) -> None:
    """So that a kill forgets nothing of what has happened until now."""
    with psycopg.connect(outage.server.url("lane"), autocommit=True) as superuser:
        superuser.execute("CHECKPOINT")

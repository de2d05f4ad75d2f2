"""The worker over time: its leases and heartbeats, its drain, what wakes it, and connections that were cut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.integration.engine.lab import Lab, eventually
from tests.integration.engine.workers import (
    EFFECTS,
    counting,
    cut_all_connections,
    effects,
    ended,
    put,
    quick,
    states,
    working,
)

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.desk import Desk
from datalane.engine.events import publish
from datalane.engine.failures import JobError
from datalane.engine.handlers import Failure, Handlers, Job
from datalane.engine.worker import Worker


async def test_slow_jobs_that_wait_for_a_slot_keep_their_leases(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    runs: list[UUID] = []

    @handlers.external("slow")
    async def slow(job: Job) -> None:
        runs.append(job.id)
        await lab.database.pool.execute("SELECT pg_sleep(0.35)")

    ids = await put(lab.database, context, "slow", *[{}] * 8)
    async with working(lab.database, handlers, quick(lease=1, groups=1)):
        jobs = await ended(lab.database, context, ids)
    assert sorted(runs) == sorted(ids)
    assert {job.rescue_count for job in jobs} == {0}


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    running, go_on = asyncio.Event(), asyncio.Event()

    @handlers.external("slow")
    async def slow(job: Job) -> None:
        running.set()
        await go_on.wait()

    ids = await put(lab.database, context, "slow", *[{}] * 5)
    worker = Worker(lab.database, handlers, quick(groups=1))
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await running.wait()
    stop.set()

    async def given_back() -> bool:
        return [job.status for job in await states(lab.database, context, ids)].count("retrying") == 4

    await eventually(given_back)
    go_on.set()
    await asyncio.wait_for(task, 10)
    jobs = await states(lab.database, context, ids)
    assert sorted(job.status for job in jobs) == ["completed", *["retrying"] * 4]
    assert [job.attempt_count for job in jobs if job.status == "retrying"] == [0] * 4


async def test_a_drain_gives_back_what_takes_too_long(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    running = asyncio.Event()

    @handlers.transactional("stuck")
    async def stuck(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"n": 1})
        running.set()
        await asyncio.Event().wait()

    (job_id,) = await put(lab.database, context, "stuck")
    async with working(lab.database, handlers, quick(drain=0.1)):
        await running.wait()
    (job,) = await states(lab.database, context, [job_id])
    assert (job.status, job.attempt_count) == ("retrying", 0)
    assert await effects(lab, context) == []
    assert await lab.path(context, job_id) == ["queued", "processing", "retrying"]


async def test_canceling_a_running_job_stops_its_handler(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    running, stopped = asyncio.Event(), asyncio.Event()

    @handlers.external("slow")
    async def slow(job: Job) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    ids = await put(lab.database, context, "slow")
    async with working(lab.database, handlers, quick(lease=1)):
        await running.wait()
        await lab.operate(context, "cancel_jobs", ids, now=None)
        await asyncio.wait_for(stopped.wait(), 10)
    (job,) = await states(lab.database, context, ids)
    assert (job.status, job.dead_letter_reason) == ("dead_letter", "canceled")


async def test_a_heartbeat_does_not_stop_what_was_claimed_meanwhile(
    lab: Lab, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = Handlers()
    asked, answer, running, go_on = asyncio.Event(), asyncio.Event(), asyncio.Queue[UUID](), asyncio.Event()
    extend = Desk.extend

    async def late(desk: Desk, jobs: Sequence[Job], lease: timedelta) -> set[UUID]:
        held = await extend(desk, jobs, lease)
        asked.set()
        await answer.wait()
        return held

    @handlers.external("slow")
    async def slow(job: Job) -> None:
        running.put_nowait(job.id)
        await go_on.wait()

    monkeypatch.setattr(Desk, "extend", late)
    ids = await put(lab.database, context, "slow")
    async with working(lab.database, handlers, quick(lease=600)) as worker:
        await running.get()
        heartbeat = asyncio.create_task(worker._heartbeat())
        await asyncio.wait_for(asked.wait(), 10)
        ids += await put(lab.database, context, "slow")
        await asyncio.wait_for(running.get(), 10)
        answer.set()
        await heartbeat
        go_on.set()
        jobs = await ended(lab.database, context, ids)
    assert [(job.attempt_count, job.rescue_count) for job in jobs] == [(1, 0), (1, 0)]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_heartbeat_does_not_stop_what_follows_the_end_of_a_job(lab: Lab, context: Context, fails: bool) -> None:
    """The database does not know the job as held any more, as it is done; it is not lost for that."""
    handlers, done = Handlers(), asyncio.Event()

    async def follow() -> None:
        await worker._heartbeat()
        await asyncio.sleep(0)  # where a task that was cancelled ends
        done.set()

    async def note(tx: Transaction, job: Job, failure: Failure) -> None:
        tx.after_commit(follow)

    @handlers.transactional("work", on_failure=note)
    async def work(tx: Transaction, job: Job) -> None:
        if fails:
            raise JobError("broken", "it cannot be", retryable=False)
        tx.after_commit(follow)

    async with working(lab.database, handlers, quick(lease=600)) as worker:
        await put(lab.database, context, "work")
        await asyncio.wait_for(done.wait(), 10)
    assert done.is_set()


async def test_a_line_does_not_wait_for_the_next_poll(lab: Lab, context: Context) -> None:
    ids = await put(lab.database, context, "work", *({"n": n} for n in range(30)), order_key="k")
    async with working(lab.database, counting(Handlers()), quick(poll=60, lease=600)):
        await ended(lab.database, context, ids)
    rows = await lab.rows(context, f"{EFFECTS} ORDER BY event_id")
    assert [row["payload"]["n"] for row in rows] == list(range(30))


async def test_a_bounded_kind_does_not_wait_for_the_next_poll(lab: Lab, context: Context) -> None:
    ids = await put(lab.database, context, "work", *({"n": n} for n in range(10)))
    async with working(lab.database, counting(Handlers(), max_running=1), quick(poll=60, lease=600)):
        await ended(lab.database, context, ids)
    assert await effects(lab, context) == list(range(10))


async def test_a_job_that_came_before_the_worker_listened_is_done_when_it_does(
    lab: Lab, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first claim may be over by then, and the job's notification was heard by nobody."""
    claimed, listening = asyncio.Event(), asyncio.Event()
    claim, listen = Desk.claim, Desk._connected

    async def noted(desk: Desk, *said: Any) -> Any:
        found = await claim(desk, *said)
        claimed.set()
        return found

    async def late(desk: Desk) -> asyncpg.Connection:
        await listening.wait()
        return await listen(desk)

    monkeypatch.setattr(Desk, "claim", noted)
    monkeypatch.setattr(Desk, "_connected", late)
    async with working(lab.database, counting(Handlers()), quick(poll=60, lease=600)):
        await asyncio.wait_for(claimed.wait(), 20)
        await put(lab.database, context, "work", {"n": 1})
        listening.set()

        async def done() -> bool:
            return await effects(lab, context) == [1]

        assert await eventually(done)


async def test_a_commit_wakes_an_idle_worker(lab: Lab, context: Context) -> None:
    async with working(lab.database, counting(Handlers()), quick(poll=60, lease=600)):
        for number in range(3):
            ids = await put(lab.database, context, "work", {"n": number})
            await ended(lab.database, context, ids)
            assert await effects(lab, context) == list(range(number + 1))


async def test_the_worker_goes_on_after_its_connections_were_cut(lab: Lab, context: Context) -> None:
    handlers = counting(Handlers())
    before = await put(lab.database, context, "work", *({"n": n} for n in range(5)))
    async with working(lab.database, handlers):
        await ended(lab.database, context, before)
        for _ in range(3):
            await cut_all_connections(lab.database)
            number = await eventually(lambda: put_through(lab.database, context))
            await ended(lab.database, context, number or [])
    done = await effects(lab, context)
    assert done[:5] == list(range(5)), "each once"
    assert len(done) >= 5 + 3, "and one at least after each cut"


async def put_through(database: Database, context: Context) -> list[UUID] | None:
    """Enqueue once the pool has connections again."""
    try:
        return await put(database, context, "work", {"n": 99})
    except Exception:
        return None

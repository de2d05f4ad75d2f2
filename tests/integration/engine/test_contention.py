"""When the database makes a handler's transaction give way to another, the job pays nothing for it, up to a bound."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.engine.lab import Lab
from tests.integration.engine.workers import AT_ONCE, ended, put, working

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.handlers import Handlers, Job
from datalane.engine.running import MOST_REDOS
from datalane.engine.schedules import put_schedule

TOUCH = "UPDATE datalane.job_schedules SET timezone = timezone WHERE workspace_id = $1 AND name = $2"


@pytest.fixture
async def rows(database: Database, context: Context) -> tuple[str, str]:
    """Names of two rows that handlers fight for."""
    async with database.transaction(context) as tx:
        for name in ("left", "right"):
            await put_schedule(tx, name, "work", "0 0 1 1 *")
    return "left", "right"


def fighter(handlers: Handlers, kind: str, first: str, second: str, meeting: asyncio.Barrier, runs: list[str]) -> None:
    """A handler that takes two rows. The first time it waits in between until the other one holds its first too."""

    @handlers.transactional(kind, retry=AT_ONCE)
    async def take_both(tx: Transaction, job: Job) -> None:
        runs.append(kind)
        await tx.execute(TOUCH, tx.workspace_id, first)
        if runs.count(kind) == 1:
            await meeting.wait()
        await tx.execute(TOUCH, tx.workspace_id, second)


async def test_two_handlers_that_deadlock_both_complete_in_one_attempt(
    lab: Lab, context: Context, rows: tuple[str, str]
) -> None:
    left, right = rows
    handlers, meeting, runs = Handlers(), asyncio.Barrier(2), list[str]()
    fighter(handlers, "leftward", left, right, meeting, runs)
    fighter(handlers, "rightward", right, left, meeting, runs)
    async with working(lab.database, handlers) as worker:
        ids = [*await put(lab.database, context, "leftward"), *await put(lab.database, context, "rightward")]
        jobs = await ended(lab.database, context, ids)
    assert len(runs) >= 3, "one of the two gave way and ran again"
    assert [(job.attempt_count, job.last_error_class) for job in jobs] == [(1, None), (1, None)]
    for job_id in ids:
        assert await lab.path(context, job_id) == ["queued", "processing", "completed"]
    assert (worker.tally.completed, worker.tally.failed) == (2, 0)


def overtaken(handlers: Handlers, database: Database, context: Context, name: str, runs: list[int]) -> None:
    """A handler whose row is changed under it, between its look and its own change, every time it runs."""

    async def overtake() -> None:
        async with database.transaction(context) as tx:
            await tx.execute(TOUCH, context.workspace_id, name)

    @handlers.transactional("overtaken", retry=AT_ONCE)
    async def look_and_change(tx: Transaction, job: Job) -> None:
        runs.append(job.attempt_count)
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await tx.fetchval("SELECT timezone FROM datalane.job_schedules WHERE workspace_id = $1", tx.workspace_id)
        await asyncio.create_task(overtake())
        await tx.execute(TOUCH, tx.workspace_id, name)


async def test_past_the_bound_giving_way_spends_an_attempt_like_any_failure(
    lab: Lab, context: Context, rows: tuple[str, str]
) -> None:
    handlers, runs = Handlers(), list[int]()
    overtaken(handlers, lab.database, context, rows[0], runs)
    async with working(lab.database, handlers):
        ids = await put(lab.database, context, "overtaken", max_attempts=2)
        (job,) = await ended(lab.database, context, ids, "dead_letter")
    assert runs == [1] * (1 + MOST_REDOS) + [2] * (1 + MOST_REDOS)
    assert (job.attempt_count, job.last_error_class) == (2, "database_error")
    assert "40001" in str(job.last_error_message)

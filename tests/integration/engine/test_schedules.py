"""Schedules: each time fires once, whoever fires it, and one tenant's broken one is its own trouble."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.engine.lab import START, Lab, after, eventually, ranked
from tests.integration.engine.workers import counting, quick, working

from datalane.contracts.context import Context, Role
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import list_jobs
from datalane.engine.schedules import list_schedules, next_run, put_schedule, set_enabled
from datalane.errors import Forbidden, InvalidInput, NotFound


async def put(lab: Lab, context: Context, name: str = "hourly", cron: str = "0 * * * *") -> datetime:
    async with lab.database.transaction(context) as tx:
        return await put_schedule(tx, name, "work", cron, args={"n": 1}, now=START)


async def fire(lab: Lab, context: Context, seen: datetime, following: datetime | None, name: str = "hourly") -> object:
    rows = await lab.worker.fetch(
        "SELECT datalane.fire_schedule($1, $2, $3, $4, 'c', $5)", context.workspace_id, name, seen, following, seen
    )
    return rows[0][0]


async def test_a_schedule_is_due_at_its_time_and_fires_once(lab: Lab, context: Context) -> None:
    first = await put(lab, context)
    assert first == after(3_600)
    assert await lab.call("due_schedules", now=after(3_599)) == []
    ((workspace, name, cron, zone, seen),) = await lab.call("due_schedules", now=first)
    assert (workspace, name, cron, zone, seen) == (context.workspace_id, "hourly", "0 * * * *", "UTC", first)
    job_id = await fire(lab, context, seen, after(7_200))
    assert await fire(lab, context, seen, after(7_200)) is None
    async with lab.database.transaction(context) as tx:
        (job,) = await list_jobs(tx)
        (schedule,) = await list_schedules(tx)
    assert (job.id, job.kind, job.args) == (job_id, "work", {"n": 1})
    assert (schedule["next_run_at"], schedule["last_run_at"]) == (after(7_200), first)


async def test_racing_workers_fire_one_time_once(lab: Lab, context: Context) -> None:
    first = await put(lab, context)

    async def worker(name: str) -> object:
        async with Lab.opened(lab.database, name) as other:
            return await fire(other, context, first, after(7_200))

    fired = await asyncio.gather(*(worker(f"worker-{number}") for number in range(6)))
    assert sum(job_id is not None for job_id in fired) == 1
    assert await lab.count(context, "datalane.jobs") == 1


async def test_a_schedule_that_is_off_does_not_fire(lab: Lab, context: Context) -> None:
    first = await put(lab, context)
    async with lab.database.transaction(context) as tx:
        await set_enabled(tx, "hourly", False)
    assert await lab.call("due_schedules", now=after(9_999)) == []
    assert await fire(lab, context, first, after(7_200)) is None


async def test_a_replaced_schedule_starts_anew(lab: Lab, context: Context) -> None:
    first = await put(lab, context)
    assert await put(lab, context, cron="30 * * * *") == after(1_800)
    assert await fire(lab, context, first, after(7_200)) is None
    async with lab.database.transaction(context) as tx:
        assert len(await list_schedules(tx)) == 1


async def test_schedules_stay_in_their_workspace(lab: Lab, context: Context, other_context: Context) -> None:
    first = await put(lab, context)
    await put(lab, other_context)
    await fire(lab, context, first, after(7_200))
    assert await lab.count(other_context, "datalane.jobs") == 0
    async with lab.database.transaction(other_context) as tx:
        with pytest.raises(NotFound):
            await set_enabled(tx, "unknown", False)


async def test_a_viewer_may_not_schedule(lab: Lab, context: Context) -> None:
    await put(lab, context)
    viewer = ranked(context, Role.VIEWER)
    with pytest.raises(Forbidden):
        await put(lab, viewer)
    with pytest.raises(Forbidden):
        async with lab.database.transaction(viewer) as tx:
            await set_enabled(tx, "hourly", False)


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("61 * * * *", "UTC"),
        ("", "UTC"),
        ("every day", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("* * * * *", "Mars/Olympus"),
        ("* * * * *", "Europe"),
        ("* * * * *", "../../etc/passwd"),
        ("* * * * *", ""),
    ],
)
def test_a_schedule_without_a_next_time_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(InvalidInput):
        next_run(cron, zone, START)


@pytest.mark.parametrize(
    ("cron", "moment", "expected"),
    [
        ("0 9 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 7, tzinfo=UTC)),
        ("0 9 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 8, tzinfo=UTC)),
        ("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
    ids=["spring", "autumn", "the hour that is not there", "the hour that comes twice"],
)
def test_local_times_follow_summer_time(cron: str, moment: datetime, expected: datetime) -> None:
    assert next_run(cron, "Europe/Berlin", moment) == expected


async def make_due(lab: Lab, context: Context, name: str, cron: str, zone: str) -> None:
    """A schedule written by raw SQL, due since long."""
    async with lab.database.transaction(context) as tx:
        await tx.execute(
            """INSERT INTO datalane.job_schedules
                   (workspace_id, name, kind, cron, timezone, args, next_run_at, actor_id)
               VALUES ($1, $2, 'work', $3, $4, '{"n": 1}', $5, $6)""",
            *(context.workspace_id, name, cron, zone, datetime(2020, 1, 1, tzinfo=UTC), context.actor_id),
        )


async def test_what_was_missed_is_made_up_for_once_and_broken_ones_stop_nobody(
    lab: Lab, context: Context, other_context: Context
) -> None:
    for number in range(120):
        await make_due(lab, other_context, f"broken-{number}", "not a cron", "UTC")
    await make_due(lab, other_context, "folder", "* * * * *", "Europe")
    await make_due(lab, context, "good", "0 0 1 1 *", "UTC")

    async def completed() -> bool:
        return bool(await lab.count(context, "datalane.job_history"))

    async with working(lab.database, counting(Handlers())), working(lab.database, counting(Handlers())):
        await eventually(completed)
    assert await lab.count(context, "datalane.job_history") == 1
    assert await lab.count(other_context, "datalane.job_history") == 0
    async with lab.database.transaction(other_context) as tx:
        assert {schedule["enabled"] for schedule in await list_schedules(tx)} == {False}
    async with lab.database.transaction(context) as tx:
        (schedule,) = await list_schedules(tx)
    assert schedule["next_run_at"] > datetime.now(UTC)


@pytest.mark.parametrize("column", ["next_run_at = 'infinity'", "name = repeat('x', 201)", "args = '[]'"])
async def test_raw_sql_cannot_write_a_schedule_that_no_worker_can_read(lab: Lab, context: Context, column: str) -> None:
    await put(lab, context)
    with pytest.raises(Exception, match="violates check constraint"):
        await lab.rows(context, f"UPDATE datalane.job_schedules SET {column}")


async def test_a_worker_fires_what_becomes_due_while_it_runs(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    ran = asyncio.Queue[Job]()

    @handlers.external("work")
    async def work(job: Job) -> None:
        ran.put_nowait(job)

    async with working(lab.database, handlers, quick()):
        async with lab.database.transaction(context) as tx:
            await put_schedule(tx, "soon", "work", "* * * * *", now=datetime.now(UTC) - timedelta(minutes=2))
        job = await asyncio.wait_for(ran.get(), 20)
    assert (job.kind, job.workspace_id) == ("work", context.workspace_id)

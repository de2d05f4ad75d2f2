"""Reclaim: a worker that had lost the database takes back what it holds and does not run, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest
from tests.integration.engine.lab import LEASE, START, Claimed, Lab, after

from datalane.contracts.context import Context
from datalane.errors import Forbidden, LeaseLost


async def reclaim(
    lab: Lab, *running: Claimed, worker: str = "worker-1", bound: int = 10, now: datetime = START
) -> tuple[int, int]:
    """How many were taken back, how many are undecided."""
    (row,) = await lab.call(
        "reclaim_jobs",
        worker=worker,
        running_workspaces=[job.workspace_id for job in running],
        running_ids=[job.id for job in running],
        bound=bound,
        lease=LEASE,
        now=now,
    )
    return row["reclaimed"], row["undecided"]


async def statuses(lab: Lab, context: Context, jobs: Sequence[Claimed]) -> list[str]:
    return [(await lab.state(context, job.id)).status for job in jobs]


async def test_only_what_this_worker_holds_and_does_not_run_is_taken_back(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 4)
    running, broken, done = await lab.claim(batch=3)
    (others,) = await lab.claim(worker="worker-2")
    await lab.finish(done)
    assert await reclaim(lab, running) == (1, 0)
    assert await statuses(lab, context, [running, broken, done, others]) == [
        "processing",
        "retrying",
        "completed",
        "processing",
    ]
    state = await lab.state(context, broken.id)
    assert (state.attempt_count, state.rescue_count, state.last_error_class) == (0, 1, "database_unavailable")
    assert (await lab.claim_one()).id == broken.id
    assert await lab.path(context, broken.id) == ["queued", "processing", "retrying", "processing"]


async def test_a_job_of_the_same_id_in_another_workspace_is_another_job(
    lab: Lab, context: Context, other_context: Context
) -> None:
    (mine,) = await lab.enqueue(context)
    await lab.enqueue(other_context)
    jobs = {job.workspace_id: job for job in await lab.claim()}
    running = jobs[other_context.workspace_id]
    impostor = Claimed(**{**vars(running), "id": mine})
    assert await reclaim(lab, impostor, running) == (1, 0)
    assert (await lab.state(context, mine)).status == "retrying"


async def test_who_was_taken_back_cannot_complete_any_more(lab: Lab, context: Context) -> None:
    await lab.enqueue(context)
    job = await lab.claim_one()
    await reclaim(lab)
    assert await lab.finish(job) == set()
    with pytest.raises(LeaseLost):
        async with lab.database.transaction(context) as tx:
            await tx.execute("SELECT datalane.complete_job($1, $2)", job.id, job.lease_token)


async def test_the_first_time_at_once_then_later_and_later_up_to_the_lease(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    waits, now = [], 0.0
    for _ in range(9):
        await lab.claim_one(now=after(now))
        await reclaim(lab, now=after(now))
        ready = (await lab.state(context, job_id)).next_retry_at
        assert ready is not None
        waits.append((ready - after(now)).total_seconds())
        now += waits[-1]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_past_the_bound_it_is_a_dead_letter(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    await lab.claim_one()
    await reclaim(lab, bound=1)
    await lab.claim_one()
    await reclaim(lab, bound=1)
    state = await lab.state(context, job_id)
    assert (state.status, state.dead_letter_reason) == ("dead_letter", "rescued_too_often")


async def test_a_completion_that_an_old_session_is_committing_is_left_to_it(lab: Lab, context: Context) -> None:
    await lab.enqueue(context)
    job = await lab.claim_one()
    async with lab.database.transaction(context) as old_session:
        await old_session.execute("SELECT datalane.complete_job($1, $2)", job.id, job.lease_token)
        assert await reclaim(lab) == (0, 1)
    assert await reclaim(lab) == (0, 0)
    assert (await lab.state(context, job.id)).status == "completed"


async def test_the_next_of_an_ordering_key_waits_for_the_one_taken_back(lab: Lab, context: Context) -> None:
    first, second = await lab.enqueue(context, 2, order_key="k")
    assert (await lab.claim_one()).id == first
    await reclaim(lab)
    again = await lab.claim()
    assert [job.id for job in again] == [first]
    await lab.finish(*again)
    assert (await lab.claim_one()).id == second


async def test_the_app_role_may_not_reclaim(lab: Lab, context: Context) -> None:
    with pytest.raises(Forbidden, match="permission denied"):
        async with lab.database.transaction(context) as tx:
            await tx.execute("SELECT datalane.reclaim_jobs('w', '{}', '{}', 10, interval '1 minute')")

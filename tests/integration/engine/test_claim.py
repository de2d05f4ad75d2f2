"""Claim: fair over workspaces, leased, bounded, paused; and what becomes of a lost worker's jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import LEASE, START, Lab, after

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.errors import Forbidden


async def test_a_claimed_job_says_everything_its_handler_needs(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, subject_id="s1")
    (job,) = await lab.claim()
    assert (job.workspace_id, job.id, job.kind) == (context.workspace_id, job_id, "work")
    assert (job.attempt_count, job.lease_token, job.rescue_count) == (1, 1, 0)
    state = await lab.state(context, job_id)
    assert (state.status, state.attempt_count, state.started_at) == ("processing", 1, START)


async def test_a_job_is_claimed_once(lab: Lab, context: Context) -> None:
    await lab.enqueue(context)
    assert len(await lab.claim()) == 1
    assert await lab.claim() == []


async def test_one_workspaces_thousands_do_not_keep_anothers_one_waiting(
    lab: Lab, context: Context, other_context: Context
) -> None:
    for _ in range(3):
        await lab.enqueue(context, 1_000)
    (lonely,) = await lab.enqueue(other_context)
    batch = await lab.claim(batch=50)
    assert lonely in {job.id for job in batch}
    assert len(batch) == 50


async def test_lanes_that_have_little_leave_their_share_to_the_others(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 300)
    for _ in range(20):
        await lab.enqueue(a_context())
    assert len(await lab.claim(batch=100)) == 100


async def test_lanes_whose_jobs_all_run_take_no_share(lab: Lab, context: Context) -> None:
    for _ in range(60):
        await lab.enqueue(a_context())
    assert len(await lab.claim(batch=60)) == 60
    await lab.enqueue(context, 300)
    assert len(await lab.claim(batch=100, worker="worker-2")) == 100


async def test_lanes_whose_jobs_all_run_do_not_hide_those_behind(lab: Lab) -> None:
    workspaces = sorted((a_context() for _ in range(12)), key=lambda one: one.workspace_id.bytes)
    for one in workspaces:
        await lab.enqueue(one)
    first = await lab.claim(batch=5)
    second = await lab.claim(batch=5, worker="worker-2")
    third = await lab.claim(batch=5, worker="worker-3", after_workspace=second[-1].workspace_id, after_kind="work")
    assert [len(first), len(second), len(third)] == [5, 5, 2]
    assert len({job.id for job in (*first, *second, *third)}) == 12
    (late,) = await lab.enqueue(workspaces[0])
    wrapped = await lab.claim(batch=5, after_workspace=workspaces[6].workspace_id, after_kind="work")
    assert [job.id for job in wrapped] == [late]


async def test_a_worker_goes_round_all_lanes(lab: Lab) -> None:
    for _ in range(25):
        await lab.enqueue(a_context(), 3)
    served: list[UUID] = []
    last: tuple[UUID | None, str | None] = (None, None)
    for _ in range(5):
        batch = await lab.claim(batch=5, after_workspace=last[0], after_kind=last[1])
        served += [job.workspace_id for job in batch]
        last = (batch[-1].workspace_id, batch[-1].kind)
    assert len(served) == len(set(served)) == 25


async def test_concurrent_claims_never_overlap(lab: Lab, database: Database) -> None:
    contexts = [a_context() for _ in range(7)]
    for one in contexts:
        await lab.enqueue(one, 60)
    claimed: list[UUID] = []

    async def drain(name: str) -> None:
        async with Lab.opened(database, name) as worker:
            while jobs := await worker.claim(batch=13):
                claimed.extend(job.id for job in jobs)

    await asyncio.gather(*(drain(f"worker-{number}") for number in range(6)))
    assert len(claimed) == len(set(claimed)) == 420


async def test_higher_priority_goes_first_then_the_older(lab: Lab, context: Context) -> None:
    (low,) = await lab.enqueue(context, priority=-1)
    (first,) = await lab.enqueue(context)
    (second,) = await lab.enqueue(context, now=after(1))
    (high,) = await lab.enqueue(context, priority=5, now=after(2))
    order = [(await lab.claim_one(now=after(10))).id for _ in range(4)]
    assert order == [high, first, second, low]


async def test_a_delayed_job_waits_for_its_time(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, run_at=after(30))
    assert await lab.value("next_due") == after(30)
    assert await lab.claim(now=after(29.9)) == []
    assert [job.id for job in await lab.claim(now=after(30))] == [job_id]
    assert await lab.value("next_due") is None


async def test_kinds_nobody_asked_for_stay_untouched(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, kind="unknown")
    assert await lab.claim("work", "other") == []
    assert (await lab.state(context, job_id)).status == "queued"
    assert await lab.call("claim_jobs", kinds=[], batch=5, lease=LEASE, worker="w", now=START) == []


@pytest.mark.parametrize("paused", ["work", "*"])
async def test_a_paused_workspace_is_passed_over(
    lab: Lab, context: Context, other_context: Context, paused: str
) -> None:
    (mine,) = await lab.enqueue(context)
    (theirs,) = await lab.enqueue(other_context)
    await lab.set_pause(context, "pause_jobs", paused)
    assert [job.id for job in await lab.claim()] == [theirs]
    await lab.set_pause(context, "resume_jobs", paused)
    assert [job.id for job in await lab.claim()] == [mine]


async def test_pausing_one_kind_leaves_the_others_running(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, kind="work")
    (other,) = await lab.enqueue(context, kind="other")
    await lab.set_pause(context, "pause_jobs", "work")
    assert [job.id for job in await lab.claim("work", "other")] == [other]


async def test_a_kind_can_be_paused_everywhere(lab: Lab, context: Context, other_context: Context) -> None:
    await lab.enqueue(context)
    await lab.enqueue(other_context)
    (other,) = await lab.enqueue(context, kind="other")
    who = {"actor": context.actor_id, "correlation": "c"}
    await lab.value("pause_kind_everywhere", kind="work", **who)
    assert [job.id for job in await lab.claim("work", "other")] == [other]
    await lab.value("resume_kind_everywhere", kind="work", **who)
    assert len(await lab.claim("work")) == 2


async def test_no_tenant_pauses_a_kind_everywhere(lab: Lab, context: Context) -> None:
    with pytest.raises(Forbidden):
        await lab.rows(context, "SELECT datalane.pause_kind_everywhere('work', app.actor_id(), 'c')")


async def test_a_bound_on_running_jobs_holds_over_workspaces(
    lab: Lab, context: Context, other_context: Context
) -> None:
    await lab.value("register_job_kind", kind="work", max_running=3)
    await lab.enqueue(context, 5)
    await lab.enqueue(other_context, 5)
    first = await lab.claim()
    assert len(first) == 3
    assert await lab.claim() == []
    await lab.finish(first[0])
    await lab.fail(first[1])
    assert len(await lab.claim()) == 2


async def test_a_bound_holds_under_racing_claimers(lab: Lab, database: Database, context: Context) -> None:
    await lab.value("register_job_kind", kind="work", max_running=4)
    for one in [context, *(a_context() for _ in range(4))]:
        await lab.enqueue(one, 10)
    running: set[UUID] = set()
    most = 0
    done: list[UUID] = []

    async def drain(name: str) -> None:
        nonlocal most
        async with Lab.opened(database, name) as worker:
            while len(done) < 50:
                jobs = await worker.claim(batch=3)
                running.update(job.id for job in jobs)
                most = max(most, len(running))
                running.difference_update(job.id for job in jobs)
                done.extend(await worker.finish(*jobs))

    await asyncio.gather(*(drain(f"worker-{number}") for number in range(5)))
    assert len(done) == len(set(done)) == 50
    assert most <= 4


async def test_a_bounded_kind_goes_round_the_workspaces_beside_a_busy_other_kind(lab: Lab) -> None:
    await lab.value("register_job_kind", kind="bounded", max_running=1)
    contexts = sorted((a_context() for _ in range(5)), key=lambda one: one.workspace_id.bytes)
    for one in contexts:
        await lab.enqueue(one, 20, kind="bounded")
    await lab.enqueue(contexts[2], 50, kind="busy")
    served: list[UUID] = []
    last: tuple[UUID | None, str | None] = (None, None)
    for _ in range(5):
        batch = await lab.claim("bounded", "busy", batch=3, after_workspace=last[0], after_kind=last[1])
        last = (batch[-1].workspace_id, batch[-1].kind)
        served += [job.workspace_id for job in batch if job.kind == "bounded"]
        await lab.finish(*batch)
    assert sorted(served) == [one.workspace_id for one in contexts]


async def test_a_job_whose_lease_has_run_out_is_claimed_again_with_its_attempt_unspent(
    lab: Lab, context: Context
) -> None:
    (job_id,) = await lab.enqueue(context)
    lost = await lab.claim_one()
    assert await lab.claim(now=after(60)) == []
    again = await lab.claim_one(now=after(61))
    assert (again.id, again.attempt_count, again.rescue_count) == (job_id, 1, 1)
    assert again.lease_token > lost.lease_token
    await lab.finish(again, now=after(62))
    assert await lab.path(context, job_id) == ["queued", "processing", "retrying", "processing", "completed"]
    assert [change.reason for change in await lab.changes(context, job_id)] == [None, "rescued", None, None]


async def test_a_job_that_outlived_a_heartbeat_is_rescued_by_the_sweep(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    lost = await lab.claim_one()
    assert await lab.extend(lost, now=after(20)) == {job_id}
    assert await lab.rescue(now=after(79)) == 0
    assert await lab.claim(now=after(81)) == []
    assert await lab.rescue(now=after(81)) == 1
    state = await lab.state(context, job_id)
    assert (state.status, state.attempt_count, state.rescue_count) == ("retrying", 0, 1)
    again = await lab.claim_one(now=after(82))
    assert (again.id, again.attempt_count) == (job_id, 1)
    await lab.finish(again, now=after(83))
    assert await lab.path(context, job_id) == ["queued", "processing", "retrying", "processing", "completed"]


@pytest.mark.parametrize("beats", [True, False])
async def test_a_job_that_loses_worker_after_worker_ends_as_a_dead_letter(
    lab: Lab, context: Context, beats: bool
) -> None:
    (job_id,) = await lab.enqueue(context)
    moment = 0.0
    for _ in range(8):
        jobs = await lab.claim(now=after(moment), rescue_bound=3)
        if jobs and beats:
            await lab.extend(*jobs, now=after(moment))
        moment += 61
        await lab.rescue(3, now=after(moment))
    state = await lab.state(context, job_id)
    assert (state.status, state.dead_letter_reason) == ("dead_letter", "rescued_too_often")
    assert state.rescue_count in {3, 4}
    assert (await lab.path(context, job_id))[-2:] == ["retrying", "dead_letter"]
    assert await lab.claim(now=after(moment)) == []


async def test_a_heartbeat_names_the_jobs_that_are_lost(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 3)
    kept, finished, canceled = await lab.claim()
    await lab.finish(finished)
    await lab.operate(context, "cancel_jobs", [canceled.id])
    assert await lab.extend(kept, finished, canceled) == {kept.id}


async def test_a_heartbeat_does_not_wait_for_a_job_that_is_being_finished(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 2)
    finishing, running = await lab.claim()
    async with lab.database.transaction(context) as tx:
        await tx.execute("SELECT datalane.complete_job($1, $2)", finishing.id, finishing.lease_token)
        assert await asyncio.wait_for(lab.extend(finishing, running), 5) == {finishing.id, running.id}
    assert await lab.extend(finishing, running, now=after(1)) == {running.id}


async def test_claims_wait_for_nobody(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 2)
    (job,) = await lab.claim(batch=1)
    async with lab.database.transaction(context) as tx:
        await tx.execute("SELECT datalane.complete_job($1, $2)", job.id, job.lease_token)
        others = await asyncio.wait_for(lab.claim(now=after(3_600), lease=timedelta(seconds=1)), 5)
    assert len(others) == 1
    assert others[0].id != job.id

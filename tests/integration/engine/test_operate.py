"""What an operator does: retry, replay, cancel, skip, pause."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.engine.lab import Lab, after, ranked

from datalane.contracts.context import Context, Role
from datalane.engine.jobs import cancel_jobs, find_stopped, get_job, pause, replay_jobs, resume, retry_jobs, skip_job
from datalane.errors import Forbidden


async def dead(lab: Lab, context: Context, **columns: Any) -> UUID:
    """A job that failed its only attempt."""
    (job_id,) = await lab.enqueue(context, max_attempts=1, **columns)
    job = next(one for one in await lab.claim() if one.id == job_id)
    assert await lab.fail(job) == "dead_letter"
    return job_id


async def failed(lab: Lab, context: Context, attempts: int = 3) -> UUID:
    (job_id,) = await lab.enqueue(context, max_attempts=attempts)
    assert await lab.fail(await lab.claim_one(), retry_after=None) == "failed"
    return job_id


async def test_a_failed_job_is_retried_in_place_with_one_more_attempt(lab: Lab, context: Context) -> None:
    job_id = await failed(lab, context, attempts=1)
    assert (await lab.operate(context, "retry_jobs", [job_id], now=after(5)))[0][0] == 1
    again = await lab.claim_one(now=after(5))
    assert (again.id, again.attempt_count) == (job_id, 2)
    await lab.finish(again, now=after(6))
    assert await lab.path(context, job_id) == ["queued", "processing", "failed", "retrying", "processing", "completed"]


async def test_only_failed_jobs_are_retried(lab: Lab, context: Context) -> None:
    job_id = await dead(lab, context)
    (queued,) = await lab.enqueue(context)
    assert (await lab.operate(context, "retry_jobs", [job_id, queued]))[0][0] == 0


async def test_a_replay_is_a_new_job_that_names_its_parent(lab: Lab, context: Context) -> None:
    parent = await dead(lab, context, subject_id="s1", priority=4)
    ((of, child),) = await lab.operate(context, "replay_jobs", [parent], now=after(9))
    assert of == parent
    old, new = await lab.state(context, parent), await lab.state(context, child)
    assert (old.status, old.replayed_by, old.replayable) == ("dead_letter", child, False)
    assert (new.status, new.parent_job_id, new.attempt_count) == ("queued", parent, 0)
    assert (new.subject_id, new.priority, new.kind, new.correlation_id) == ("s1", 4, "work", old.correlation_id)
    assert new.idempotency_key not in {None, old.idempotency_key}
    assert (await lab.claim_one(now=after(9))).id == child


async def test_a_dead_letter_is_replayed_once(lab: Lab, context: Context) -> None:
    parent = await dead(lab, context)
    assert len(await lab.operate(context, "replay_jobs", [parent, parent])) == 1
    assert await lab.operate(context, "replay_jobs", [parent]) == []


async def test_racing_replays_make_one_job(lab: Lab, context: Context) -> None:
    parent = await dead(lab, context)
    answers = await asyncio.gather(*(lab.operate(context, "replay_jobs", [parent]) for _ in range(6)))
    assert sum(len(answer) for answer in answers) == 1
    assert await lab.count(context, "datalane.jobs") == 2


async def test_a_replay_that_dies_is_replayed_in_its_turn(lab: Lab, context: Context) -> None:
    first = await dead(lab, context)
    ((_, second),) = await lab.operate(context, "replay_jobs", [first])
    await lab.fail(await lab.claim_one())
    ((_, third),) = await lab.operate(context, "replay_jobs", [second])
    assert (await lab.state(context, third)).parent_job_id == second


async def test_a_filter_finds_what_to_replay_and_counts_it_without_touching(lab: Lab, context: Context) -> None:
    job_id = await dead(lab, context)
    await failed(lab, context)
    async with lab.database.transaction(context) as tx:
        assert await find_stopped(tx, "dead_letter") == [job_id]
        assert await find_stopped(tx, "dead_letter", kind="work", error_class="provider_error") == [job_id]
        assert await find_stopped(tx, "dead_letter", error_class="timeout") == []
        assert await find_stopped(tx, "dead_letter", kind="other") == []
        assert await find_stopped(tx, "dead_letter", before=after(-1)) == []
        assert len(await find_stopped(tx, "failed")) == 1
    await lab.operate(context, "replay_jobs", [job_id])
    async with lab.database.transaction(context) as tx:
        assert await find_stopped(tx, "dead_letter") == []


async def test_a_waiting_job_is_canceled_to_a_dead_letter(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    assert (await lab.operate(context, "cancel_jobs", [job_id]))[0][0] == 1
    assert (await lab.state(context, job_id)).dead_letter_reason == "canceled"
    assert await lab.path(context, job_id) == ["queued", "dead_letter"]
    assert await lab.claim() == []
    assert (await lab.operate(context, "cancel_jobs", [job_id]))[0][0] == 0


async def test_canceling_a_running_job_takes_its_lease_away(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    job = await lab.claim_one()
    await lab.operate(context, "cancel_jobs", [job_id], now=after(5))
    assert await lab.extend(job, now=after(5)) == set()
    assert await lab.finish(job, now=after(6)) == set()
    assert await lab.fail(job, now=after(6)) is None
    assert await lab.path(context, job_id) == ["queued", "processing", "retrying", "dead_letter"]
    assert await lab.rescue(now=after(999)) == 0
    assert await lab.claim(now=after(999)) == []


@pytest.mark.parametrize("ends", ["failed", "retrying", "due"])
async def test_whatever_has_not_ended_can_be_canceled(lab: Lab, context: Context, ends: str) -> None:
    if ends == "failed":
        job_id = await failed(lab, context)
    else:
        (job_id,) = await lab.enqueue(context)
        await lab.fail(await lab.claim_one(), retry_after=timedelta(seconds=9 if ends == "due" else 0))
    await lab.operate(context, "cancel_jobs", [job_id])
    assert (await lab.path(context, job_id))[-1] == "dead_letter"
    assert await lab.claim(now=after(999)) == []


async def test_a_completed_job_cannot_be_canceled(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    await lab.finish(await lab.claim_one())
    assert (await lab.operate(context, "cancel_jobs", [job_id]))[0][0] == 0
    assert (await lab.state(context, job_id)).status == "completed"


@pytest.mark.parametrize("verb", ["retry_jobs", "replay_jobs", "cancel_jobs"])
async def test_another_workspaces_jobs_are_out_of_reach(
    lab: Lab, context: Context, other_context: Context, verb: str
) -> None:
    job_id = await (dead if verb == "replay_jobs" else failed)(lab, context)
    before = await lab.state(context, job_id)
    await lab.operate(other_context, verb, [job_id])
    assert await lab.state(context, job_id) == before
    assert await lab.count(other_context, "datalane.jobs") == 0


async def test_a_member_may_not_operate(lab: Lab, context: Context) -> None:
    job_id = await failed(lab, context)
    for act in (retry_jobs, replay_jobs, cancel_jobs):
        with pytest.raises(Forbidden, match="admin"):
            async with lab.database.transaction(context) as tx:
                await act(tx, [job_id])
    with pytest.raises(Forbidden, match="admin"):
        async with lab.database.transaction(context) as tx:
            await skip_job(tx, job_id)
    for switch in (pause, resume):
        with pytest.raises(Forbidden, match="admin"):
            async with lab.database.transaction(context) as tx:
                await switch(tx)


async def test_the_python_surface_does_what_the_verbs_do(lab: Lab, context: Context) -> None:
    job_id, dead_id = await failed(lab, context), await dead(lab, context)
    async with lab.database.transaction(ranked(context, Role.ADMIN)) as tx:
        assert await retry_jobs(tx, [job_id]) == 1
        replayed = await replay_jobs(tx, [dead_id])
        assert (await get_job(tx, replayed[dead_id])).parent_job_id == dead_id
        assert await cancel_jobs(tx, [job_id, *replayed.values()]) == 2
        await pause(tx, "work")
        await pause(tx, "work")
        await resume(tx, "work")
        assert not await skip_job(tx, job_id)

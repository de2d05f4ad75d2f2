"""Finish: complete, fail, give back; and the fence against a worker that has lost its lease."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.integration.engine.lab import START, Claimed, Lab, after

from datalane.contracts.context import Context
from datalane.engine.failures import LEAST_PAUSE, MOST_PATIENCE, JobError, classify, is_postponed
from datalane.errors import Busy, Forbidden, LeaseLost, NotFound, RateLimited

EVENTS = "SELECT event_type, payload, subject_id, causation_depth FROM datalane.events"


async def complete_here(lab: Lab, context: Context, *jobs: Claimed) -> None:
    """Complete inside a tenant transaction that also has an effect of its own."""
    async with lab.database.transaction(context) as tx:
        await tx.execute("SELECT datalane.publish('thing.happened', '{}')")
        if len(jobs) == 1:
            await tx.execute("SELECT datalane.complete_job($1, $2)", jobs[0].id, jobs[0].lease_token)
        else:
            await tx.execute(
                "SELECT datalane.complete_jobs($1, $2)", [job.id for job in jobs], [job.lease_token for job in jobs]
            )


async def test_a_completed_job_moves_to_history(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    job = await lab.claim_one(now=after(2))
    assert await lab.finish(job, now=after(3)) == {job_id}
    state = await lab.state(context, job_id)
    assert (state.status, state.attempt_count) == ("completed", 1)
    assert (state.queued_at, state.started_at, state.completed_at) == (START, after(2), after(3))
    assert await lab.count(context, "datalane.jobs") == 0
    assert await lab.path(context, job_id) == ["queued", "processing", "completed"]


async def test_one_alone_and_one_among_many_leave_the_same_history(lab: Lab, context: Context) -> None:
    told: dict[str, Any] = {"subject_id": "s", "priority": 3, "order_key": "k", "max_attempts": 7}
    rows = []
    for verb, several in (("complete_job", False), ("complete_jobs", True)):
        await lab.enqueue(context, **told)
        job = await lab.claim_one(now=after(1))
        await lab.fail(job, "timeout", "slow", retry_after=timedelta(), now=after(1))
        again = await lab.claim_one(now=after(2))
        values = [[again.id], [again.lease_token]] if several else [again.id, again.lease_token]
        async with lab.database.transaction(context) as tx:
            await tx.execute(f"SELECT datalane.{verb}($1, $2, $3)", *values, after(3))
        row = await lab.rows(context, "SELECT * FROM datalane.job_history WHERE id = $1", again.id)
        rows.append({name: value for name, value in row[0].items() if name not in {"id", "order_seq"}})
    assert rows[0] == rows[1]
    assert all(rows[0][name] == value for name, value in told.items())


async def test_completing_twice_writes_once(lab: Lab, context: Context) -> None:
    await lab.enqueue(context)
    job = await lab.claim_one()
    assert await lab.finish(job) == {job.id}
    assert await lab.finish(job) == set()
    assert await lab.count(context, "datalane.job_history") == 1


async def test_a_postponed_job_waits_with_its_attempt_unspent_and_a_stale_worker_postpones_nothing(
    lab: Lab, context: Context
) -> None:
    (job_id,) = await lab.enqueue(context)
    job = await lab.claim_one()
    assert await lab.postpone(job, timedelta(seconds=30)) == "retrying"
    state = await lab.state(context, job_id)
    assert (state.status, state.attempt_count, state.next_retry_at) == ("retrying", 0, after(30))
    assert (state.last_error_class, state.last_error_message) == ("rate_limited", "busy")
    assert await lab.postpone(job, timedelta(seconds=30), after(1)) is None
    assert await lab.claim(now=after(29)) == []
    assert (await lab.claim_one(now=after(30))).attempt_count == 1


def test_patience_ends_and_no_pause_is_too_short() -> None:
    told = classify(RateLimited("busy", 30))
    assert (told.retryable, told.retry_after) == (True, timedelta(seconds=30))
    assert is_postponed(told, START, START + MOST_PATIENCE - timedelta(seconds=1))
    assert not is_postponed(told, START, START + MOST_PATIENCE)
    assert classify(Busy("no room", 0)).retry_after == LEAST_PAUSE
    assert not is_postponed(classify(JobError("busy", "later", retry_after=timedelta(1))), START, START)


async def test_a_failure_waits_for_its_backoff_and_runs_again(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    job = await lab.claim_one()
    assert await lab.fail(job, "timeout", "too slow", retry_after=timedelta(seconds=30)) == "retrying"
    state = await lab.state(context, job_id)
    assert (state.status, state.next_retry_at) == ("retrying", after(30))
    assert (state.last_error_class, state.last_error_message) == ("timeout", "too slow")
    assert await lab.claim(now=after(29)) == []
    again = await lab.claim_one(now=after(30))
    assert again.attempt_count == 2
    await lab.finish(again, now=after(31))
    assert await lab.path(context, job_id) == ["queued", "processing", "retrying", "processing", "completed"]
    changes = await lab.changes(context, job_id)
    assert [(one.at, one.attempt, one.error_class) for one in changes] == [
        (START, 1, None),
        (START, 1, "timeout"),
        (after(30), 2, None),
        (after(31), 2, None),
    ]


async def test_a_retry_without_delay_is_ready_at_once(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    await lab.fail(await lab.claim_one(), retry_after=timedelta())
    assert (await lab.claim_one()).id == job_id


async def test_the_last_failure_is_a_dead_letter_that_says_so(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    statuses = [await lab.fail(await lab.claim_one(now=after(10 * turn)), now=after(10 * turn)) for turn in range(3)]
    assert statuses == ["retrying", "retrying", "dead_letter"]
    state = await lab.state(context, job_id)
    assert (state.status, state.dead_letter_reason, state.dead_lettered_at) == (
        "dead_letter",
        "attempts_exhausted",
        after(20),
    )
    assert (state.attempt_count, state.last_error_class) == (3, "provider_error")
    assert (await lab.path(context, job_id))[-3:] == ["processing", "retrying", "dead_letter"]
    (event,) = await lab.rows(context, EVENTS)
    assert event["event_type"] == "job.dead_lettered"
    assert event["subject_id"] == str(job_id)
    assert event["payload"] == {
        "job_id": str(job_id),
        "kind": "work",
        "reason": "attempts_exhausted",
        "error_class": "provider_error",
        "attempt_count": 3,
    }
    assert await lab.claim(now=after(9_999)) == []


async def test_a_dead_letter_starts_the_handlers_of_its_event(lab: Lab, context: Context) -> None:
    await lab.handle("job.dead_lettered", "tell_somebody")
    (job_id,) = await lab.enqueue(context, max_attempts=1)
    await lab.fail(await lab.claim_one())
    (told,) = await lab.claim("tell_somebody")
    assert told.workspace_id == context.workspace_id
    (event,) = await lab.rows(context, EVENTS)
    assert event["payload"]["job_id"] == str(job_id)


async def test_a_handler_of_dead_letters_that_dies_itself_stops_past_the_causation_limit(
    lab: Lab, context: Context
) -> None:
    await lab.handle("job.dead_lettered", "doomed")
    await lab.enqueue(context, kind="doomed", max_attempts=1)
    deaths = 0
    while jobs := await lab.claim("doomed", now=after(deaths)):
        for job in jobs:
            while await lab.fail(job, retry_after=timedelta(), now=after(deaths)) == "retrying":
                (job,) = await lab.claim("doomed", now=after(deaths))
            deaths += 1
        assert deaths <= 20
    assert deaths == 18
    assert max(row["causation_depth"] for row in await lab.rows(context, EVENTS)) == 17


async def test_a_final_failure_waits_for_an_operator(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    assert await lab.fail(await lab.claim_one(), "validation_error", "no such column", retry_after=None) == "failed"
    assert await lab.claim(now=after(9_999)) == []
    assert (await lab.state(context, job_id)).status == "failed"
    assert await lab.path(context, job_id) == ["queued", "processing", "failed"]
    assert await lab.count(context, "datalane.events") == 0


async def test_a_stale_worker_writes_nothing(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    stale = await lab.claim_one()
    holder = await lab.claim_one(now=after(61))
    assert await lab.finish(stale, now=after(62)) == set()
    assert await lab.fail(stale, now=after(62)) is None
    assert await lab.extend(stale, now=after(62)) == set()
    assert await lab.release(stale, now=after(62)) == 0
    state = await lab.state(context, job_id)
    assert (state.status, state.last_error_class) == ("processing", None)
    assert await lab.finish(holder, now=after(63)) == {job_id}


async def test_a_stale_workers_effect_is_rolled_back(lab: Lab, context: Context) -> None:
    await lab.enqueue(context, 2)
    stale, lost = await lab.claim()
    await lab.finish(lost)
    with pytest.raises(LeaseLost, match=str(lost.id)):
        await complete_here(lab, context, stale, lost)
    assert await lab.count(context, "datalane.events") == 0
    assert (await lab.state(context, stale.id)).status == "processing"
    await complete_here(lab, context, stale)
    assert await lab.count(context, "datalane.events") == 1


async def test_a_job_completes_only_in_its_own_workspace(lab: Lab, context: Context, other_context: Context) -> None:
    await lab.enqueue(context)
    job = await lab.claim_one()
    with pytest.raises(LeaseLost):
        await complete_here(lab, other_context, job)
    with pytest.raises(LeaseLost):
        await lab.rows(other_context, "SELECT datalane.fail_job_here($1, $2, 'x', 'y', NULL)", job.id, job.lease_token)
    with pytest.raises(Forbidden):
        await lab.rows(context, "SELECT datalane.finish_jobs($1, $2, $3)", [job.workspace_id], [job.id], [1])
    assert (await lab.state(context, job.id)).status == "processing"
    with pytest.raises(NotFound):
        await lab.state(other_context, job.id)


async def test_a_failure_recorded_in_a_transaction_goes_with_it(lab: Lab, context: Context) -> None:
    await lab.enqueue(context)
    job = await lab.claim_one()
    async with lab.database.transaction(context) as tx:
        status = await tx.fetchval(
            "SELECT datalane.fail_job_here($1, $2, 'x', 'y', '5s', $3)", job.id, job.lease_token, START
        )
        assert status == "retrying"
    with pytest.raises(LeaseLost):
        await lab.rows(context, "SELECT datalane.fail_job_here($1, $2, 'x', 'y', '5s')", job.id, job.lease_token)


async def test_a_job_given_back_has_its_attempt_unspent_and_a_true_history(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, max_attempts=1)
    assert await lab.release(await lab.claim_one()) == 1
    assert await lab.release(await lab.claim_one()) == 1
    job = await lab.claim_one()
    assert job.attempt_count == 1
    await lab.finish(job)
    assert await lab.path(context, job_id) == ["queued", *["processing", "retrying"] * 2, "processing", "completed"]
    assert [one.reason for one in await lab.changes(context, job_id)][1] == "released"


async def test_history_keeps_its_order_when_everything_happens_at_once(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    for _ in range(3):
        await lab.release(await lab.claim_one())
        await lab.fail(await lab.claim_one(), retry_after=timedelta())
    assert len(await lab.path(context, job_id)) == 1 + 6 * 2 + 1

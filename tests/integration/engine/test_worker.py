"""The worker: what happens to a job in every mode of handler, when things go well and when they do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.integration.engine.lab import Lab, eventually, ranked
from tests.integration.engine.workers import AT_ONCE, counting, effects, ended, put, quick, states, working

from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.failures import JobError
from datalane.engine.handlers import Failure, Handlers, Job
from datalane.engine.jobs import enqueue, list_jobs, pause
from datalane.errors import ConfigurationError, Conflict, InvalidInput, RateLimited

POSTPONED = "SELECT reason FROM datalane.job_transitions WHERE error_class = 'rate_limited'"


async def test_a_transactional_effect_commits_with_its_completion(lab: Lab, context: Context) -> None:
    ids = await put(lab.database, context, "work", *({"n": n} for n in range(50)))
    async with working(lab.database, counting(Handlers())) as worker:
        await ended(lab.database, context, ids)
        assert await effects(lab, context) == list(range(50))
    assert worker.tally.completed == 50


async def test_one_failing_job_of_a_batch_pays_alone(lab: Lab, context: Context) -> None:
    jobs = [{"n": n, "fails": 1 if n == 7 else 3 if n == 11 else 0} for n in range(20)]
    ids = await put(lab.database, context, "work", *jobs)
    async with working(lab.database, counting(Handlers())):
        ended_as = await ended(lab.database, context, ids, "completed", "dead_letter")
    attempts = {job.args["n"]: (job.status, job.attempt_count) for job in ended_as}
    assert attempts.pop(7) == ("completed", 2)
    assert attempts.pop(11) == ("dead_letter", 3)
    assert set(attempts.values()) == {("completed", 1)}
    assert await effects(lab, context) == [n for n in range(20) if n != 11]


async def test_a_handler_acts_for_the_jobs_actor_and_cause(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    seen: list[Context] = []

    @handlers.on_event("thing.happened", kind="seer")
    async def see(tx: Transaction, job: Job) -> None:
        seen.append(tx.context)

    async with working(lab.database, handlers):
        async with lab.database.transaction(context) as tx:
            event = await publish(tx, "thing.happened", {"n": 1})
            (job,) = await list_jobs(tx)
        await ended(lab.database, context, [job.id])
    (acting,) = seen
    assert (acting.workspace_id, acting.actor_id, acting.role) == (context.workspace_id, context.actor_id, Role.SYSTEM)
    assert (acting.correlation_id, acting.causation_id) == (context.correlation_id, event.event_id)
    assert acting.causation_depth == 1


async def test_a_handler_that_triggers_itself_is_stopped(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    @handlers.on_event("thing.happened", kind="echo")
    async def echo(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"n": 1})

    async def stopped() -> list[Any]:
        return await lab.rows(context, "SELECT last_error_class FROM datalane.jobs WHERE status = 'failed'")

    async with working(lab.database, handlers):
        async with lab.database.transaction(context) as tx:
            await publish(tx, "thing.happened", {"n": 0})
        (failed,) = await eventually(stopped)
    assert failed["last_error_class"] == "limit_exceeded"
    assert len(await effects(lab, context)) == 17


async def test_a_staged_batch_applies_once_and_bad_ones_fail_alone(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    sizes: list[int] = []

    async def prepare(jobs: Sequence[Job]) -> list[Any]:
        sizes.append(len(jobs))
        return [
            JobError("broken", "bad input", retryable=False) if job.args["n"] == 3 else job.args["n"] for job in jobs
        ]

    @handlers.staged("work", prepare=prepare, batch=4)
    async def apply(tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        for number in prepared:
            await publish(tx, "thing.happened", {"n": number})

    ids = await put(lab.database, context, "work", *({"n": n} for n in range(10)))
    async with working(lab.database, handlers):
        jobs = await ended(lab.database, context, ids, "completed", "failed")
    assert max(sizes) <= 4
    assert await effects(lab, context) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [(job.args["n"], job.last_error_class) for job in jobs if job.status == "failed"] == [(3, "broken")]


async def test_a_staged_handler_that_answers_too_few_results_fails_its_jobs(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    async def prepare(jobs: Sequence[Job]) -> list[Any]:
        return []

    @handlers.staged("work", prepare=prepare, batch=4, retry=AT_ONCE)
    async def apply(tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        raise AssertionError("nothing to apply")

    ids = await put(lab.database, context, "work", {}, {})
    async with working(lab.database, handlers):
        jobs = await ended(lab.database, context, ids, "dead_letter")
    assert [(job.attempt_count, job.last_error_class) for job in jobs] == [(3, "unexpected_internal")] * 2


async def test_external_handlers_run_beside_one_another_async_or_in_threads(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    threads: set[str] = set()
    meeting = asyncio.Barrier(4)

    @handlers.external("call")
    async def call(job: Job) -> None:
        await meeting.wait()

    @handlers.external("compute")
    def compute(job: Job) -> None:
        threads.add(threading.current_thread().name)

    calls = await put(lab.database, context, "call", *[{}] * 4)
    computed = await put(lab.database, context, "compute")
    async with working(lab.database, handlers):
        await ended(lab.database, context, [*calls, *computed])
    assert threading.main_thread().name not in threads
    assert len(threads) == 1


@pytest.mark.parametrize("mode", ["transactional", "external"])
async def test_a_handler_that_hangs_runs_out_of_time(lab: Lab, context: Context, mode: str) -> None:
    handlers = Handlers()

    if mode == "external":

        @handlers.external("work", timeout=timedelta(milliseconds=50))
        async def call(job: Job) -> None:
            await asyncio.Event().wait()
    else:

        @handlers.transactional("work", timeout=timedelta(milliseconds=50))
        async def hang(tx: Transaction, job: Job) -> None:
            if job.args["n"] == 1:
                await tx.execute("SELECT pg_sleep(60)")

    good, bad = await put(lab.database, context, "work", {"n": 0}, {"n": 1}, max_attempts=1)
    async with working(lab.database, handlers):
        (job,) = await ended(lab.database, context, [bad], "dead_letter")
        await ended(lab.database, context, [good], "completed" if mode == "transactional" else "dead_letter")
    assert job.last_error_class == "timeout"


async def test_a_timeout_is_each_jobs_own_also_in_a_batch(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    @handlers.transactional("work", timeout=timedelta(milliseconds=300))
    async def hang(tx: Transaction, job: Job) -> None:
        if job.args["n"] == 0:
            await asyncio.Event().wait()

    ids = await put(lab.database, context, "work", *({"n": n} for n in range(100)), max_attempts=1)
    async with working(lab.database, handlers):
        jobs = await ended(lab.database, context, ids, "completed", "dead_letter")
    assert [job.args["n"] for job in jobs if job.status == "dead_letter"] == [0]


async def test_errors_of_the_data_fail_at_once_and_others_are_tried_again(lab: Lab, context: Context) -> None:
    handlers = Handlers()
    errors: dict[str, Exception] = {
        "data": InvalidInput("no such column"),
        "bug": KeyError("x"),
        "own": JobError("quota\x00", "password=hunter2 \x00 token: abc", retryable=False),
    }

    @handlers.transactional("work", retry=AT_ONCE)
    async def fail(tx: Transaction, job: Job) -> None:
        raise errors[job.args["error"]]

    ids = await put(lab.database, context, "work", *({"error": name} for name in errors))
    async with working(lab.database, handlers):
        jobs = await ended(lab.database, context, ids, "failed", "dead_letter")
    told = {job.args["error"]: (job.status, job.attempt_count, job.last_error_class) for job in jobs}
    assert told == {
        "data": ("failed", 1, "invalid_input"),
        "bug": ("dead_letter", 3, "unexpected_internal"),
        "own": ("failed", 1, "quota"),
    }
    messages = " ".join(job.last_error_message or "" for job in jobs)
    assert "hunter2" not in messages
    assert "abc" not in messages


async def test_a_job_that_is_asked_to_wait_spends_no_attempt(lab: Lab, context: Context) -> None:
    handlers, asked = Handlers(), 0

    @handlers.external("work", retry=AT_ONCE)
    async def ask(job: Job) -> None:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise RateLimited("the other side is busy", 0.001)

    ids = await put(lab.database, context, "work", max_attempts=1)
    async with working(lab.database, handlers) as worker:
        [job] = await ended(lab.database, context, ids)
    assert (job.attempt_count, asked) == (1, 5)
    assert (worker.tally.completed, worker.tally.postponed, worker.tally.failed) == (1, 4, 0)
    reasons = [row["reason"] for row in await lab.rows(context, POSTPONED)]
    assert reasons == ["postponed"] * 4


async def test_a_handler_that_swallows_a_database_error_does_not_complete(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    @handlers.transactional("work", retry=AT_ONCE)
    async def swallow(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"n": 1})
        with pytest.raises(asyncpg.DivisionByZeroError):
            await tx.execute("SELECT 1/0")

    ids = await put(lab.database, context, "work", max_attempts=1)
    async with working(lab.database, handlers):
        await ended(lab.database, context, ids, "dead_letter")
    assert await effects(lab, context) == []


@pytest.mark.parametrize("mode", ["transactional", "external"])
async def test_a_handler_that_cancels_itself_fails(lab: Lab, context: Context, mode: str) -> None:
    handlers = Handlers()

    if mode == "external":

        @handlers.external("work")
        async def call(job: Job) -> None:
            raise asyncio.CancelledError
    else:

        @handlers.transactional("work")
        async def work(tx: Transaction, job: Job) -> None:
            raise asyncio.CancelledError

    ids = await put(lab.database, context, "work", max_attempts=1)
    async with working(lab.database, handlers):
        [job] = await ended(lab.database, context, ids, "dead_letter")
    assert "cancelled from inside" in (job.last_error_message or "")


async def test_the_failure_hook_commits_with_the_failure(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    async def on_failure(tx: Transaction, job: Job, failure: Failure) -> None:
        await publish(tx, "thing.happened", {"n": f"{job.attempt_count} {failure.error_class}"})

    @handlers.transactional("work", retry=AT_ONCE, on_failure=on_failure)
    async def work(tx: Transaction, job: Job) -> None:
        raise JobError("broken", "always")

    ids = await put(lab.database, context, "work", max_attempts=2)
    async with working(lab.database, handlers):
        await ended(lab.database, context, ids, "dead_letter")
    assert await effects(lab, context) == ["1 broken", "2 broken"]


async def test_a_failure_is_on_record_also_when_its_hook_breaks(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    async def on_failure(tx: Transaction, job: Job, failure: Failure) -> None:
        await publish(tx, "thing.happened", {"n": 1})
        raise RuntimeError("the hook is broken too")

    @handlers.transactional("work", retry=AT_ONCE, on_failure=on_failure)
    async def work(tx: Transaction, job: Job) -> None:
        raise JobError("broken", "always")

    ids = await put(lab.database, context, "work")
    async with working(lab.database, handlers):
        (job,) = await ended(lab.database, context, ids, "dead_letter")
    assert (job.last_error_class, job.attempt_count) == ("broken", 3)
    assert await effects(lab, context) == []


async def test_kinds_without_a_handler_and_paused_ones_stay(lab: Lab, context: Context) -> None:
    unknown = await put(lab.database, context, "unknown")
    async with lab.database.transaction(ranked(context, Role.ADMIN)) as tx:
        await pause(tx, "paused")
    handlers = counting(Handlers())

    @handlers.transactional("paused")
    async def paused(tx: Transaction, job: Job) -> None:
        raise AssertionError("paused")

    waiting = await put(lab.database, context, "paused")
    async with working(lab.database, handlers):
        await ended(lab.database, context, await put(lab.database, context, "work", {"n": 1}))
    assert [job.status for job in await states(lab.database, context, [*unknown, *waiting])] == ["queued"] * 2


async def test_a_handler_may_enqueue_more_in_its_own_transaction(lab: Lab, context: Context) -> None:
    handlers = Handlers()

    @handlers.transactional("countdown")
    async def countdown(tx: Transaction, job: Job) -> None:
        await publish(tx, "thing.happened", {"n": job.args["n"]})
        if job.args["n"]:
            await enqueue(tx, "countdown", {"n": job.args["n"] - 1})

    async with working(lab.database, handlers, quick(poll=60, lease=600)):
        await put(lab.database, context, "countdown", {"n": 5})

        async def all_done() -> bool:
            return await effects(lab, context) == list(range(6))

        assert await eventually(all_done)


def test_two_handlers_of_one_kind_and_plain_transactional_functions_are_refused() -> None:
    handlers = counting(Handlers())
    with pytest.raises(ConfigurationError, match="two handlers"):
        counting(handlers)

    def plain(tx: Transaction, job: Job) -> None:
        return None

    with pytest.raises(ConfigurationError, match="async"):
        handlers.transactional("plain")(plain)  # type: ignore[arg-type]


async def test_a_transaction_that_an_error_had_ended_does_not_look_committed(lab: Lab, context: Context) -> None:
    ran: list[str] = []

    async def swallow() -> None:
        async with lab.database.transaction(context) as tx:
            tx.after_commit(lambda: ran.append("committed"))
            await publish(tx, "thing.happened", {"n": 1})
            with pytest.raises(asyncpg.DivisionByZeroError):
                await tx.execute("SELECT 1/0")

    with pytest.raises(Conflict, match="rolled back"):
        await swallow()
    assert ran == []
    assert await effects(lab, context) == []

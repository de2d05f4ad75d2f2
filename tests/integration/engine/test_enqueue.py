"""Enqueue: delay, priority, idempotency, limits, and all-or-nothing with the caller's transaction."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.integration.engine.lab import Lab, Undone, after, ranked, undo

from datalane.contracts.context import Context, Role
from datalane.engine.jobs import NewJob, enqueue, enqueue_batch, get_job, list_jobs
from datalane.errors import Forbidden, InvalidInput, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7


async def test_a_job_is_stored_as_it_was_asked_for(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        job = await enqueue(tx, "work", {"a": 1}, subject_id="s1", priority=3, max_attempts=7)
        state = await get_job(tx, job.job_id)
    assert job.created
    assert (state.kind, state.args, state.subject_id, state.priority) == ("work", {"a": 1}, "s1", 3)
    assert (state.status, state.attempt_count, state.max_attempts) == ("queued", 0, 7)
    assert (state.correlation_id, state.workspace_id) == (context.correlation_id, context.workspace_id)


async def test_one_alone_and_one_among_many_are_stored_alike(lab: Lab, context: Context) -> None:
    told: dict[str, Any] = {"subject_id": "s", "priority": 3, "run_at": after(60), "max_attempts": 7}
    for extra in ({}, told):
        async with lab.database.transaction(context) as tx:
            alone = await enqueue(tx, "work", {"a": 1}, **extra)
            among, _ = await enqueue_batch(tx, [NewJob("work", {"a": 1}, **extra), NewJob("other")])
        stored = [
            await lab.rows(context, "SELECT * FROM datalane.jobs WHERE id = $1", job.job_id) for job in (alone, among)
        ]
        clocks = {"id", "queued_at"} if extra else {"id", "queued_at", "next_retry_at"}
        rows = [{name: value for name, value in row.items() if name not in clocks} for (row,) in stored]
        assert rows[0] == rows[1]
        assert all(rows[0][name] == value for name, value in extra.items() if name != "run_at")


async def test_a_job_of_another_workspace_is_not_there(lab: Lab, context: Context, other_context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    with pytest.raises(NotFound):
        await lab.state(other_context, job_id)


async def test_a_delay_puts_the_job_off(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        job = await enqueue(tx, "work", delay=timedelta(hours=1))
    assert await lab.claim(now=None) == []
    assert [one.id for one in await lab.claim(now=utc_now() + timedelta(hours=1, seconds=1))] == [job.job_id]


async def test_a_known_key_enqueues_nothing_and_answers_the_first_id(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        first = await enqueue(tx, "work", {"a": 1}, idempotency_key="k")
        second = await enqueue(tx, "work", {"a": 2}, idempotency_key="k")
    async with lab.database.transaction(context) as tx:
        third = await enqueue(tx, "other", idempotency_key="k")
    assert (first.created, second.created, third.created) == (True, False, False)
    assert first.job_id == second.job_id == third.job_id
    assert await lab.count(context, "datalane.jobs") == 1


async def test_a_key_is_known_after_its_job_completed(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        first = await enqueue(tx, "work", idempotency_key="k")
    await lab.finish(*await lab.claim(now=None), now=None)
    async with lab.database.transaction(context) as tx:
        again = await enqueue(tx, "work", idempotency_key="k")
    assert (again.job_id, again.created) == (first.job_id, False)


async def test_keys_inside_one_batch_and_of_another_workspace(
    lab: Lab, context: Context, other_context: Context
) -> None:
    jobs = [NewJob("work", idempotency_key=key) for key in ("a", "b", "a")] + [NewJob("work")]
    async with lab.database.transaction(context) as tx:
        answers = await enqueue_batch(tx, jobs)
    async with lab.database.transaction(other_context) as tx:
        elsewhere = await enqueue(tx, "work", idempotency_key="a")
    assert [one.created for one in answers] == [True, True, False, True]
    assert answers[2].job_id == answers[0].job_id
    assert elsewhere.created


async def test_concurrent_enqueues_of_one_key_make_one_job(lab: Lab, context: Context) -> None:
    async def once() -> tuple[Any, bool]:
        async with lab.database.transaction(context) as tx:
            job = await enqueue(tx, "work", idempotency_key="k")
        return job.job_id, job.created

    answers = await asyncio.gather(*(once() for _ in range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert await lab.count(context, "datalane.jobs") == 1


async def test_a_job_goes_with_the_transaction_that_rolls_back_and_frees_its_key(lab: Lab, context: Context) -> None:
    with pytest.raises(Undone):
        await undo(lab.database, context, lambda tx: enqueue(tx, "work", idempotency_key="k", order_key="o"))
    assert await lab.count(context, "datalane.jobs") == 0
    async with lab.database.transaction(context) as tx:
        assert (await enqueue(tx, "work", idempotency_key="k", order_key="o")).created
    assert len(await lab.claim(now=None)) == 1


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        ({"kind": ""}, InvalidInput, "kind"),
        ({"max_attempts": 0}, InvalidInput, "max_attempts"),
        ({"priority": 40_000}, InvalidInput, "priority"),
        ({"order_key": ""}, InvalidInput, "order_key"),
        ({"idempotency_key": ""}, InvalidInput, "idempotency_key"),
        ({"run_at": datetime(2030, 1, 1)}, InvalidInput, "time zone"),  # noqa: DTZ001
        ({"run_at": after(1), "delay": timedelta(1)}, InvalidInput, "not both"),
        ({"args": {"a": "x" * 300_000}}, LimitExceeded, "262,144"),
        ({"args": {"a": "\x00"}}, InvalidInput, "NUL"),
    ],
)
async def test_a_wrong_job_is_refused(
    lab: Lab, context: Context, job: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with lab.database.transaction(context) as tx:
            await enqueue(tx, **{"kind": "work", **job})


async def test_a_viewer_may_not_enqueue(lab: Lab, context: Context) -> None:
    with pytest.raises(Forbidden, match="member"):
        async with lab.database.transaction(ranked(context, Role.VIEWER)) as tx:
            await enqueue(tx, "work")


async def test_a_chain_of_causes_ends_at_the_limit(lab: Lab, context: Context) -> None:
    with pytest.raises(LimitExceeded, match="causation depth 17"):
        async with lab.database.transaction(context.caused_by(uuid7(), 17)) as tx:
            await enqueue(tx, "work")


async def test_a_batch_over_the_limit_is_refused(lab: Lab, context: Context) -> None:
    with pytest.raises(LimitExceeded, match="1,001 jobs"):
        async with lab.database.transaction(context) as tx:
            await enqueue_batch(tx, [NewJob("work")] * 1_001)
    async with lab.database.transaction(context) as tx:
        assert await enqueue_batch(tx, []) == []


async def test_the_sql_verb_enqueues_from_any_driver(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        job_id = await tx.fetchval("SELECT datalane.enqueue('work', '{\"a\": 1}', idempotency_key => 'k')")
        again = await tx.fetchval("SELECT datalane.enqueue('work', idempotency_key => 'k')")
        assert again == job_id
        assert (await get_job(tx, job_id)).args == {"a": 1}
    with pytest.raises(InvalidInput, match="needs a kind"):
        await lab.rows(context, "SELECT datalane.enqueue('')")


async def test_lists_are_newest_first_by_status_and_page(lab: Lab, context: Context, other_context: Context) -> None:
    ids = [job_id for _ in range(5) for job_id in await lab.enqueue(context)]
    done = await lab.claim_one()
    await lab.finish(done)
    await lab.enqueue(other_context)
    async with lab.database.transaction(context) as tx:
        page = await list_jobs(tx, page_size=2)
        rest = await list_jobs(tx, after=page[-1].id)
        completed = await list_jobs(tx, status="completed")
        with pytest.raises(InvalidInput, match="unknown status"):
            await list_jobs(tx, status="sleeping")
    assert {job.id for job in (*page, *rest)} == set(ids) - {done.id}
    assert [job.id for job in (*page, *rest)] == sorted((job.id for job in (*page, *rest)), reverse=True)
    assert [job.id for job in completed] == [done.id]


# Kinds of admins ----------------------------------------------------------------------------------------------------

ENQUEUES = (
    "SELECT datalane.enqueue($1)",
    "SELECT datalane.enqueue_job($1)",
    "SELECT * FROM datalane.enqueue_batch(ARRAY['work', $1], '{\"{}\", \"{}\"}')",
)
LEAVES = {
    "datalane.subscriptions": (
        "INSERT INTO datalane.subscriptions (workspace_id, event_type, kind) VALUES ($1, 'thing.happened', $2)"
    ),
    "datalane.job_schedules": (
        "INSERT INTO datalane.job_schedules (workspace_id, name, kind, cron, next_run_at, actor_id) "
        "VALUES ($1, $2, $2, '0 3 * * *', '2030-01-01Z', $1)"
    ),
}


@pytest.mark.parametrize("kind", ["automation.run", "connector.call", "webhook.deliver"])
async def test_a_job_that_only_admins_may_cause_takes_an_admin(lab: Lab, context: Context, kind: str) -> None:
    for verb in ENQUEUES:
        with pytest.raises(Forbidden, match="it takes admin or above"):
            await lab.rows(context, verb, kind)
        for role in (Role.ADMIN, Role.OWNER, Role.SYSTEM):
            assert await lab.rows(ranked(context, role), verb, kind)
    async with lab.database.transaction(context) as tx:
        assert {job.kind for job in await list_jobs(tx, page_size=100)} == {kind, "work"}


@pytest.mark.parametrize("table", LEAVES)
async def test_what_leaves_such_a_job_by_itself_is_an_admins_to_write(lab: Lab, context: Context, table: str) -> None:
    admin = ranked(context, Role.ADMIN)
    await lab.rows(admin, LEAVES[table], context.workspace_id, "connector.call")
    await lab.rows(context, LEAVES[table], context.workspace_id, "work")
    with pytest.raises(Forbidden):
        await lab.rows(context, LEAVES[table], context.workspace_id, "automation.run")
    with pytest.raises(Forbidden):
        await lab.rows(context, f"UPDATE {table} SET kind = 'webhook.deliver'")
    changed = await lab.rows(context, f"UPDATE {table} SET enabled = false RETURNING kind")
    assert [row["kind"] for row in changed] == ["work"]
    seen = await lab.rows(ranked(context, Role.VIEWER), f"SELECT kind FROM {table} ORDER BY kind")
    assert [row["kind"] for row in seen] == ["connector.call", "work"]
    assert len(await lab.rows(admin, f"UPDATE {table} SET enabled = true RETURNING kind")) == 2


async def test_a_member_publishes_what_an_admins_subscription_follows(lab: Lab, context: Context) -> None:
    subscribe = LEAVES["datalane.subscriptions"]
    await lab.rows(ranked(context, Role.ADMIN), subscribe, context.workspace_id, "automation.run")
    await lab.rows(context, "SELECT datalane.publish('thing.happened', '{}')")
    async with lab.database.transaction(context) as tx:
        assert [job.kind for job in await list_jobs(tx)] == ["automation.run"]

"""Ordering keys: one at a time, in the order of enqueueing, whatever happens to the head."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from tests.integration.engine.lab import Lab, after, ranked

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import LeaseLost


async def line(lab: Lab, context: Context, length: int, key: str = "k") -> list[UUID]:
    return [job_id for _ in range(length) for job_id in await lab.enqueue(context, order_key=key, max_attempts=1)]


async def ready(lab: Lab, moment: float = 0) -> list[UUID]:
    """What may run now; given back at once."""
    jobs = await lab.claim(now=after(moment))
    await lab.release(*jobs, now=after(moment))
    return [job.id for job in jobs]


async def run(lab: Lab) -> UUID:
    job = await lab.claim_one()
    await lab.finish(job)
    return job.id


async def test_only_the_head_of_a_key_runs(lab: Lab, context: Context, other_context: Context) -> None:
    first, second, third = await line(lab, context, 3)
    (elsewhere,) = await line(lab, other_context, 1)
    (other_key,) = await line(lab, context, 1, "other")
    assert set(await ready(lab)) == {first, elsewhere, other_key}
    ran = [await run(lab) for _ in range(5)]
    assert [one for one in ran if one in {first, second, third}] == [first, second, third]
    assert await ready(lab) == []


async def test_one_batch_keeps_its_order(lab: Lab, context: Context) -> None:
    ids = await lab.enqueue(context, 20, order_key="k")
    assert [await run(lab) for _ in range(20)] == ids


async def test_what_comes_while_the_head_runs_waits(lab: Lab, context: Context) -> None:
    (first,) = await line(lab, context, 1)
    head = await lab.claim_one()
    (second,) = await line(lab, context, 1)
    assert await ready(lab) == []
    await lab.finish(head)
    assert head.id == first
    assert await ready(lab) == [second]


async def test_a_delayed_head_holds_the_line_and_a_delayed_follower_its_time(lab: Lab, context: Context) -> None:
    (head,) = await lab.enqueue(context, order_key="k", run_at=after(10))
    (follower,) = await lab.enqueue(context, order_key="k", run_at=after(20))
    assert await ready(lab, 9) == []
    job = await lab.claim_one(now=after(10))
    assert job.id == head
    await lab.finish(job, now=after(11))
    assert await ready(lab, 19) == []
    assert await ready(lab, 20) == [follower]


async def test_a_retrying_head_holds_the_line(lab: Lab, context: Context) -> None:
    (head, _) = [one for _ in range(2) for one in await lab.enqueue(context, order_key="k")]
    await lab.fail(await lab.claim_one(), retry_after=timedelta(seconds=30))
    assert await ready(lab, 29) == []
    assert await ready(lab, 30) == [head]


async def test_a_lost_head_is_rescued_as_the_head(lab: Lab, context: Context) -> None:
    head, follower = await line(lab, context, 2)
    await lab.claim_one()
    again = await lab.claim_one(now=after(61))
    assert again.id == head
    await lab.finish(again, now=after(62))
    assert await ready(lab, 63) == [follower]


@pytest.mark.parametrize("final", [True, False])
async def test_a_stopped_head_blocks_until_it_is_replayed_or_retried(lab: Lab, context: Context, final: bool) -> None:
    head, follower = await line(lab, context, 2)
    await lab.fail(await lab.claim_one(), retry_after=None if final else timedelta())
    assert await ready(lab, 999) == []
    if final:
        await lab.operate(context, "retry_jobs", [head])
    else:
        ((_, head),) = await lab.operate(context, "replay_jobs", [head])
    assert await ready(lab) == [head]
    assert await run(lab) == head
    assert await ready(lab) == [follower]


@pytest.mark.parametrize("final", [True, False])
async def test_a_stopped_head_is_skipped(lab: Lab, context: Context, final: bool) -> None:
    head, follower = await line(lab, context, 2)
    await lab.fail(await lab.claim_one(), retry_after=None if final else timedelta())
    assert (await lab.operate(context, "skip_job", follower))[0][0] is False
    assert (await lab.operate(context, "skip_job", head))[0][0] is True
    assert (await lab.operate(context, "skip_job", head))[0][0] is False
    assert await ready(lab) == [follower]
    assert (await lab.path(context, head))[-1] == "dead_letter"


async def test_a_replay_whose_place_was_passed_joins_the_end(lab: Lab, context: Context) -> None:
    head, *_ = await line(lab, context, 3)
    await lab.fail(await lab.claim_one())
    await lab.operate(context, "skip_job", head)
    ((_, child),) = await lab.operate(context, "replay_jobs", [head])
    assert len(await ready(lab)) == 1
    assert [await run(lab) for _ in range(3)][-1] == child
    assert await ready(lab) == []


async def test_a_canceled_head_lets_the_next_run(lab: Lab, context: Context) -> None:
    head, second, _ = await line(lab, context, 3)
    await lab.operate(context, "cancel_jobs", [head])
    assert await ready(lab) == [second]


async def test_canceled_middle_ones_are_passed_over(lab: Lab, context: Context) -> None:
    ids = await line(lab, context, 5)
    await lab.operate(context, "cancel_jobs", [ids[1], ids[2], ids[4]])
    assert await ready(lab) == [ids[0]]
    assert [await run(lab) for _ in range(2)] == [ids[0], ids[3]]
    (late,) = await line(lab, context, 1)
    assert await ready(lab) == [late]


async def test_canceling_a_whole_line_at_once_leaves_none(lab: Lab, context: Context) -> None:
    ids = await line(lab, context, 5)
    await lab.operate(context, "cancel_jobs", ids[::-1])
    assert await ready(lab) == []
    (late,) = await line(lab, context, 1)
    assert await ready(lab) == [late]


async def test_canceling_a_running_head_lets_the_next_run(lab: Lab, context: Context) -> None:
    _, second = await line(lab, context, 2)
    head = await lab.claim_one()
    await lab.operate(context, "cancel_jobs", [head.id])
    assert await ready(lab) == [second]
    assert await lab.finish(head) == set()


async def test_a_replay_of_a_canceled_middle_one_keeps_its_place_while_the_line_has_not_passed(
    lab: Lab, context: Context
) -> None:
    first, second, third = await line(lab, context, 3)
    await lab.operate(context, "cancel_jobs", [second])
    ((_, child),) = await lab.operate(context, "replay_jobs", [second])
    assert [await run(lab) for _ in range(3)] == [first, child, third]


async def test_canceling_the_next_in_line_while_the_head_completes_leaves_the_line_moving(
    lab: Lab, context: Context
) -> None:
    _, second, third = await line(lab, context, 3)
    head = await lab.claim_one()
    async with lab.database.transaction(ranked(context, Role.ADMIN)) as tx:
        await tx.execute("SELECT datalane.cancel_jobs($1)", [second])
        completing = asyncio.create_task(lab.finish(head))
        async with Lab.opened(lab.database) as watcher:
            await watcher.blocked_backend()
    assert await completing == {head.id}
    assert await ready(lab) == [third]


async def test_canceling_the_next_in_line_waits_for_a_head_that_completes(lab: Lab, context: Context) -> None:
    _, second, third = await line(lab, context, 3)
    head = await lab.claim_one()
    async with lab.database.transaction(context) as tx:
        await tx.execute("SELECT datalane.complete_job($1, $2)", head.id, head.lease_token)
        canceling = asyncio.create_task(lab.operate(context, "cancel_jobs", [second]))
        await lab.blocked_backend()
    assert (await canceling)[0][0] == 1
    assert await ready(lab) == [third]


async def test_enqueueing_while_the_last_one_completes_loses_nothing(lab: Lab, context: Context) -> None:
    await line(lab, context, 1)
    head = await lab.claim_one()
    async with lab.database.transaction(context) as tx:
        await tx.execute("SELECT datalane.complete_job($1, $2)", head.id, head.lease_token)
        enqueueing = asyncio.create_task(line(lab, context, 1))
        await lab.blocked_backend()
    late = await enqueueing
    assert await ready(lab) == late


async def test_a_head_that_loses_its_lease_does_not_move_the_line(lab: Lab, context: Context) -> None:
    head, _ = await line(lab, context, 2)
    stale = await lab.claim_one()
    await lab.claim_one(now=after(61))
    with pytest.raises(LeaseLost):
        await lab.rows(context, "SELECT datalane.complete_job($1, $2)", head, stale.lease_token)
    assert await ready(lab, 70) == []


async def test_a_key_at_rest_is_forgotten_but_no_place_is_given_out_twice(
    lab: Lab, context: Context, urls: Prepared, database: Database
) -> None:
    import asyncpg

    canceled, skipped = await line(lab, context, 1), await line(lab, context, 1, "skipped")
    await line(lab, context, 1, "done")
    jobs = {job.id: job for job in await lab.claim()}
    await lab.operate(context, "cancel_jobs", canceled)
    await lab.fail(jobs[skipped[0]])
    await lab.operate(context, "skip_job", skipped[0])
    await lab.finish(*[job for job in jobs.values() if job.order_key == "done"])
    keeper = await asyncpg.connect(urls.maintenance_url)
    try:
        await keeper.execute(f"SET ROLE {database.roles.definer}")
        forgotten = await keeper.fetchval("SELECT datalane.forget_old_keys('1 day', now => $1)", after(3 * 86_400))
    finally:
        await keeper.close()
    assert forgotten == 1
    for key in ("k", "skipped", "done"):
        await line(lab, context, 1, key)
    assert len(await ready(lab)) == 3

"""The worker's groups in turns: workspaces that wait for each other, and how far ahead is claimed."""

from __future__ import annotations

import asyncio

import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import Lab, eventually
from tests.integration.engine.workers import counting, effects, ended, put, quick, states, working

from datalane.contracts.context import Context
from datalane.engine.handlers import Handlers


async def test_workspaces_that_queue_for_a_turn_have_their_effects_once_whoever_fails(lab: Lab) -> None:
    workspaces = [a_context() for _ in range(40)]
    ids = {}
    for number, one in enumerate(workspaces):
        (ids[one],) = await put(lab.database, one, "work", {"n": number, "fails": 3 if number % 9 == 4 else 0})
    async with working(lab.database, counting(Handlers()), quick(groups=3)) as worker:
        for one, job_id in ids.items():
            await ended(lab.database, one, [job_id], "completed", "dead_letter")
    told = [(await states(lab.database, one, [ids[one]]))[0].status for one in workspaces]
    assert told == ["dead_letter" if number % 9 == 4 else "completed" for number in range(40)]
    assert [await effects(lab, one) for one in workspaces] == [[] if n % 9 == 4 else [n] for n in range(40)]
    assert (worker.tally.completed, worker.tally.failed, worker.tally.lost) == (36, 12, 0)


async def test_a_correlation_id_that_only_sql_would_write_fails_its_own_job_and_no_other(
    lab: Lab, context: Context
) -> None:
    async with lab.database.transaction(context) as tx:
        bad = await tx.fetchval(
            "SELECT job_id FROM datalane.enqueue_batch(ARRAY['work'], ARRAY['{\"n\": 1}']::jsonb[], "
            "correlation_id => 'two words')"
        )
    (good,) = await put(lab.database, context, "work", {"n": 2})
    async with working(lab.database, counting(Handlers())):
        await ended(lab.database, context, [good])
        (job,) = await ended(lab.database, context, [bad], "failed", "dead_letter")
    assert (job.last_error_class, job.rescue_count) == ("invalid_input", 0)
    assert await effects(lab, context) == [2]


@pytest.mark.parametrize(("mode", "most"), [("external", 2), ("transactional", 4)])
async def test_a_worker_claims_ahead_of_transactional_groups_only(lab: Lab, mode: str, most: int) -> None:
    handlers, go_on = Handlers(), asyncio.Event()

    async def wait(*_: object) -> None:
        await go_on.wait()

    getattr(handlers, mode)("work")(wait)
    jobs = [(one, (await put(lab.database, one, "work"))[0]) for one in [a_context() for _ in range(6)]]
    async with working(lab.database, handlers, quick(groups=2, batch=1)) as worker:

        async def waits_for_room() -> bool:
            return worker._full

        await eventually(waits_for_room)
        assert len(worker._running) == most
        go_on.set()
        for one, job_id in jobs:
            await ended(lab.database, one, [job_id])

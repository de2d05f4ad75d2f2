"""Traces go on in the jobs that are caused, whoever shares a transaction with them."""

from __future__ import annotations

from uuid import UUID

from tests.integration.engine.lab import Lab
from tests.integration.engine.workers import ended, put, working

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import enqueue
from datalane.kit.tracing import Kind, current_traceparent, unit

SPAN = "00f067aa0ba902b7"


def trace(number: int) -> str:
    return f"00-{number:032x}-{SPAN}-01"


async def traces(lab: Lab, context: Context) -> dict[UUID, str | None]:
    rows = await lab.rows(context, "SELECT id, traceparent FROM datalane.jobs")
    return {row["id"]: row["traceparent"] for row in rows}


async def traced(database: Database, context: Context, number: int | None) -> UUID:
    """A job enqueued by somebody who traces."""
    with unit("caller", Kind.SERVER, None if number is None else trace(number)):
        (job,) = await put(database, context, "parent")
    return job


async def test_a_job_belongs_to_the_trace_that_enqueued_it(lab: Lab, context: Context) -> None:
    first, none = await traced(lab.database, context, 1), await traced(lab.database, context, None)
    assert await traces(lab, context) == {first: trace(1), none: None}


async def test_jobs_of_an_event_belong_to_the_trace_that_published_it(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "plain")
    await lab.handle("thing.happened", "in_order", ordered=True)
    with unit("caller", Kind.SERVER, trace(1)):
        async with lab.database.transaction(context) as tx:
            await publish(tx, "thing.happened", {}, subject_id="s")
    assert list((await traces(lab, context)).values()) == [trace(1)] * 2


async def test_jobs_that_share_a_transaction_hand_each_its_own_trace_on(lab: Lab, context: Context) -> None:
    handlers, seen = Handlers(), dict[UUID, str | None]()

    @handlers.transactional("parent")
    async def parent(tx: Transaction, job: Job) -> None:
        seen[job.id] = current_traceparent()
        await enqueue(tx, "child", subject_id=str(job.id))

    parents = {await traced(lab.database, context, number): number for number in (1, 2, None, 3)}
    async with working(lab.database, handlers):
        await ended(lab.database, context, list(parents))
    expected = {job: None if number is None else trace(number) for job, number in parents.items()}
    assert seen == expected
    rows = await lab.rows(context, "SELECT subject_id, traceparent FROM datalane.jobs WHERE kind = 'child'")
    assert {UUID(row["subject_id"]): row["traceparent"] for row in rows} == expected


async def test_what_is_rolled_back_takes_its_trace_along(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        try:
            async with tx.savepoint():
                with unit("inside", Kind.SERVER, trace(1)):
                    await enqueue(tx, "work")
                raise LookupError
        except LookupError:
            first = await enqueue(tx, "work")
            with unit("again", Kind.SERVER, trace(1)):
                second = await enqueue(tx, "work")
    assert await traces(lab, context) == {first.job_id: None, second.job_id: trace(1)}


async def test_a_trace_that_is_none_never_breaks_work(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        await tx.execute("SET LOCAL app.traceparent = 'not a trace'")
        job_id = await tx.fetchval("SELECT datalane.enqueue('work')")
    assert await traces(lab, context) == {job_id: None}

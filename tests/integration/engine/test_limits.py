"""The settings are what holds, in the library and in the SQL verbs; other drivers' callers have the defaults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from tests.integration.engine.lab import START, Lab, after

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.stated import stated_settings
from datalane.engine.events import publish
from datalane.engine.jobs import enqueue, get_job, list_jobs
from datalane.engine.schedules import put_schedule
from datalane.errors import LimitExceeded
from datalane.identity.accounts import sign_up
from datalane.identity.schemas import NewAccount
from datalane.kit.ids import uuid7
from datalane.settings import JobSettings, Limits, SessionSettings

LIMITS = Limits(causation_depth=3, event_payload=512 * 1024)
JOBS = JobSettings(max_attempts=5)
PUBLISH_AT = "SELECT * FROM datalane.publish_batch('{thing.happened}', '{1}', '{\"{}\"}', causation_depth => $1)"
ENQUEUE_AT = "SELECT * FROM datalane.enqueue_batch('{work}', '{\"{}\"}', causation_depth => $1)"


@pytest.fixture
async def tuned(lab: Lab, urls: Prepared) -> AsyncIterator[Database]:
    """The test's database through a lane with other settings than the defaults."""
    database = await Database.connect(urls.database_url, limits=LIMITS, jobs=JOBS)
    yield database
    await database.close()


def test_the_defaults_are_not_stated_at_all() -> None:
    assert stated_settings(Limits(), JobSettings()) == ()
    assert stated_settings(Limits(causation_depth=2**40), JobSettings()) == (f"app.causation_limit = '{2**31 - 1}'",)


# Depth of causes --------------------------------------------------------------------------------------------------


async def test_a_chain_of_causes_ends_where_the_setting_says(tuned: Database, context: Context) -> None:
    async with tuned.transaction(context.caused_by(uuid7(), 3)) as tx:
        assert (await publish(tx, "thing.happened", {})).accepted
        assert (await enqueue(tx, "work")).created
    said = r"causation depth 4 is over the limit of 3 \(limits\.causation_depth\)"
    with pytest.raises(LimitExceeded, match=said):
        async with tuned.transaction(context.caused_by(uuid7(), 4)) as tx:
            await publish(tx, "thing.happened", {})
    with pytest.raises(LimitExceeded, match=said):
        async with tuned.transaction(context.caused_by(uuid7(), 4)) as tx:
            await enqueue(tx, "work")


@pytest.mark.parametrize("verb", [PUBLISH_AT, ENQUEUE_AT])
async def test_the_sql_verbs_hold_to_the_setting_and_else_to_sixteen(
    tuned: Database, database: Database, context: Context, verb: str
) -> None:
    for lane, limit in ((tuned, 3), (database, 16)):
        async with lane.transaction(context) as tx:
            assert len(await tx.fetch(verb, limit)) == 1
        with pytest.raises(LimitExceeded, match=f"depth {limit + 1} is over the limit of {limit} "):
            async with lane.transaction(context) as tx:
                await tx.fetch(verb, limit + 1)


async def test_a_longer_chain_is_allowed_where_the_setting_says_so(lab: Lab, urls: Prepared, context: Context) -> None:
    patient = await Database.connect(urls.database_url, limits=Limits(causation_depth=40))
    try:
        async with patient.transaction(context.caused_by(uuid7(), 40)) as tx:
            assert (await publish(tx, "thing.happened", {})).accepted
    finally:
        await patient.close()


SUBSCRIBE = "INSERT INTO datalane.subscriptions (workspace_id, event_type, kind, ordered) VALUES ($1, $2, $3, $4)"


@pytest.mark.parametrize(
    ("depth", "told"),
    [
        (2, ["on:loose", "on:ordered", *["rule", "ruled_in_order"] * 2]),
        (3, ["on:loose", "on:ordered"]),
    ],
)
async def test_a_dead_letter_at_the_limit_is_told_to_handlers_alone(
    lab: Lab, tuned: Database, context: Context, depth: int, told: list[str]
) -> None:
    await lab.handle("job.dead_lettered", "on:loose")
    await lab.handle("job.dead_lettered", "on:ordered", ordered=True)
    async with tuned.transaction(context) as tx:
        for event_type in ("job.dead_lettered", "*"):
            await tx.execute(SUBSCRIBE, tx.workspace_id, event_type, "rule", False)
            await tx.execute(SUBSCRIBE, tx.workspace_id, event_type, "ruled_in_order", True)
    async with tuned.transaction(context.caused_by(uuid7(), depth)) as tx:
        await enqueue(tx, "work", max_attempts=1)
    async with Lab.opened(tuned) as worker:
        assert await worker.fail(await worker.claim_one(now=None), now=None) == "dead_letter"
        left = "SELECT kind, causation_depth FROM datalane.jobs WHERE kind <> 'work' ORDER BY kind"
        rows = await worker.rows(context, left)
    assert [row["kind"] for row in rows] == sorted(told)
    assert {row["causation_depth"] for row in rows} == {depth + 1}


async def test_a_dead_letter_past_the_limit_publishes_nothing(lab: Lab, tuned: Database, context: Context) -> None:
    await lab.handle("job.dead_lettered", "doomed")
    async with tuned.transaction(context.caused_by(uuid7(), 3)) as tx:
        await enqueue(tx, "work", max_attempts=1)
    async with Lab.opened(tuned) as worker:
        await worker.fail(await worker.claim_one(now=None), now=None)
        for _ in range(5):
            job = await worker.claim_one("doomed", now=None)
            status = await worker.fail(job, retry_after=timedelta(), now=None)
        assert status == "dead_letter"
        depths = await worker.rows(context, "SELECT causation_depth FROM datalane.events")
        assert [row["causation_depth"] for row in depths] == [4]
        assert await worker.claim("doomed", now=None) == []


# Payloads ---------------------------------------------------------------------------------------------------------


async def test_a_larger_payload_is_allowed_where_the_setting_says_so(
    tuned: Database, database: Database, context: Context
) -> None:
    large = {"text": "x" * 300 * 1024}
    async with tuned.transaction(context) as tx:
        assert (await publish(tx, "thing.happened", large)).accepted
        assert await tx.fetchval("SELECT datalane.publish('thing.happened', $1)", large)
    with pytest.raises(LimitExceeded, match=r"over the limit of 262144 bytes \(limits\.event_payload\)"):
        async with database.transaction(context) as tx:
            await tx.execute("SELECT datalane.publish('thing.happened', $1)", large)
    with pytest.raises(LimitExceeded, match="over the limit of 524288 bytes"):
        async with tuned.transaction(context) as tx:
            await tx.execute("SELECT datalane.publish('thing.happened', $1)", {"text": "x" * 600 * 1024})


# Attempts ---------------------------------------------------------------------------------------------------------


async def attempts(database: Database, context: Context) -> dict[str, int]:
    """`max_attempts` of the workspace's jobs by kind."""
    async with database.transaction(context) as tx:
        return {job.kind: job.max_attempts for job in await list_jobs(tx, page_size=100)}


async def test_a_job_gets_the_settings_attempts_unless_its_enqueuer_says_otherwise(
    tuned: Database, database: Database, context: Context
) -> None:
    for lane, default in ((tuned, 5), (database, 3)):
        async with lane.transaction(context) as tx:
            silent = (await enqueue(tx, "work")).job_id
            firm = (await enqueue(tx, "work", max_attempts=2)).job_id
            by_sql: UUID = await tx.fetchval("SELECT datalane.enqueue('work')")
            found = [(await get_job(tx, job_id)).max_attempts for job_id in (silent, firm, by_sql)]
        assert found == [default, 2, default]


async def test_jobs_that_an_event_starts_get_the_settings_attempts(
    lab: Lab, tuned: Database, context: Context, other_context: Context
) -> None:
    await lab.handle("thing.happened", "on:loose")
    await lab.handle("thing.happened", "on:ordered", ordered=True)
    for lane, where, default in ((tuned, context, 5), (lab.database, other_context, 3)):
        async with lane.transaction(where) as tx:
            await publish(tx, "thing.happened", {}, subject_id="7")
        assert await attempts(lane, where) == {"on:loose": default, "on:ordered": default}


async def test_jobs_that_a_verbs_own_event_starts_get_them_too(lab: Lab, tuned: Database, context: Context) -> None:
    await lab.handle("workspace.created", "greet")
    await lab.handle("job.dead_lettered", "tell")
    account = NewAccount(email="ada@example.com", password="correct horse battery", name="Ada")
    session = await sign_up(tuned, account, sessions=SessionSettings(), correlation_id="c")
    assert session.workspace_id is not None
    home = Context(session.workspace_id, session.user_id, Role.OWNER)
    assert await attempts(tuned, home) == {"greet": 5}
    async with tuned.transaction(context) as tx:
        await enqueue(tx, "work", max_attempts=1)
    async with Lab.opened(tuned) as worker:
        await worker.fail(await worker.claim_one(now=None), now=None)
    assert await attempts(tuned, context) == {"work": 1, "tell": 5}


async def test_a_schedules_jobs_get_the_attempts_of_the_worker_that_fires_it(tuned: Database, context: Context) -> None:
    async with tuned.transaction(context) as tx:
        due = await put_schedule(tx, "hourly", "work", "0 * * * *", now=START)
    async with Lab.opened(tuned) as worker:
        fired = await worker.value(
            "fire_schedule",
            workspace=context.workspace_id,
            schedule="hourly",
            seen=due,
            following=due + timedelta(hours=1),
            correlation="c",
            now=after(3_600),
        )
    assert fired is not None
    assert await attempts(tuned, context) == {"work": 5}

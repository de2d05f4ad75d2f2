"""The jobs that settle an access and take signals of it are the operator's: no admin stops them in a workspace."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.access.lifecycle.telling import HOUR, NOON, a_signal, tell
from tests.integration.api.conftest import OpenLane, Person, ada, client, sign_up
from tests.integration.engine.lab import Lab, ranked

from datalane.access.lifecycle.handlers import RECONCILE, SETTLE, SIGNALED, register
from datalane.access.lifecycle.signing import SignedSignals
from datalane.access.lifecycle.sweeping import Asked, sweep_once
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register as make_known
from datalane.errors import Forbidden
from datalane.settings import Settings

pytestmark = pytest.mark.usefixtures("plans")

__all__ = ["ada", "client", "sign_up"]

TAKING = f"on:{SIGNALED}"
KINDS = (RECONCILE, SETTLE, TAKING)
MEMBERS = (Role.MEMBER, Role.ADMIN, Role.OWNER)


async def waiting(database: Database, context: Context, kind: str = SETTLE, **options: Any) -> UUID:
    """A job that a worker has not taken yet, as the sweep leaves it."""
    async with Lab.opened(database) as lab:
        (job_id,) = await lab.enqueue(ranked(context, Role.SYSTEM), kind=kind, **options)
    return UUID(str(job_id))


async def running(lab: Lab, context: Context, kind: str = SETTLE) -> Any:
    await lab.enqueue(ranked(context, Role.SYSTEM), kind=kind)
    return await lab.claim_one(kind)


async def is_refused(database: Database, who: Context, statement: str, *arguments: Any) -> bool:
    try:
        async with database.transaction(who) as tx:
            await tx.fetch(statement, *arguments)
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", MEMBERS)
async def test_nobody_floods_their_lane(database: Database, context: Context, role: Role, kind: str) -> None:
    who = ranked(context, role)
    assert await is_refused(database, who, "SELECT datalane.enqueue($1, priority => 32767)", kind)
    assert await is_refused(database, who, "SELECT datalane.enqueue_job($1, priority => 32767)", kind)
    assert await is_refused(
        database, who, "SELECT * FROM datalane.enqueue_batch(ARRAY['work', $1], ARRAY['{}', '{}']::jsonb[])", kind
    )
    assert not await is_refused(database, who, "SELECT datalane.enqueue('work')")


async def test_they_are_named_in_the_database_as_in_the_code(database: Database, context: Context) -> None:
    handlers = Handlers()
    register(handlers, SignedSignals([]))
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT datalane.operators_kinds()") == sorted(handlers.kinds) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER])
async def test_no_admin_cancels_one_by_raw_sql(database: Database, context: Context, role: Role, kind: str) -> None:
    job_id, own = await waiting(database, context, kind), await waiting(database, context, "work")
    intruder = ranked(context, role)
    assert await is_refused(database, intruder, "SELECT datalane.cancel_jobs($1)", [own, job_id])
    async with Lab.opened(database) as lab:
        assert [(await lab.state(context, each)).status for each in (job_id, own)] == ["queued", "queued"]
    assert not await is_refused(database, intruder, "SELECT datalane.cancel_jobs($1)", [own])
    assert not await is_refused(
        database, Context.system(context.workspace_id), "SELECT datalane.cancel_jobs($1)", [job_id]
    )


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER])
async def test_no_admin_brings_a_stopped_one_back_or_goes_on_without_it(
    database: Database, context: Context, role: Role
) -> None:
    intruder, operator = ranked(context, role), Context.system(context.workspace_id)
    async with Lab.opened(database) as lab:
        job = await running(lab, context)
        failed = job.id
        assert await lab.fail(job, retry_after=None) == "failed"
        (dead,) = await lab.enqueue(operator, kind=RECONCILE, max_attempts=1, order_key="k")
        assert await lab.fail(await lab.claim_one(RECONCILE)) == "dead_letter"
    calls = {"retry_jobs": [failed], "replay_jobs": [dead], "cancel_jobs": [failed], "skip_job": dead}
    for verb, argument in calls.items():
        assert await is_refused(database, intruder, f"SELECT datalane.{verb}($1)", argument), verb
    for verb in ("retry_jobs", "replay_jobs"):
        assert not await is_refused(database, operator, f"SELECT datalane.{verb}($1)", calls[verb])


@pytest.mark.parametrize("role", MEMBERS)
async def test_nobody_ends_one_that_runs_with_the_token_of_its_lease(
    database: Database, context: Context, role: Role
) -> None:
    """Everybody in a workspace may read its jobs, with their tokens."""
    intruder = ranked(context, role)
    async with Lab.opened(database) as lab:
        job = await running(lab, context)
        async with database.transaction(intruder) as tx:
            token = await tx.fetchval("SELECT lease_token FROM datalane.jobs WHERE workspace_id = $1", tx.workspace_id)
        for statement in (
            "SELECT datalane.complete_job($1, $2)",
            "SELECT datalane.complete_jobs(ARRAY[$1::uuid], ARRAY[$2::bigint])",
            "SELECT datalane.fail_job_here($1, $2, 'no', 'no', NULL)",
            "SELECT datalane.fail_job_here($1, $2, 'no', 'no', '1 year')",
        ):
            assert await is_refused(database, intruder, statement, job.id, token), statement
        assert (await lab.state(context, job.id)).status == "processing"
        await lab.finish(job)
        assert (await lab.state(context, job.id)).status == "completed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER])
async def test_no_admin_pauses_them_by_name_or_all_at_once(
    database: Database, context: Context, role: Role, kind: str
) -> None:
    intruder, operator = ranked(context, role), Context.system(context.workspace_id)
    job_id = await waiting(database, context, kind)
    await waiting(database, context, "work")
    assert await is_refused(database, intruder, "SELECT datalane.pause_jobs($1)", kind)
    assert not await is_refused(database, intruder, "SELECT datalane.pause_jobs('*')")
    assert not await is_refused(database, operator, "SELECT datalane.pause_jobs('*')")
    async with Lab.opened(database) as lab:
        assert not await is_refused(database, operator, "SELECT datalane.pause_jobs($1)", kind)
        assert await lab.claim("work", kind) == []
        assert await is_refused(database, intruder, "SELECT datalane.resume_jobs($1)", kind)
        assert not await is_refused(database, operator, "SELECT datalane.resume_jobs($1)", kind)
        assert [job.id for job in await lab.claim("work", kind)] == [job_id]


async def test_the_operator_pauses_everything_everywhere(database: Database, context: Context) -> None:
    job_id = await waiting(database, context)
    async with Lab.opened(database) as lab:
        who = {"actor": context.actor_id, "correlation": "c"}
        await lab.value("pause_kind_everywhere", kind="*", **who)
        assert await lab.claim(SETTLE) == []
        await lab.value("resume_kind_everywhere", kind="*", **who)
        assert [job.id for job in await lab.claim(SETTLE)] == [job_id]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM datalane.jobs WHERE workspace_id = $1",
        "UPDATE datalane.jobs SET shelf = 'stopped' WHERE workspace_id = $1",
        "INSERT INTO datalane.job_pauses (workspace_id, kind, actor_id) VALUES ($1, 'access.settle', $1)",
    ],
)
async def test_jobs_and_pauses_are_written_by_the_verbs_alone(
    database: Database, owner: Context, statement: str
) -> None:
    await waiting(database, owner)
    with pytest.raises((Forbidden, asyncpg.InsufficientPrivilegeError)):
        async with database.transaction(owner) as tx:
            await tx.execute(statement, owner.workspace_id)


async def test_an_expiry_comes_whatever_the_owner_tries(
    database: Database, owner: Context, operator: Context, urls: Prepared
) -> None:
    await tell(database, operator, a_signal("activate", ends_at=NOON + HOUR))
    maintenance = await asyncpg.connect(urls.maintenance_url)
    try:
        assert await sweep_once(maintenance, NOON + HOUR) == Asked(settling=1)
    finally:
        await maintenance.close()
    async with database.transaction(owner) as tx:
        ids = await tx.fetchval("SELECT array_agg(id) FROM datalane.jobs WHERE workspace_id = $1", tx.workspace_id)
    assert await is_refused(database, owner, "SELECT datalane.cancel_jobs($1)", ids)
    await is_refused(database, owner, "SELECT datalane.pause_jobs('*')")
    async with Lab.opened(database) as lab:
        assert [job.id for job in await lab.claim(SETTLE, now=NOON + HOUR)] == ids


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await make_known(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane)


async def test_no_admin_stops_one_over_http(client: httpx.AsyncClient, database: Database, ada: Person) -> None:
    home = Context(ada.workspace_id, ada.user_id, Role.OWNER)
    job_id, own = await waiting(database, home), await waiting(database, home, "work")

    async def post(verb: str, **body: Any) -> httpx.Response:
        return await client.post(f"/jobs/{verb}", json=body, headers=ada.headers)

    for verb, body in (
        ("cancel", {"ids": [str(job_id), str(own)]}),
        ("cancel", {"ids": [str(job_id)], "dry_run": True}),
        ("cancel", {"where": {"kind": SETTLE}}),
        ("retry", {"where": {"kind": SETTLE}}),
        ("replay", {"ids": [str(job_id)]}),
        ("skip", {"job_id": str(job_id)}),
        ("pause", {"kind": SETTLE}),
        ("resume", {"kind": SETTLE}),
    ):
        answer = await post(verb, **body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (verb, body, answer.text)
    canceled = await post("cancel", where={})
    assert canceled.json() == {"jobs": 1, "remaining": 0, "dry_run": False}
    async with Lab.opened(database) as lab:
        assert (await lab.state(home, job_id)).status == "queued"
        assert (await lab.state(home, own)).status == "dead_letter"

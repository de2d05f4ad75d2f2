"""A job that ends as a dead letter is told to owners and admins, once an hour for a kind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.api.conftest import Join, Person, SignUp
from tests.integration.engine.lab import START, Lab, eventually
from tests.integration.engine.workers import working
from tests.integration.integrations.telling import BROKEN, acting, delivering, know_handlers, rows, settled

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.engine.handlers import Handlers
from datalane.engine.jobs import cancel_jobs, enqueue, list_jobs
from datalane.integrations.notifications.notices import notify
from datalane.kit.ids import uuid7

TOLD = "SELECT actor_id, title, subject_type, subject_id FROM datalane.notifications WHERE category = 'jobs'"
FOLLOWED = "SELECT count(*) FROM datalane.job_history WHERE kind = 'notification.of_dead_letter'"


async def told(database: Database, *people: Person) -> list[Any]:
    """What each of them sees of it."""
    first = people[0]
    found = []
    for person in people:
        async with database.transaction(acting(person, workspace_id=first.workspace_id)) as tx:
            found += await tx.fetch(TOLD)
    return found


async def followed(database: Database, who: Person, count: int) -> None:
    async def all_there() -> bool:
        [[found]] = await rows(database, who, FOLLOWED)
        return bool(found == count)

    await eventually(all_there)


async def bury(lab: Lab, who: Person, kind: str, at: datetime) -> UUID:
    """A job of `kind` that is out of attempts at this moment."""
    [job_id] = await lab.enqueue(acting(who), kind=kind, now=at, max_attempts=[1])
    job = await lab.claim_one(kind, now=at)
    assert await lab.fail(job, now=at) == "dead_letter"
    return job_id


async def test_owners_and_admins_are_told_once_an_hour_for_a_kind(
    database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob, eve = await sign_up("bob"), await sign_up("eve")
    await join(ada, bob, "admin")
    await join(ada, eve, "member")
    async with Lab.opened(database) as lab, delivering(database):
        first = await bury(lab, ada, "reports", START)
        await followed(database, ada, 1)
        await bury(lab, ada, "reports", START + timedelta(minutes=59))
        await bury(lab, ada, "invoices", START)
        await bury(lab, ada, "reports", START + timedelta(minutes=61))
        await followed(database, ada, 4)
    seen = await told(database, ada, bob, eve)
    reports, invoices = (f"Jobs of the kind {kind} came to no end" for kind in ("reports", "invoices"))
    expected = sorted([(person.user_id, title) for person in (ada, bob) for title in (reports, reports, invoices)])
    assert sorted((one["actor_id"], one["title"]) for one in seen) == expected
    assert ("job", str(first)) in {(one["subject_type"], one["subject_id"]) for one in seen}


async def test_a_job_that_somebody_canceled_is_no_news(database: Database, ada: Person) -> None:
    async with Lab.opened(database) as lab, delivering(database):
        [job_id] = await lab.enqueue(acting(ada), kind="reports")
        async with database.transaction(acting(ada)) as tx:
            assert await cancel_jobs(tx, [job_id]) == 1
        await followed(database, ada, 1)
    assert await told(database, ada) == []


async def test_notifications_that_cannot_be_told_tell_nobody_of_themselves(database: Database, ada: Person) -> None:
    async with Lab.opened(database) as lab:
        async with delivering(database):
            pass  # what follows a dead letter is known from here on
        await bury(lab, ada, "notification.of_dead_letter", START)
        async with delivering(database):
            await followed(database, ada, 1)
    assert await told(database, ada) == []


async def test_a_canceled_notification_has_its_end_at_the_limit_of_causes_too(database: Database, ada: Person) -> None:
    await know_handlers(database)
    async with database.transaction(acting(ada).caused_by(uuid7(), 16)) as tx:
        await notify(tx, BROKEN, roles=[Role.OWNER])
    async with database.transaction(acting(ada)) as tx:
        jobs = [job.id for job in await list_jobs(tx, kind="notification.email")]
        assert await cancel_jobs(tx, jobs) == 1
    async with delivering(database):
        assert await settled(database, ada) == [("dead_letter", "canceled")]


@pytest.mark.parametrize(("depth", "notices"), [(14, 1), (15, 0), (16, 0)])
async def test_as_deep_as_a_notice_may_go_it_is_told_and_no_deeper(
    database: Database, ada: Person, depth: int, notices: int
) -> None:
    """Its e-mail is a job of its own, two deeper than the job that it is about."""
    async with Lab.opened(database) as lab, delivering(database):
        async with database.transaction(acting(ada).caused_by(uuid7(), depth)) as tx:
            await enqueue(tx, "reports", max_attempts=1)
        assert await lab.fail(await lab.claim_one("reports", now=None), now=None) == "dead_letter"
        await followed(database, ada, 1)
    assert len(await told(database, ada)) == notices


async def test_another_workspace_is_told_nothing(database: Database, ada: Person, bob: Person) -> None:
    async with Lab.opened(database) as lab, delivering(database):
        await bury(lab, ada, "reports", START)
        await followed(database, ada, 1)
    assert len(await told(database, ada)) == 1
    assert await told(database, bob) == []
    async with database.transaction(acting(bob, Role.OWNER)) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.notifications") == 0


async def test_it_is_told_by_a_worker_of_the_lane(database: Database, ada: Person) -> None:
    from datalane.engine.actions import Actions
    from datalane.integrations.runtime import make_integrations
    from datalane.settings import Settings

    handlers, integrations = Handlers(), make_integrations(Settings(), Actions())
    integrations.register(handlers, database)
    async with Lab.opened(database) as lab, working(database, handlers):
        await bury(lab, ada, "reports", START)
        await followed(database, ada, 1)
    assert len(await told(database, ada)) == 1

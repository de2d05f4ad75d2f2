"""A quota that is nearly or wholly used up is told to owners and admins, of each once a day."""

from __future__ import annotations

from tests.integration.api.conftest import Join, Person, SignUp
from tests.integration.engine.lab import eventually
from tests.integration.integrations.telling import acting, delivering, rows

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.db.database import Database

TOLD = "SELECT actor_id, title, body FROM datalane.notifications WHERE subject_type = 'quota' ORDER BY title"
FOLLOWED = "SELECT count(*) FROM datalane.job_history WHERE kind LIKE 'notification.of_usage%'"


async def test_owners_and_admins_are_told_once_a_day_of_each(
    database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob, eve = await sign_up("bob"), await sign_up("eve")
    await join(ada, bob, "admin")
    await join(ada, eve, "member")
    plans = Plans()
    plans.add(Plan("shop", (), {"reports": Quota(10, "day", warn_at=(80,))}))
    await register_plans(database, plans)
    system = Context.system(ada.workspace_id)
    async with delivering(database):
        async with database.transaction(system) as tx:
            await assign_plan(tx, "shop")
            await service.use(tx, "reports", 8, idempotency_key="1")
            await service.use(tx, "reports", 2, idempotency_key="2")
            await service.correct(tx, "reports", -1, "a refund", idempotency_key="3")
            await service.use(tx, "reports", 1, idempotency_key="4")  # the limit is reached again

        async def all_followed() -> bool:
            [[found]] = await rows(database, ada, FOLLOWED)
            return bool(found == 3)

        await eventually(all_followed)
    seen = []
    for person in (ada, bob, eve):
        async with database.transaction(acting(person, workspace_id=ada.workspace_id)) as tx:
            seen += [
                (row["actor_id"], row["title"], row["body"].partition(". It begins")[0]) for row in await tx.fetch(TOLD)
            ]
    nearly = ("The quota reports of your plan is over 80 % used", "8 of 10 units of reports are used")
    wholly = (
        "The quota reports of your plan is used up",
        "10 of 10 units of reports are used. What goes beyond that is refused",
    )
    assert seen == [(person.user_id, *said) for person in (ada, bob) for said in (nearly, wholly)]

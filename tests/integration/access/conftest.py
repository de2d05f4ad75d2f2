"""Workspaces with plans, as the operator and as their members."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.integration.access.metering import DAY, EVERY_WINDOW, NOON

from datalane.access.entitlements import service as entitlements
from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.contracts.context import Context, Role
from datalane.db.database import Database


def plans_of(*plans: Plan) -> Plans:
    known = Plans()
    for plan in plans:
        known.add(plan)
    return known


PRO = Plan("pro", ("reports.export", "search"), {"api.requests": Quota(100, "day", warn_at=(80,))})
TRIAL = Plan("trial", ("search",), {"api.requests": Quota(10, "day")})


@pytest.fixture
async def plans(database: Database) -> dict[str, int]:
    """The vendor sells two plans; answers their versions."""
    return await register_plans(database, plans_of(PRO, TRIAL))


@pytest.fixture
def operator(context: Context) -> Context:
    """The operator of the lane, in the workspace of `context`."""
    return Context.system(context.workspace_id)


@pytest.fixture
def owner(context: Context) -> Context:
    return replace(context, role=Role.OWNER)


@pytest.fixture
async def metered(database: Database, operator: Context) -> Context:
    """The system in a workspace with a quota for each kind of window."""
    await register_plans(database, plans_of(EVERY_WINDOW))
    async with database.transaction(operator) as tx:
        await entitlements.assign_plan(tx, "windows", now=NOON - 40 * DAY)
    return operator

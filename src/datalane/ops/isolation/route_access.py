"""Plans, entitlements and usage in the world of the route proof. No route gives a plan: the operator does."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.entitlements.service import assign_plan, override_feature
from datalane.access.usage import service
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.ops.isolation.route_world import NEEDED, OTHER, Space

QUOTA, WORK = "proof.units", "work under way"
"""A quota of the plan that both workspaces have, and the key of what is reserved of it."""
_OUTLASTS = timedelta(days=1)
"""The whole proof may take longer than reservations usually last, and what is left must not change under it."""


async def add_access(database: Database, space: Space, member: UUID) -> None:
    """A plan, two features beside it, uses, a correction and reservations. The other workspace has a feature, a use and
    a reservation that are `NEEDED`, and has used much more."""
    plans = Plans()
    plans.add(Plan("proof", ("proof.search",), {QUOTA: Quota(10**9, "month")}))
    await register_plans(database, plans)
    space.things["quota_key"] = QUOTA
    only_here = [NEEDED] if space.word == OTHER else []
    async with database.transaction(Context.system(space.workspace_id)) as tx:
        await assign_plan(tx, "proof", reason=f"A plan of {space.word}")
        for key in (f"{space.word}.first", f"{space.word}.second", *only_here):
            await override_feature(tx, key, "enabled", f"A reason of {space.word}")
        for key in (f"use of {space.word}", f"another of {space.word}", *only_here):
            await service.use(tx, QUOTA, 777 if only_here else 3, idempotency_key=key)
        await service.correct(
            tx, QUOTA, 1, f"A correction of {space.word}", idempotency_key=f"correction of {space.word}"
        )
    async with database.transaction(Context(space.workspace_id, member, Role.MEMBER)) as tx:
        for key in (WORK, *only_here):
            await service.reserve(tx, QUOTA, 2, idempotency_key=f"reserved {key}", lasts=_OUTLASTS)

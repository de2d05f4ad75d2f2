"""Plans and entitlements: what holds when, who says so, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of

from datalane.access.entitlements import service
from datalane.access.entitlements.plans import Plan, Quota, register_plans, retire_plan
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Conflict, Forbidden, InvalidInput, NotFound

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

NOON = datetime(2031, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def timeline(database: Database, context: Context, since: datetime, until: datetime) -> list[tuple[Any, ...]]:
    async with database.transaction(context) as tx:
        rows = await tx.fetch("SELECT * FROM datalane.plan_timeline($1, $2)", since, until)
    return [tuple(row.values()) for row in rows]


async def test_a_workspace_without_a_plan_may_nothing_and_is_told_why(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        answer = await service.check_feature(tx, "search")
        listed = await service.list_entitlements(tx)
    assert (answer.allowed, answer.reason) == (False, "the workspace has no plan")
    assert (listed.plan, listed.data, listed.version) == (None, [], 0)


async def test_a_plan_holds_from_its_moment_until_the_next_one(
    database: Database, operator: Context, context: Context
) -> None:
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "trial", expires_at=NOON + 4 * HOUR, now=NOON)
        await service.assign_plan(tx, "pro", effective_at=NOON + 2 * HOUR, expires_at=NOON + 3 * HOUR, now=NOON)
        held = [await service.get_plan(tx, NOON + hours * HOUR) for hours in (-1, 0, 1, 2, 3)]
    # What a later plan took the place of does not come back when that one expires: that one is closed.
    assert [plan and (plan.plan_id, plan.status) for plan in held] == [
        None,
        ("trial", "enabled"),
        ("trial", "enabled"),
        ("pro", "enabled"),
        ("pro", "disabled"),
    ]
    assert await timeline(database, context, NOON, NOON + 5 * HOUR) == [
        (NOON, NOON + 2 * HOUR, "trial", 1, "enabled", ["search"]),
        (NOON + 2 * HOUR, NOON + 3 * HOUR, "pro", 1, "enabled", ["reports.export", "search"]),
        (NOON + 3 * HOUR, NOON + 4 * HOUR, "pro", 1, "disabled", []),
        (NOON + 4 * HOUR, NOON + 5 * HOUR, "pro", 1, "disabled", []),
    ]


async def test_a_plan_cannot_begin_in_the_past(database: Database, operator: Context) -> None:
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "pro", effective_at=NOON - HOUR, now=NOON)
        before, after = await service.get_plan(tx, NOON - HOUR / 2), await service.get_plan(tx, NOON)
    assert before is None
    assert after is not None
    assert after.effective_at == NOON


async def test_one_call_says_whether_why_and_until_when(database: Database, operator: Context) -> None:
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "trial", expires_at=NOON + HOUR, now=NOON)
        mine, none = await service.check_feature(tx, "search", NOON), await service.check_feature(tx, "fly", NOON)
        await service.assign_plan(tx, "trial", status="grace", now=NOON + HOUR)
        late = await service.check_feature(tx, "search", NOON + HOUR)
        await service.assign_plan(tx, "trial", status="disabled", now=NOON + 2 * HOUR)
        over = await service.check_feature(tx, "search", NOON + 2 * HOUR)
    assert (mine.allowed, mine.entitlement_status, mine.reason) == (True, "enabled", "the plan trial includes it")
    assert mine.until == NOON + HOUR
    assert (none.allowed, none.reason) == (False, "the plan trial does not include fly")
    assert (late.allowed, late.entitlement_status, late.until) == (True, "grace", None)
    assert (over.allowed, over.entitlement_status) == (False, "disabled")


async def test_an_override_holds_beside_the_plan_until_it_expires_or_ends(
    database: Database, operator: Context
) -> None:
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "trial", now=NOON)
        given = await service.override_feature(
            tx, "reports.export", "enabled", "a promise", expires_at=NOON + 2 * HOUR, now=NOON
        )
        taken = await service.override_feature(tx, "search", "disabled", "misuse", now=NOON)
        answers = [await service.check_feature(tx, key, NOON) for key in ("reports.export", "search")]
        assert [each.allowed for each in answers] == [True, False]
        assert answers[0].reason == "an agreement beside the plan (operator) includes it"
        assert not (await service.check_feature(tx, "reports.export", NOON + 2 * HOUR)).allowed
        assert await service.end_override(tx, taken, "a mistake", NOON + HOUR)
        assert not await service.end_override(tx, taken, "again", NOON + HOUR)
        assert (await service.check_feature(tx, "search", NOON + HOUR)).allowed
        assert not (await service.check_feature(tx, "search", NOON)).allowed  # what was enforced stays told
        listed = await service.list_entitlements(tx, NOON)
    assert {each.feature_key: each.override_id for each in listed.data} == {"reports.export": given, "search": taken}
    assert listed.version == 5  # who asks to end what has ended moves it too


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER])
async def test_nobody_in_a_workspace_gives_it_a_plan(database: Database, role: Role) -> None:
    mine = a_context(role=role)
    for statement in (
        "SELECT datalane.assign_plan('pro')",
        "SELECT datalane.override_entitlement('quota', 'api.requests', 'more')",
        "SELECT datalane.cancel_plan(gen_random_uuid(), 'no')",
        "SELECT datalane.end_override(gen_random_uuid(), 'no')",
    ):
        with pytest.raises(Forbidden, match="operator of the lane"):
            async with database.transaction(mine) as tx:
                await tx.execute(statement)
    with pytest.raises(Forbidden):
        async with database.transaction(mine) as tx:
            await service.assign_plan(tx, "pro")
    for table in ("workspace_plans", "entitlement_overrides", "entitlement_versions"):
        with pytest.raises(Forbidden):
            async with database.transaction(mine) as tx:
                await tx.execute(f"DELETE FROM datalane.{table}")


async def test_what_is_no_plan_is_refused_and_nothing_is_stored(database: Database, operator: Context) -> None:
    for fault, error in (
        ({"plan_id": "none"}, NotFound),
        ({"plan_id": "pro", "status": "half"}, InvalidInput),
        ({"plan_id": "pro", "expires_at": NOON}, InvalidInput),
        ({"plan_id": "pro", "effective_at": NOON + 2 * HOUR, "expires_at": NOON + HOUR}, InvalidInput),
    ):
        with pytest.raises(error):
            async with database.transaction(operator) as tx:
                await service.assign_plan(tx, now=NOON, **fault)
    for said in (
        {"key": "No Key", "kind": "quota"},
        {"key": "search", "kind": "wish"},
        {"key": "search", "kind": "feature"},
        {"key": "search", "kind": "feature", "status": "half"},
        {"key": "search", "kind": "quota", "status": "enabled"},
        {"key": "search", "kind": "quota", "limit_units": -1},
        {"key": "search", "kind": "recovery", "limit_units": 1},
        {"key": "api.requests", "kind": "quota", "reason": ""},
    ):
        given = {"reason": "a test", **said}
        named = ", ".join(f"{name} => ${place}" for place, name in enumerate(given, 1))
        with pytest.raises(InvalidInput):
            async with database.transaction(operator) as tx:
                await tx.execute(f"SELECT datalane.override_entitlement({named})", *given.values())
    with pytest.raises(NotFound, match="no plan has a quota search: its window comes from a plan"):
        async with database.transaction(operator) as tx:
            await service.override_quota(tx, "search", 10, "a typing error")
    for until in (NOON, NOON + timedelta(days=8)):
        with pytest.raises(InvalidInput):
            async with database.transaction(operator) as tx:
                await service.begin_recovery(tx, "api.requests", until, "an outage", now=NOON)
    async with database.transaction(operator) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.workspace_plans") == 0
        assert await tx.fetchval("SELECT count(*) FROM datalane.entitlement_versions") == 0


async def test_every_change_leaves_an_audit_record_with_its_reason(database: Database, operator: Context) -> None:
    async with database.transaction(operator) as tx:
        later = await service.assign_plan(tx, "pro", effective_at=NOON + HOUR, reason="an upgrade", now=NOON)
        assert await service.cancel_plan(tx, later, "not paid", NOON)
        assert not await service.cancel_plan(tx, later, "not paid", NOON)
        override = await service.override_quota(tx, "api.requests", None, "a load test", now=NOON)
        await service.end_override(tx, override, "it is over", NOON + HOUR)
        rows = await tx.fetch(
            "SELECT l.action, d.after->>'reason' AS reason FROM datalane.audit_log l "
            "JOIN datalane.audit_details d USING (workspace_id, audit_id) "
            "WHERE l.workspace_id = $1 AND l.correlation_id = $2 ORDER BY l.occurred_at, l.audit_id",
            *(operator.workspace_id, operator.correlation_id),
        )
    assert [tuple(row) for row in rows] == [
        ("plan.assigned", "an upgrade"),
        ("plan.canceled", "not paid"),
        ("entitlement.overridden", "a load test"),
        ("entitlement.override_ended", "it is over"),
    ]


async def test_a_plan_that_says_something_else_is_a_new_version_and_who_has_it_keeps_the_old_one(
    database: Database, operator: Context
) -> None:
    basic = Plan("basic", ("search",), {"api.requests": Quota(10, "day")})
    more = Plan("basic", ("search", "share"), {"api.requests": Quota(10, "day")})
    assert await register_plans(database, plans_of(basic)) == {"basic": 1}
    assert await register_plans(database, plans_of(basic)) == {"basic": 1}
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "basic")
    assert await register_plans(database, plans_of(more)) == {"basic": 2}
    async with database.transaction(operator) as tx:
        assert not (await service.check_feature(tx, "share")).allowed
        await service.assign_plan(tx, "basic")
        assert (await service.check_feature(tx, "share")).allowed


async def test_a_plan_that_is_retired_while_in_use_goes_on_and_is_given_to_nobody(
    database: Database, operator: Context
) -> None:
    await register_plans(database, plans_of(Plan("old", ("search",), {})))
    async with database.transaction(operator) as tx:
        await service.assign_plan(tx, "old")
    assert await retire_plan(database, "old")
    assert not await retire_plan(database, "old")
    async with database.transaction(operator) as tx:
        assert (await service.check_feature(tx, "search")).allowed
    with pytest.raises(NotFound, match="retired"):
        async with database.transaction(operator) as tx:
            await service.assign_plan(tx, "old")
    assert await register_plans(database, plans_of(Plan("old", ("search",), {}))) == {"old": 2}


async def test_the_default_plan_holds_where_none_is_assigned(database: Database) -> None:
    mine = Context.system(a_context().workspace_id)
    free = Plan("free", ("search",), {}, default=True)
    try:
        await register_plans(database, plans_of(free))
        async with database.transaction(mine) as tx:
            plan = await service.get_plan(tx)
            assert plan is not None
            assert (plan.plan_id, plan.source) == ("free", "default")
            await service.assign_plan(tx, "pro", expires_at=NOON)
            assert [
                each and each.plan_id for each in (await service.get_plan(tx), await service.get_plan(tx, NOON))
            ] == [
                "pro",
                "free",
            ]
        with pytest.raises(Conflict, match="default"):
            await retire_plan(database, "free")
    finally:
        await register_plans(database, plans_of(Plan("free", ("search",), {})))
    async with database.transaction(mine) as tx:
        plan = await service.get_plan(tx, NOON)  # without a default what was sold is closed
        assert plan is not None
        assert (plan.plan_id, plan.status) == ("pro", "disabled")


async def test_another_workspace_s_plan_is_behind_the_wall(database: Database, operator: Context) -> None:
    async with database.transaction(operator) as tx:
        given = await service.assign_plan(tx, "pro", effective_at=NOON + HOUR, now=NOON)
        override = await service.override_feature(tx, "search", "disabled", "misuse", now=NOON)
    stranger = Context.system(a_context().workspace_id)
    async with database.transaction(stranger) as tx:
        assert await service.get_plan(tx, NOON + HOUR) is None
        assert (await service.list_entitlements(tx, NOON)).data == []
    with pytest.raises(NotFound):
        async with database.transaction(stranger) as tx:
            await service.cancel_plan(tx, given, "theft", NOON)
    with pytest.raises(NotFound):
        async with database.transaction(stranger) as tx:
            await service.end_override(tx, override, "theft", NOON)

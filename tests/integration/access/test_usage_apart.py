"""A use in a transaction of its own: one statement states the door and counts, for the login alone."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of

from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.door import door_statements
from datalane.engine.registration import register
from datalane.errors import Conflict, Forbidden, InvalidInput

CALLED = "SELECT datalane.consume_as($1, $2, $3, $4, $5, 'calls', 1, $6)"
STATED = """SELECT current_user, current_setting('app.workspace_id', true), current_setting('app.actor_id', true),
                   current_setting('app.actor_role', true), current_setting('app.correlation_id', true)"""
FEW = Plan("few", (), {"calls": Quota(2, "month")})


@pytest.fixture
async def member(database: Database) -> Context:
    context = a_context(role=Role.MEMBER)
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans_of(FEW))
    async with database.transaction(Context.system(context.workspace_id)) as tx:
        await assign_plan(tx, "few")
    return context


def values(context: Context, key: str, **others: str) -> tuple[Any, ...]:
    told = {"role": context.role.value, "correlation": context.correlation_id, "settings": ""} | others
    return context.workspace_id, context.actor_id, told["role"], told["correlation"], told["settings"], key


async def consumed(database: Database, context: Context) -> int:
    async with database.transaction(context) as tx:
        counter = await service.get_counter(tx, "calls")
    assert counter is not None
    return counter.consumed_units


async def test_it_states_what_the_door_states(database: Database, login: asyncpg.Connection, member: Context) -> None:
    await login.execute(door_statements(member, database.roles))
    by_the_door = await login.fetchrow(STATED)
    await login.execute("ROLLBACK; BEGIN")
    await login.execute(CALLED, *values(member, "a", settings="; SET LOCAL app.payload_limit = '77'"))
    by_itself = await login.fetchrow(STATED)
    assert by_itself == by_the_door
    assert await login.fetchval("SELECT current_setting('app.payload_limit')") == "77"
    await login.execute("ROLLBACK")


async def test_nothing_of_it_is_left_on_the_connection(
    database: Database, login: asyncpg.Connection, member: Context
) -> None:
    before = await login.fetchval("SELECT current_user")
    await login.execute(CALLED, *values(member, "a"))
    assert [each or None for each in await login.fetchrow(STATED)] == [before, None, None, None, None]
    with pytest.raises(asyncpg.PostgresError) as refused:
        await login.execute(CALLED, *values(member, "b", role="viewer"))
    assert refused.value.sqlstate == "DL403"
    assert [each or None for each in await login.fetchrow(STATED)] == [before, None, None, None, None]
    assert await consumed(database, member) == 1


@pytest.mark.parametrize("others", [{"role": "member'; RESET ROLE; --"}, {"role": ""}, {"role": "root"}])
async def test_a_role_that_is_none_may_nothing(
    database: Database, login: asyncpg.Connection, member: Context, others: dict[str, str]
) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await login.execute(CALLED, *values(member, "a", **others))
    assert refused.value.sqlstate == "DL403"
    assert await consumed(database, member) == 0


async def test_what_it_is_told_are_values_and_no_statements(
    database: Database, login: asyncpg.Connection, member: Context
) -> None:
    other = a_context(role=Role.MEMBER)
    hostile = f"c'; SET LOCAL app.workspace_id = '{other.workspace_id}'; --"
    await login.execute(CALLED, *values(member, "a", correlation=hostile))
    async with database.transaction(member) as tx:
        page = await service.list_ledger(tx, "calls")
    assert [(row.idempotency_key, row.correlation_id) for row in page.data] == [("a", hostile)]


async def test_nobody_inside_a_door_may_call_it(database: Database, member: Context) -> None:
    with pytest.raises(Forbidden, match="permission denied for function consume_as"):
        async with database.transaction(member) as tx:
            await tx.fetchval(CALLED, *values(member, "a"))


async def test_it_answers_and_refuses_as_a_use_inside_a_transaction(database: Database, member: Context) -> None:
    async def use(key: str, units: int = 1) -> str:
        return (await service.use_apart(database, member, "calls", units, idempotency_key=key)).outcome

    assert [await use(key) for key in ("a", "b", "a", "c")] == ["accepted", "accepted", "replayed", "refused"]
    async with database.transaction(member) as tx:
        told = await tx.fetchval(
            "SELECT count(*) FROM datalane.events WHERE workspace_id = $1 AND event_type = 'usage.limit_reached'",
            member.workspace_id,
        )
    assert told == 1, "a refusal is committed with what it tells"
    with pytest.raises(Conflict):
        await use("a", 2)
    for units in (0, -1, 10**15 + 1):
        with pytest.raises(InvalidInput):
            await use("d", units)
    viewer = a_context(member.workspace_id, Role.VIEWER)
    with pytest.raises(Forbidden):
        await service.use_apart(database, viewer, "calls", 1, idempotency_key="e")
    assert await consumed(database, member) == 2

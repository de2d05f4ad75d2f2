"""The role matrix says what the database holds: line for line, in the policies and in the verbs."""

from __future__ import annotations

import re

import asyncpg
import pytest

from datalane.contracts.authorization import MATRIX, MEMBER_ROLES, Permission
from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.domains import PERMISSIONS
from datalane.engine.registration import register

assert PERMISSIONS  # every slice states its lines when it is imported

ROLES = (*MEMBER_ROLES, Role.SYSTEM)
RANKED = re.compile(r"require_rank\((?:CASE WHEN [^)]*\(\) THEN 1 ELSE )?(\d)")


async def least_role(connection: asyncpg.Connection, need: str) -> Role | None:
    """The lowest role that the database lets do `need`, None when it lets nobody."""
    name, _, command = need.partition(":")
    if command:
        said = await connection.fetch(
            "SELECT concat(qual, with_check) FROM pg_policies WHERE format('%s.%s', schemaname, tablename) = $1 "
            "AND 'datalane_app' = ANY (roles) AND cmd IN (upper($2), 'ALL')",
            name,
            command,
        )
        ranks = {int(found[1]) if (found := re.search(r"actor_rank\(\) >= (\d)", each)) else 1 for (each,) in said}
        return ROLES[min(ranks) - 1] if ranks else None
    bodies = await connection.fetch(
        "SELECT prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE format('%s.%s', n.nspname, p.proname) = $1",
        name,
    )
    ranks = {int(found[1]) for (body,) in bodies if (found := RANKED.search(body))}
    assert len(ranks) == len(bodies) == 1, f"{need} does not begin with one check of the rank"
    return ROLES[ranks.pop() - 1]


@pytest.mark.parametrize("line", list(MATRIX), ids=lambda line: line.name)
async def test_the_database_holds_each_line(database: Database, line: Permission) -> None:
    async with database.pool.acquire() as connection:
        held = {need: await least_role(connection, need) for need in line.needs}
    assert held == dict.fromkeys(line.needs, line.least)


async def test_a_line_that_the_database_does_not_hold_is_noticed(database: Database) -> None:
    async with database.pool.acquire() as connection:
        assert await least_role(connection, "datalane.documents:delete") is Role.ADMIN
        assert await least_role(connection, "datalane.audit_log:delete") is None
        assert await least_role(connection, "datalane.cancel_jobs") is Role.ADMIN


async def test_operators_read_the_matrix_of_the_running_version(database: Database, urls: Prepared) -> None:
    await register(database, {}, [], [])
    stated = {(line.resource, line.action, role.value) for line in MATRIX for role in MEMBER_ROLES if line.allows(role)}
    assert await stored_matrix(urls) == stated


async def test_a_line_that_became_stricter_loses_its_rows(database: Database, urls: Prepared) -> None:
    connection = await database.direct_connection(database.roles.worker)
    try:
        for least in ("viewer", "admin"):
            await connection.execute(
                "SELECT datalane.register_permissions(ARRAY['thing'], ARRAY['sell'], ARRAY[$1])", least
            )
    finally:
        await connection.close()
    assert await stored_matrix(urls) == {("thing", "sell", "admin"), ("thing", "sell", "owner")}


async def stored_matrix(urls: Prepared) -> set[tuple[str, str, str]]:
    operator = await asyncpg.connect(urls.operator_url)
    try:
        rows = await operator.fetch("SELECT resource, action, role FROM datalane.role_matrix")
    finally:
        await operator.close()
    return {(row["resource"], row["action"], row["role"]) for row in rows}

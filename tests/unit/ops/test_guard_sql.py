"""For each rule on SQL a revision that breaks it: the guard names the rule, the table and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.ops.revision_folder import TABLE, Folder

from datalane.ops.guard.released import freeze
from datalane.ops.guard.revisions import read_revisions
from datalane.ops.guard.rules import RULES, findings

PLPGSQL = "CREATE FUNCTION shop.verb() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {} END $$;"
FAULTS = [
    ("sql-no-dml", "INSERT INTO datalane.users (name) VALUES ('a');", "datalane.users", "INSERT in a revision"),
    ("sql-no-dml", "UPDATE datalane.jobs SET priority = 1;", "datalane.jobs", "UPDATE in a revision"),
    ("sql-no-dml", "DELETE FROM datalane.jobs;", "datalane.jobs", "DELETE in a revision"),
    (
        "sql-no-dml",
        "MERGE INTO datalane.jobs j USING datalane.users u ON true WHEN MATCHED THEN DELETE;",
        "datalane.jobs",
        "MERGE in a revision",
    ),
    (
        "sql-no-dml",
        "WITH gone AS (DELETE FROM datalane.jobs RETURNING id) SELECT id FROM gone;",
        "datalane.jobs",
        "DELETE in a revision",
    ),
    ("sql-no-dml", "SELECT datalane.enqueue('a');", "{file}", "the call of datalane.enqueue in a revision"),
    ("sql-no-dml", "DO $$ BEGIN DELETE FROM datalane.jobs; END $$;", "{file}", "DELETE in a DO block in a revision"),
    (
        "sql-no-dml",
        "DO $$ BEGIN EXECUTE 'UPDATE datalane.jobs SET priority = 1'; END $$;",
        "{file}",
        "UPDATE in a DO block in a revision",
    ),
    ("sql-no-dml", "SELECT 1 AS one INTO shop.copy;", "{file}", "SELECT INTO in a revision"),
    ("sql-no-copy", "COPY datalane.jobs FROM '/tmp/jobs';", "datalane.jobs", "COPY in a revision"),
    ("sql-no-copy", PLPGSQL.format("COPY shop.orders TO '/tmp/o';"), "shop.verb", "COPY in a function"),
    (
        "sql-no-star",
        "CREATE VIEW shop.v WITH (security_invoker = true) AS SELECT * FROM datalane.jobs;",
        "shop.v",
        "a star instead of columns",
    ),
    (
        "sql-no-star",
        PLPGSQL.format("INSERT INTO shop.a (b) VALUES (1) RETURNING * INTO c;"),
        "shop.verb",
        "RETURNING * instead of columns",
    ),
    (
        "sql-no-star",
        "CREATE FUNCTION shop.all_jobs() RETURNS SETOF datalane.jobs LANGUAGE sql AS "
        "$$ SELECT j.* FROM datalane.jobs j $$;",
        "shop.all_jobs",
        ".* instead of columns",
    ),
    (
        "sql-no-set-config",
        PLPGSQL.format("PERFORM set_config('app.workspace_id', 'a', true);"),
        "shop.verb",
        "set_config",
    ),
    ("sql-no-set-config", "SELECT set_config('a.b', 'c', true);", "{file}", "set_config"),
    (
        "sql-no-trigger",
        "CREATE TRIGGER touched BEFORE UPDATE ON datalane.documents FOR EACH ROW EXECUTE FUNCTION shop.touch();",
        "datalane.documents",
        "the trigger touched",
    ),
    (
        "sql-no-trigger",
        "CREATE RULE quiet AS ON DELETE TO datalane.jobs DO INSTEAD NOTHING;",
        "datalane.jobs",
        "the rewrite rule quiet",
    ),
    (
        "sql-policy-subquery",
        "CREATE POLICY mine ON datalane.documents USING (workspace_id = (SELECT app.workspace_id()));",
        "datalane.documents",
        "the policy mine holds a subquery",
    ),
    (
        "sql-policy-subquery",
        "ALTER POLICY app_select ON datalane.documents USING (EXISTS (SELECT FROM datalane.memberships));",
        "datalane.documents",
        "the policy app_select holds a subquery",
    ),
    (
        "sql-table-class",
        TABLE.replace("SELECT app.protect('shop.orders', 'tenant');", ""),
        "shop.orders",
        "no policy class is declared",
    ),
    ("sql-table-class", TABLE.replace("'tenant'", "'tenants'"), "shop.orders", "'tenants' is no policy class"),
    ("sql-table-schema", TABLE.replace("shop.", ""), "orders", "no schema; it would land wherever"),
    (
        "sql-workspace-column",
        TABLE.replace("uuid NOT NULL", "uuid", 1).replace("PRIMARY KEY", "UNIQUE"),
        "shop.orders",
        "workspace_id may be null",
    ),
    (
        "sql-workspace-column",
        TABLE.replace("workspace_id uuid", "workspace_id text", 1),
        "shop.orders",
        "workspace_id is text, not uuid",
    ),
    (
        "sql-workspace-column",
        TABLE.replace("workspace_id", "tenant_id"),
        "shop.orders",
        "no column workspace_id",
    ),
    (
        "sql-keys",
        TABLE.replace("(workspace_id, order_id)", "(order_id)"),
        "shop.orders",
        "the primary key on (order_id)",
    ),
    (
        "sql-keys",
        TABLE.replace("number integer NOT NULL", "number integer NOT NULL CONSTRAINT one_number UNIQUE"),
        "shop.orders",
        "the unique constraint one_number on (number)",
    ),
    (
        "sql-keys",
        TABLE + "CREATE UNIQUE INDEX one_number ON shop.orders (number, workspace_id);",
        "shop.orders",
        "the unique index one_number on (number, workspace_id)",
    ),
    (
        "sql-foreign-keys",
        TABLE.replace("order_id uuid NOT NULL", "order_id uuid NOT NULL REFERENCES datalane.documents (document_id)"),
        "shop.orders",
        "the foreign key (order_id) to datalane.documents does not hold the workspace",
    ),
    (
        "sql-foreign-keys",
        TABLE.replace(
            "PRIMARY KEY (", "FOREIGN KEY (order_id, workspace_id) REFERENCES datalane.chunks, PRIMARY KEY ("
        ),
        "shop.orders",
        "the foreign key (order_id, workspace_id) to datalane.chunks does not hold the workspace",
    ),
    ("sql-no-enum", "CREATE TYPE shop.mood AS ENUM ('good');", "shop.mood", "it is an enum type"),
    (
        "sql-wall-stays",
        "ALTER TABLE datalane.documents NO FORCE ROW LEVEL SECURITY;",
        "datalane.documents",
        "NO FORCE ROW LEVEL SECURITY",
    ),
    (
        "sql-wall-stays",
        "ALTER TABLE datalane.documents DISABLE ROW LEVEL SECURITY;",
        "datalane.documents",
        "DISABLE ROW LEVEL SECURITY",
    ),
    (
        "sql-view-invoker",
        "CREATE VIEW shop.v AS SELECT id FROM datalane.jobs;",
        "shop.v",
        "the view runs with its owner's rights",
    ),
    (
        "sql-view-invoker",
        "CREATE VIEW shop.v WITH (security_invoker = false) AS SELECT id FROM datalane.jobs;",
        "shop.v",
        "the view runs with its owner's rights",
    ),
    (
        "sql-view-invoker",
        "CREATE MATERIALIZED VIEW shop.v AS SELECT id FROM datalane.jobs;",
        "shop.v",
        "a materialised view has no row-level security",
    ),
    (
        "sql-definer-path",
        "CREATE FUNCTION shop.verb() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public "
        "AS $$ SELECT 1 $$;",
        "shop.verb",
        "SECURITY DEFINER without SET search_path = ''",
    ),
    ("sql-names", TABLE.replace("number", '"orderNumber"'), "shop.orders", "the column 'orderNumber' is not in snake"),
    (
        "sql-names",
        TABLE.replace("PRIMARY KEY", 'CONSTRAINT "Key" PRIMARY KEY'),
        "shop.orders",
        "the constraint 'Key' is not in snake_case",
    ),
    (
        "sql-constraint-names",
        TABLE.replace("number integer NOT NULL", "number integer NOT NULL CHECK (number > 0)"),
        "shop.orders",
        "a CHECK constraint without a name",
    ),
    (
        "sql-no-concurrently",
        "CREATE INDEX CONCURRENTLY by_title ON datalane.documents (workspace_id, title);",
        "datalane.documents",
        "CONCURRENTLY in a transaction",
    ),
    ("sql-no-concurrently", "DROP INDEX CONCURRENTLY datalane.jobs_due;", "{file}", "CONCURRENTLY in a transaction"),
    ("sql-parses", "CREATE TABEL shop.orders ();", "{file}", "it cannot be parsed: syntax error"),
]


@pytest.mark.parametrize(
    ("rule", "up", "target", "said"), FAULTS, ids=[f"{rule}-{place}" for place, (rule, *_) in enumerate(FAULTS)]
)
def test_a_fault_is_named_with_table_control_remedy_and_story(
    folder: Folder, rule: str, up: str, target: str, said: str
) -> None:
    folder.add(up)
    file = f"{folder.number}_orders.up.sql"
    found = [one for one in folder.findings() if one.rule == rule]
    assert found, f"{rule} found nothing in {up}"
    assert found[0].target == target.format(file=file)
    assert found[0].found.startswith(said)
    assert (found[0].place or "").startswith(file)
    assert found[0].control == RULES[rule].holds
    assert found[0].remedy
    assert found[0].story


def test_every_rule_on_sql_has_a_fault_here() -> None:
    assert {rule for rule, *_ in FAULTS} == {name for name in RULES if name.startswith("sql-")}


LOCKS = [
    ("adding-required-field", "ALTER TABLE datalane.documents ADD COLUMN shelf text NOT NULL;"),
    (
        "adding-field-with-default",
        "ALTER TABLE datalane.documents ADD COLUMN at timestamptz DEFAULT clock_timestamp();",
    ),
    (
        "adding-foreign-key-constraint",
        "ALTER TABLE datalane.citations ADD CONSTRAINT c FOREIGN KEY (workspace_id, chunk_id) "
        "REFERENCES datalane.chunks (workspace_id, chunk_id);",
    ),
    ("adding-not-nullable-field", "ALTER TABLE datalane.documents ALTER COLUMN title SET NOT NULL;"),
    ("adding-serial-primary-key-field", "ALTER TABLE datalane.documents ADD COLUMN n bigserial PRIMARY KEY;"),
    ("ban-drop-column", "ALTER TABLE datalane.documents DROP COLUMN title;"),
    ("ban-drop-not-null", "ALTER TABLE datalane.documents ALTER COLUMN tags DROP NOT NULL;"),
    ("ban-drop-table", "DROP TABLE datalane.documents;"),
    ("ban-truncate-cascade", "TRUNCATE datalane.documents CASCADE;"),
    ("changing-column-type", "ALTER TABLE datalane.documents ALTER COLUMN latest_ordinal TYPE bigint;"),
    ("constraint-missing-not-valid", "ALTER TABLE datalane.documents ADD CONSTRAINT c CHECK (latest_ordinal > 0);"),
    ("disallowed-unique-constraint", "ALTER TABLE datalane.documents ADD CONSTRAINT u UNIQUE (workspace_id, title);"),
    ("renaming-column", "ALTER TABLE datalane.documents RENAME COLUMN title TO name;"),
    ("renaming-table", "ALTER TABLE datalane.documents RENAME TO papers;"),
    ("require-concurrent-index-creation", "CREATE INDEX by_title ON datalane.documents (workspace_id, title);"),
    ("require-concurrent-index-deletion", "DROP INDEX datalane.jobs_due;"),
    ("transaction-nesting", "COMMIT;"),
]


@pytest.mark.parametrize(("rule", "up"), LOCKS, ids=[rule for rule, _ in LOCKS])
def test_a_lock_on_a_table_in_use_is_named(folder: Folder, rule: str, up: str) -> None:
    found = [one for one in folder.add(f"-- one line before\n{up}").findings() if one.rule == f"lock-{rule}"]
    assert [one.place for one in found] == [f"{folder.number}_orders.up.sql:2"]
    if "documents" in up and rule not in {"ban-drop-table", "ban-truncate-cascade"}:
        assert found[0].target == "datalane.documents"


def test_every_rule_on_locks_has_a_fault_here() -> None:
    assert {f"lock-{rule}" for rule, _ in LOCKS} == {name for name in RULES if name.startswith("lock-")}


def test_a_table_is_in_use_from_its_release_on(whole_folder: Folder) -> None:
    def built_under_lock() -> list[str]:
        return [one.target for one in whole_folder.findings() if one.rule == "lock-require-concurrent-index-creation"]

    whole_folder.add("CREATE INDEX by_title ON datalane.documents (workspace_id, title);")
    assert built_under_lock() == []
    freeze(whole_folder.path, read_revisions(whole_folder.versions)[:-1])
    assert built_under_lock() == ["datalane.documents"]
    freeze(whole_folder.path, read_revisions(whole_folder.versions))
    assert whole_folder.findings() == []


def test_a_new_table_of_the_same_revision_may_be_locked(folder: Folder) -> None:
    more = "CREATE INDEX by_number ON shop.orders (workspace_id, number);"
    assert folder.add(TABLE + more, "DROP TABLE shop.orders;").findings() == []


@pytest.mark.parametrize(
    "harmless",
    [
        PLPGSQL.format(
            "DELETE FROM shop.orders WHERE workspace_id = app.workspace_id(); PERFORM count(*) FROM shop.orders;"
        ),
        PLPGSQL.format("SELECT o.* INTO row FROM shop.orders o FOR UPDATE; x := a * b;"),
        "DO $$ BEGIN EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %s TO datalane_app', 'shop.a'); END $$;",
        "SELECT app.add_partitions('datalane.events', now(), 2);",
        "CREATE TABLE shop.orders_late PARTITION OF shop.orders DEFAULT;",
        "COMMENT ON TABLE datalane.jobs IS 'SELECT * FROM nothing; set_config(a)';",
    ],
)
def test_what_only_looks_like_a_fault_passes(folder: Folder, harmless: str) -> None:
    assert folder.add(harmless).findings() == []


def test_a_global_table_needs_no_workspace(folder: Folder) -> None:
    table = (
        "CREATE TABLE shop.currencies (code text NOT NULL PRIMARY KEY);SELECT app.protect('shop.currencies', 'global');"
    )
    assert folder.add(table, "DROP TABLE shop.currencies;").findings() == []


def test_a_repair_in_a_later_revision_is_seen(folder: Folder) -> None:
    """The rules judge the tables as they stand in the end; a released fault can be mended by a new revision."""
    up = TABLE + "ALTER TABLE shop.orders ALTER COLUMN workspace_id DROP NOT NULL;\n"
    assert "sql-workspace-column" in folder.add(up, "DROP TABLE shop.orders;").broken()
    mended = up + "ALTER TABLE shop.orders ALTER COLUMN workspace_id SET NOT NULL;\n"
    assert "sql-workspace-column" not in folder.add(mended, "DROP TABLE shop.orders;").broken()


def test_queries_with_stars_and_a_door_by_function_are_named(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text(
        "-- name: get_it(id)^\nSELECT count(*) FROM a;\nSELECT a.* FROM a WHERE id = :id;\n"
    )
    (tmp_path / "door.py").write_text(
        '"""set_config() is not called."""\nBEGIN = "SELECT set_config(\'a\', $1, true)"\n'
    )
    (tmp_path / "late.py").write_text('QUERY = "DELETE FROM a RETURNING *"\n')
    assert [(one.rule, one.place) for one in findings("source", tmp_path)] == [
        ("source-no-star", "queries.sql:3"),
        ("source-no-star", "late.py:1"),
        ("source-no-set-config", "door.py:2"),
    ]

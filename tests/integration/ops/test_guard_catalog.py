"""For each rule on the catalog a fault in a live database: the guard names the table and the control it lacks."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.unit.ops.revision_folder import TABLE

from datalane.db.access import Prepared
from datalane.db.roles import Roles
from datalane.ops.guard.catalog.read import read_catalog
from datalane.ops.guard.catalog.wall import implied_policies
from datalane.ops.guard.declared import read_declared
from datalane.ops.guard.rules import RULES, Finding, findings
from datalane.ops.guard.run import check_catalog

SHOP = "CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO datalane_app, datalane_definer, datalane_backup; "
OPEN = "CREATE TABLE datalane.notes (workspace_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (workspace_id, id)); "
PROTECTED = OPEN + "SELECT app.protect('datalane.notes', 'tenant'); "
FAULTS = [
    ("catalog-class", OPEN, "datalane.notes", "no policy class"),
    (
        "catalog-class",
        OPEN + "COMMENT ON TABLE datalane.notes IS 'policy class: open'",
        "datalane.notes",
        "'open' is no",
    ),
    ("catalog-class", SHOP + "CREATE TABLE shop.orders (workspace_id uuid)", "shop.orders", "no policy class"),
    (
        "catalog-class",
        "CREATE MATERIALIZED VIEW datalane.m AS SELECT workspace_id FROM datalane.jobs",
        "datalane.m",
        "a materialised view has no row-level security",
    ),
    (
        "catalog-global",
        "CREATE TABLE datalane.currencies (code text PRIMARY KEY); SELECT app.protect('datalane.currencies', 'global')",
        "datalane.currencies",
        "declared global, and not on the list of global tables",
    ),
    (
        "catalog-global",
        "ALTER TABLE datalane.job_kinds ADD COLUMN workspace_id uuid",
        "datalane.job_kinds",
        "declared global, and has a workspace_id",
    ),
    (
        "catalog-workspace",
        "CREATE TABLE datalane.notes (id uuid); SELECT app.protect('datalane.notes', 'system')",
        "datalane.notes",
        "no column workspace_id",
    ),
    (
        "catalog-workspace",
        "CREATE TABLE datalane.notes (workspace_id text); SELECT app.protect('datalane.notes', 'system')",
        "datalane.notes",
        "workspace_id is text, not uuid",
    ),
    (
        "catalog-workspace",
        "CREATE TABLE datalane.notes (workspace_id uuid); SELECT app.protect('datalane.notes', 'system')",
        "datalane.notes",
        "workspace_id may be null",
    ),
    (
        "catalog-row-security",
        "ALTER TABLE datalane.documents DISABLE ROW LEVEL SECURITY",
        "datalane.documents",
        "row-level security is not enabled",
    ),
    (
        "catalog-row-security",
        "ALTER TABLE datalane.documents NO FORCE ROW LEVEL SECURITY",
        "datalane.documents",
        "row-level security is not forced",
    ),
    (
        "catalog-row-security",
        "ALTER TABLE datalane.job_history_late NO FORCE ROW LEVEL SECURITY",
        "datalane.job_history_late",
        "row-level security is not forced",
    ),
    (
        "catalog-index",
        "CREATE TABLE datalane.notes (workspace_id uuid NOT NULL); SELECT app.protect('datalane.notes', 'tenant')",
        "datalane.notes",
        "no index that begins with workspace_id",
    ),
    (
        "catalog-index",
        "ALTER TABLE datalane.citations DROP CONSTRAINT citations_pkey CASCADE; "
        "DROP INDEX datalane.citations_by_response, datalane.citations_by_document; "
        "CREATE INDEX half ON datalane.citations (workspace_id) WHERE agent_run_id IS NULL",
        "datalane.citations",
        "no index that begins with workspace_id",
    ),
    (
        "catalog-keys",
        "CREATE UNIQUE INDEX one_title ON datalane.documents (title, workspace_id)",
        "datalane.documents",
        "the unique index one_title on (title, workspace_id)",
    ),
    (
        "catalog-keys",
        "CREATE UNIQUE INDEX one_title ON datalane.documents (lower(title))",
        "datalane.documents",
        "the unique index one_title on (an expression)",
    ),
    (
        "catalog-foreign-keys",
        PROTECTED + "ALTER TABLE datalane.notes ADD CONSTRAINT to_a_workspace FOREIGN KEY (id) "
        "REFERENCES datalane.workspaces (workspace_id)",
        "datalane.notes",
        "the foreign key to_a_workspace to datalane.workspaces without the workspace",
    ),
    (
        "catalog-no-trigger",
        "CREATE FUNCTION datalane.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER touched BEFORE UPDATE ON datalane.documents FOR EACH ROW EXECUTE FUNCTION datalane.touch()",
        "datalane.documents",
        "the trigger touched",
    ),
    (
        "catalog-no-trigger",
        "CREATE RULE quiet AS ON DELETE TO datalane.jobs DO INSTEAD NOTHING",
        "datalane.jobs",
        "the trigger quiet",
    ),
    ("catalog-no-enum", "CREATE TYPE datalane.mood AS ENUM ('good')", "datalane.mood", "it is an enum type"),
    (
        "catalog-no-enum",
        SHOP + "CREATE TYPE shop.mood AS ENUM ('good'); ALTER TABLE datalane.documents ADD COLUMN mood shop.mood",
        "datalane.documents",
        "the column mood is of an enum type",
    ),
    (
        "catalog-policies",
        "DROP POLICY app_select ON datalane.documents",
        "datalane.documents",
        "no policy of the class tenant for datalane_app on SELECT",
    ),
    (
        "catalog-policies",
        "ALTER POLICY app_insert ON datalane.documents WITH CHECK (workspace_id = app.workspace_id())",
        "datalane.documents",
        "the policy app_insert for datalane_app on INSERT is not that of the class",
    ),
    (
        "catalog-policies",
        "CREATE POLICY everything ON datalane.documents TO datalane_app USING (true)",
        "datalane.documents",
        "the policy everything for datalane_app on every command is not that of the class",
    ),
    (
        "catalog-policies",
        "CREATE POLICY everybody ON datalane.documents FOR SELECT USING (workspace_id = app.workspace_id())",
        "datalane.documents",
        "the policy everybody for public on SELECT is not that of the class",
    ),
    (
        "catalog-policies",
        "DROP POLICY backup_select ON datalane.users",
        "datalane.users",
        "no policy of the class global for datalane_backup on SELECT",
    ),
    (
        "catalog-policy-subquery",
        "ALTER POLICY app_select ON datalane.documents USING (workspace_id = (SELECT app.workspace_id()))",
        "datalane.documents",
        "the policy app_select holds a subquery",
    ),
    (
        "catalog-grants",
        "GRANT TRUNCATE ON datalane.documents TO datalane_app",
        "datalane.documents",
        "datalane_app has T",
    ),
    ("catalog-grants", "GRANT SELECT ON datalane.documents TO PUBLIC", "datalane.documents", "public has SELECT"),
    (
        "catalog-grants",
        "GRANT SELECT ON datalane.documents TO datalane_login",
        "datalane.documents",
        "datalane has SEL",
    ),
    (
        "catalog-grants",
        "GRANT INSERT ON datalane.audit_log TO datalane_app",
        "datalane.audit_log",
        "datalane_app has INSERT",
    ),
    (
        "catalog-grants",
        "GRANT SELECT (password_hash) ON datalane.users TO datalane_app",
        "datalane.users",
        "datalane_app has SELECT on a column",
    ),
    (
        "catalog-grants",
        "GRANT SELECT ON datalane.documents TO datalane_operator",
        "datalane.documents",
        "datalane_operator has SELECT",
    ),
    (
        "catalog-grants",
        "GRANT SELECT ON datalane.job_history_late TO datalane_app",
        "datalane.job_history_late",
        "datalane_app has SELECT",
    ),
    (
        "catalog-owner",
        "SET LOCAL ROLE datalane_definer; CREATE TABLE datalane.mine (workspace_id uuid)",
        "datalane.mine",
        "it belongs to datalane_definer, not to datalane_owner",
    ),
    (
        "catalog-view",
        "CREATE VIEW datalane.all_jobs AS SELECT id FROM datalane.jobs",
        "datalane.all_jobs",
        "the view runs with its owner's rights",
    ),
    (
        "catalog-functions",
        "CREATE FUNCTION datalane.verb() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = '' AS ''",
        "datalane.verb",
        "it belongs to datalane_owner, not to datalane_definer",
    ),
    (
        "catalog-functions",
        "SET LOCAL ROLE datalane_definer; "
        "CREATE FUNCTION datalane.verb() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''",
        "datalane.verb",
        "SECURITY DEFINER without an empty search_path",
    ),
    (
        "catalog-functions",
        "GRANT EXECUTE ON FUNCTION app.workspace_id() TO PUBLIC",
        "app.workspace_id",
        "PUBLIC may call it",
    ),
]


def found_in(connection: psycopg.Connection[object], *schemas: str) -> list[Finding]:
    return findings("catalog", read_catalog(connection, Roles(), schemas), read_declared())


@pytest.fixture
def owner(template: Prepared) -> Iterator[psycopg.Connection[object]]:
    """A transaction as the owner that is rolled back, so that a fault is seen by nobody else."""
    with psycopg.connect(template.maintenance_url) as connection:
        connection.execute("SET LOCAL ROLE datalane_owner")
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("rule", "fault", "target", "said"), FAULTS, ids=[f"{rule}-{place}" for place, (rule, *_) in enumerate(FAULTS)]
)
def test_a_fault_in_the_catalog_is_named(
    owner: psycopg.Connection[object], rule: str, fault: str, target: str, said: str
) -> None:
    owner.execute(Roles().render(fault).encode())
    found = [one for one in found_in(owner) if one.rule == rule]
    assert [(one.target, one.found[: len(said)]) for one in found if one.target == target][:1] == [(target, said)]
    assert found[0].control == RULES[rule].holds
    assert found[0].remedy
    assert found[0].story == "F2-E3"


def test_every_rule_on_the_catalog_has_a_fault_here() -> None:
    tried_elsewhere = {"catalog-roles"}
    assert {rule for rule, *_ in FAULTS} | tried_elsewhere == {name for name in RULES if name.startswith("catalog-")}


@pytest.mark.parametrize("login", ["database_url", "maintenance_url", "operator_url"])
def test_the_migrated_database_breaks_no_rule_and_any_login_may_ask(template: Prepared, login: str) -> None:
    assert check_catalog(getattr(template, login), Roles()) == []


def test_a_protected_table_of_an_application_breaks_no_rule(owner: psycopg.Connection[object]) -> None:
    owner.execute((SHOP + TABLE).encode())
    assert found_in(owner) == []
    assert found_in(owner, "shop") == []


def test_a_table_without_a_workspace_is_a_fault_only_in_a_schema_that_is_asked_for(
    owner: psycopg.Connection[object],
) -> None:
    owner.execute((SHOP + "CREATE TABLE shop.currencies (code text PRIMARY KEY)").encode())
    assert found_in(owner) == []
    assert {(one.rule, one.target) for one in found_in(owner, "shop")} >= {("catalog-class", "shop.currencies")}


def test_a_role_that_is_missing_is_named(template: Prepared) -> None:
    with psycopg.connect(template.maintenance_url) as connection:
        found = findings("catalog", read_catalog(connection, Roles("other")), read_declared())
    assert {one.found for one in found if one.rule == "catalog-roles"} == {"the role does not exist"}


def test_the_classes_imply_what_app_protect_makes() -> None:
    """Held against the database by the migrated one breaking no rule; here so that a change of the rules is seen."""
    own = "(workspace_id = app.workspace_id())"
    assert implied_policies("log") == {("r", own, None)}
    assert ("d", f"({own} AND (app.actor_rank() >= 3))", None) in implied_policies("tenant")
    assert implied_policies("system") == implied_policies("global") == set()

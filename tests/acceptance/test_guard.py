"""`datalane guard`: exit 0 on what is right, 1 on a seeded fault with its name, 2 on what cannot be checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.unit.ops.revision_folder import TABLE, Folder

from datalane.db.access import Prepared
from datalane.db.migrate import downgrade
from datalane.kit.clock import utc_now

Command = Callable[..., Any]
WAIVER = """[[waiver]]
rule = "lock-require-concurrent-index-creation"
target = "datalane.documents"
owner = "ada@example.com"
reason = "the table is small everywhere"
expires = {}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of waivers of the project's own, no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DATALANE_")]:
        monkeypatch.delenv(name)


def test_revisions_and_scratch_database_break_no_rule(datalane: Command) -> None:
    said = datalane("guard", "--json")
    assert (said.status, said.json) == (0, {"ok": True, "findings": [], "waived": [], "notices": []}), said.err


def test_a_live_database_that_drifted_fails_and_every_difference_is_named(datalane: Command, urls: Prepared) -> None:
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET LOCAL ROLE datalane_owner")
        connection.execute("ALTER TABLE datalane.documents ADD COLUMN shelf text, NO FORCE ROW LEVEL SECURITY")
    said = datalane("guard", "--database-url", urls.database_url)
    assert said.status == 1
    assert "FAIL  drift-unexpected: datalane.documents.shelf\n      the column is in no revision" in said.out
    assert "FAIL  drift-different: datalane.documents\n" in said.out
    assert "FAIL  catalog-row-security: datalane.documents\n      row-level security is not forced" in said.out
    assert "guard: rules are broken; 3 found, 0 waived" in said.out


def test_an_edited_released_migration_fails_and_is_named(datalane: Command, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    frozen = datalane("guard", "freeze", "--migrations", str(folder.path), "--json")
    assert (frozen.status, frozen.json["frozen"]) == (0, ["0001"])
    clean = datalane("guard", "--files-only", "--migrations", str(folder.path))
    assert (clean.status, clean.out.startswith("guard: the rules hold; 0 found")) == (0, True)
    script = folder.versions / "0001_door.up.sql"
    script.write_text(script.read_text().replace("LANGUAGE", "language", 1))
    said = datalane("guard", "--files-only", "--migrations", str(folder.path))
    assert said.status == 1
    assert "FAIL  release-unchanged: 0001_door.up.sql" in said.out
    assert "remedy: take the released file back and write a new revision instead" in said.out
    refused = datalane("guard", "freeze", "--migrations", str(folder.path))
    assert (refused.status, "0001_door.up.sql" in refused.err) == (2, True)


def test_a_fault_says_table_control_remedy_and_story(datalane: Command, tmp_path: Path) -> None:
    folder = Folder(tmp_path).add(TABLE.replace("(workspace_id, order_id)", "(order_id)"), "DROP TABLE shop.orders;")
    said = datalane("guard", "--files-only", "--json", "--migrations", str(folder.path))
    assert said.status == 1
    assert said.json["findings"] == [
        {
            "rule": "sql-keys",
            "target": "shop.orders",
            "found": "the primary key on (order_id)",
            "control": "primary keys, unique constraints and unique indexes of tenants' rows begin with workspace_id",
            "remedy": "begin the key with workspace_id; a key without it tells one workspace what another has, and "
            "cannot be sharded",
            "story": "F2-E3",
            "place": "0002_orders.up.sql:1",
        }
    ]


def test_a_waiver_stands_until_its_date_and_fails_after_it(datalane: Command, tmp_path: Path) -> None:
    folder = Folder(tmp_path).add("CREATE INDEX by_title ON datalane.documents (workspace_id, title);")
    today = utc_now().date()
    waivers = tmp_path / "guard-waivers.toml"
    waivers.write_text(WAIVER.format(today + timedelta(days=30)))
    said = datalane("guard", "--files-only", "--migrations", str(folder.path))
    assert (said.status, "by ada@example.com" in said.out) == (0, True)
    waivers.write_text(WAIVER.format(today - timedelta(days=1)))
    said = datalane("guard", "--files-only", "--migrations", str(folder.path), "--json")
    assert said.status == 1
    assert [one["rule"] for one in said.json["findings"]] == [
        "lock-require-concurrent-index-creation",
        "waiver-expired",
    ]


def test_what_cannot_be_checked_is_an_error_and_no_pass(datalane: Command, urls: Prepared) -> None:
    downgrade(urls.maintenance_url)
    for arguments, word in (
        (["--database-url", urls.database_url], "never migrated"),
        (["--database-url", "postgresql://datalane@127.0.0.1:1/none"], "cannot reach the database"),
        (["--database-url", urls.database_url, "--files-only"], "exclude each other"),
        (["--files-only", "--waivers", "nowhere.toml"], "there is no file of waivers"),
        (["--files-only", "--migrations", "nowhere"], "there are no revisions"),
    ):
        said = datalane("guard", *arguments)
        assert said.status == 2, arguments
        assert word in said.err

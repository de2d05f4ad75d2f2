"""The isolation proof holds for the real schema, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from datalane.db.access import Prepared
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, InvalidInput
from datalane.ops.isolation.cells import Verdict
from datalane.ops.isolation.prove import Selection, prove
from datalane.ops.isolation.scratch import Scratch, add_tables
from datalane.ops.isolation.tables import PROBES

FAULTS = Path(__file__).parent / "faults.sql"
SHOP = frozenset(f"shop.{table}" for table in ("orders", "leaky", "unclassed", "forgotten"))
SAMPLE = 100


@pytest.fixture
def scratch(superuser_url: str, urls: Prepared) -> Scratch:
    return Scratch(superuser_url, urls.database_url, Roles())


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datalane.cli.main", "isolation", "prove", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def test_the_real_schema_holds_and_notices_mutants_of_every_kind(scratch: Scratch) -> None:
    report = prove(scratch, Selection(mutants=SAMPLE))
    numbers = report.as_dict()
    assert report.holds, numbers["found"]
    assert numbers["tables"] > 30
    assert numbers["cells"] >= numbers["tables"] * (len(PROBES) + 1) * 6
    assert (numbers["leaks"], numbers["too_tight"], numbers["uncovered"]) == (0, 0, 0)
    assert (numbers["mutants"], numbers["killed"], numbers["survivors"]) == (SAMPLE, SAMPLE, 0)
    assert numbers["killed_by"]["behaviour"] > SAMPLE / 3
    assert {"policy", "grant", "security", "partition", "role", "verb", "verb rights"} <= {
        fate.mutant.kind for fate in report.fates
    }
    tried = [cell for cell in report.cells if cell.verdict is not Verdict.NOT_APPLICABLE]
    assert len(tried) > numbers["cells"] / 2
    assert [cell for cell in report.cells if cell.verdict is Verdict.NOT_APPLICABLE and not cell.detail] == []


def test_a_leak_a_forgotten_policy_and_a_table_without_a_class_are_named(scratch: Scratch) -> None:
    add_tables(scratch, FAULTS)
    report = prove(scratch, Selection(tables=SHOP))
    assert not report.holds
    assert {cell.subject for cell in report.leaks} == {"shop.leaky"}
    assert {(cell.probe, cell.actor) for cell in report.leaks} >= {("select", "viewer"), ("copy", "other workspace")}
    assert {cell.subject for cell in report.too_tight} == {"shop.forgotten"}
    assert "insert" in {cell.probe for cell in report.too_tight}
    assert [(one.subject, "policy class" in one.why) for one in report.uncovered] == [("shop.unclassed", True)]
    assert {fault.subject for fault in report.faults} == SHOP - {"shop.orders"}
    assert [fate for fate in report.fates if fate.killer is None] == []


def test_every_fault_of_a_sound_table_is_noticed_and_mostly_by_what_it_does(scratch: Scratch) -> None:
    add_tables(scratch, FAULTS)
    report = prove(scratch, Selection(tables=frozenset({"shop.orders"})))
    assert report.holds, report.as_dict()["found"]
    assert len(report.fates) > 60
    seen = {fate.mutant.says for fate in report.fates if fate.killer == "behaviour"}
    assert seen >= {
        "row-level security off",
        "policy app_select using true",
        "policy app_insert with check true",
        "policy app_update without its rank",
        "policy app_delete dropped",
        "SELECT granted to PUBLIC",
        "TRUNCATE granted to datalane_app",
        "the key orders_pkey without the workspace",
    }
    assert {fate.mutant.says for fate in report.fates if fate.killer == "catalog"} >= {
        "row-level security not forced",
        "no policy class",
        "TRIGGER granted to datalane_app",
    }


def test_a_table_that_does_not_exist_cannot_be_proved(scratch: Scratch) -> None:
    with pytest.raises(InvalidInput, match=r"no table shop\.orders"):
        prove(scratch, Selection(tables=frozenset({"shop.orders"})))


def test_tables_that_do_not_run_are_refused_with_the_servers_words(scratch: Scratch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE nowhere.at_all ();")
    with pytest.raises(ConfigurationError, match=r'schema "nowhere" does not exist'):
        add_tables(scratch, broken)
    with pytest.raises(ConfigurationError, match="cannot read"):
        add_tables(scratch, tmp_path / "absent.sql")


def test_the_command_fails_and_names_the_leaky_table() -> None:
    done = run("--with", str(FAULTS), "--table", "shop.leaky", "--mutants", "5", "--json")
    assert done.returncode == 1, done.stderr
    numbers = json.loads(done.stdout)
    assert (numbers["ok"], numbers["tables"], numbers["routes"], numbers["uncovered"]) == (False, 1, 0, 0)
    assert numbers["leaks"] == len(numbers["found"]["leaks"]) > 0
    assert {leak["subject"] for leak in numbers["found"]["leaks"]} == {"shop.leaky"}


@pytest.mark.soak
@pytest.mark.begins
def test_the_proof_of_tables_verbs_and_a_quarter_of_the_routes_holds_and_no_mutant_survives() -> None:
    done = run("--every", "4", "--json")
    assert done.stdout, done.stderr
    numbers = json.loads(done.stdout)
    assert (done.returncode, numbers["ok"]) == (0, True), numbers["found"]
    assert numbers["routes"] >= 130
    assert numbers["cells"] >= 10_000
    assert numbers["mutants"] >= 5_500
    assert numbers["killed"] == numbers["mutants"]

"""What the guard says of a revision as a whole, and of a released one that was touched."""

from __future__ import annotations

import json

import pytest
from tests.unit.ops.revision_folder import HEADER, TABLE, Folder

from datalane.errors import ConfigurationError, Conflict
from datalane.ops.guard.released import freeze, read_released
from datalane.ops.guard.revisions import SECTIONS, read_revisions
from datalane.ops.guard.rules import Finding
from datalane.ops.guard.run import check_sources


def only(found: list[Finding], rule: str) -> Finding:
    assert [one.rule for one in found] == [rule]
    return found[0]


def test_the_real_revisions_break_no_rule() -> None:
    assert check_sources() == []


def test_a_well_made_revision_breaks_no_rule(folder: Folder) -> None:
    assert folder.add(TABLE, "DROP TABLE shop.orders;").findings() == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_revision_without_a_section_is_named(folder: Folder, section: str) -> None:
    header = {name: text for name, text in HEADER.items() if name != section}
    found = only(folder.add(header=header).findings(), "revision-header")
    assert found.target == f"{folder.number}_orders"
    assert found.found == f"no section {section} in the header"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_revision_with_an_empty_section_is_named(folder: Folder, section: str) -> None:
    found = only(folder.add(header={**HEADER, section: ""}).findings(), "revision-header")
    assert found.found == f"an empty section {section} in the header"


def test_a_story_that_is_none_is_named(folder: Folder) -> None:
    found = only(folder.add(header={**HEADER, "Stories": "F3-E1-S1, later"}).findings(), "revision-stories")
    assert found.found == "'later' is no story"


def test_a_revision_beside_the_line_is_named(whole_folder: Folder) -> None:
    freeze(whole_folder.path, read_revisions(whole_folder.versions))
    found = only(whole_folder.add(before="0001").findings(), "revision-chain")
    assert "down_revision is '0001'" in found.found


def test_a_number_taken_twice_is_named(folder: Folder) -> None:
    folder.add()
    for path in list(folder.versions.glob(f"{folder.number}_orders*")):
        path.with_name(path.name.replace("orders", "payments")).write_text(path.read_text())
    assert only(folder.findings(), "revision-chain").found == f"the number {folder.number} is taken twice"


def test_a_revision_numbered_unlike_its_file_is_named(folder: Folder) -> None:
    module = folder.add().versions / f"{folder.number}_orders.py"
    module.write_text(module.read_text().replace(f'revision = "{folder.number}"', 'revision = "0099"', 1))
    assert only(folder.findings(), "revision-chain").found == f"revision is '0099', the file says '{folder.number}'"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_revision_without_a_script_is_named(folder: Folder, direction: str) -> None:
    (folder.add().versions / f"{folder.number}_orders.{direction}.sql").unlink()
    found = only(folder.findings(), "revision-scripts")
    assert found.found == f"there is no {folder.number}_orders.{direction}.sql"


def test_an_empty_down_script_is_named(folder: Folder) -> None:
    found = only(folder.add(down="-- nothing to do\n").findings(), "revision-scripts")
    assert found.found == f"{folder.number}_orders.down.sql has no statement"


def test_a_script_that_nothing_runs_is_named(folder: Folder) -> None:
    (folder.add().versions / f"{folder.number}_orders.verbs.sql").write_text("SELECT 1;")
    assert only(folder.findings(), "revision-scripts").found == f"{folder.number}_orders.verbs.sql is never run"


def test_sql_hidden_in_the_module_is_named_with_its_line(folder: Folder) -> None:
    hidden = 'run_sql(__file__, "up")\n    op.execute("DELETE FROM datalane.jobs")'
    found = only(folder.add(upgrade=hidden).findings(), "revision-plain-sql")
    assert found.place == f"{folder.number}_orders.py:20"


def test_a_released_revision_that_did_not_change_passes(folder: Folder) -> None:
    frozen = freeze(folder.path, read_revisions(folder.versions))
    assert frozen[0] == "0001"
    assert folder.findings() == []
    assert folder.add(TABLE, "DROP TABLE shop.orders;").findings() == []


def test_an_edited_released_migration_is_named(whole_folder: Folder) -> None:
    freeze(whole_folder.path, read_revisions(whole_folder.versions))
    script = whole_folder.versions / "0002_identity.up.sql"
    script.write_text(script.read_text() + "-- a word more\n")
    found = only(whole_folder.findings(), "release-unchanged")
    assert found.target == "0002_identity.up.sql"
    assert found.found == "the file of released revision 0002 is changed"
    assert found.remedy.endswith("write a new revision instead")


def test_a_removed_released_file_is_named(whole_folder: Folder) -> None:
    freeze(whole_folder.path, read_revisions(whole_folder.versions))
    (whole_folder.versions / "0003_engine.verbs.sql").unlink()
    said = {one.rule: one.found for one in whole_folder.findings()}
    assert said["release-unchanged"] == "the file of released revision 0003 is removed"


def test_a_file_added_to_a_released_revision_is_named(folder: Folder) -> None:
    freeze(folder.path, read_revisions(folder.versions))
    (folder.versions / "0001_door.more.sql").write_text("SELECT 1;")
    said = {one.rule: one.found for one in folder.findings()}
    assert said["release-unchanged"] == "the file is added to released revision 0001"


def test_a_revision_slipped_in_before_a_released_one_is_named(folder: Folder) -> None:
    folder.add()
    freeze(folder.path, read_revisions(folder.versions))
    released = read_released(folder.path)
    del released["0001"]
    (folder.path / "released.json").write_text(json.dumps(released))
    found = only(folder.findings(), "release-order")
    assert found.found == f"it stands before the released revision {folder.number}"


def test_freezing_records_what_is_new_and_nothing_else(folder: Folder) -> None:
    freeze(folder.path, read_revisions(folder.versions))
    before = read_released(folder.path)
    folder.add()
    assert freeze(folder.path, read_revisions(folder.versions)) == [folder.number]
    after = read_released(folder.path)
    assert {number: after[number] for number in before} == before
    assert len(after[folder.number]) == 3
    assert freeze(folder.path, read_revisions(folder.versions)) == []


def test_freezing_does_not_make_an_edit_legal(folder: Folder) -> None:
    freeze(folder.path, read_revisions(folder.versions))
    script = folder.versions / "0001_door.up.sql"
    script.write_text(script.read_text() + "\n")
    with pytest.raises(Conflict, match=r"0001_door\.up\.sql: the file of released revision 0001 is changed"):
        freeze(folder.path, read_revisions(folder.versions))
    assert "release-unchanged" in folder.broken()


def test_a_damaged_record_is_an_error_and_not_an_empty_one(folder: Folder) -> None:
    (folder.path / "released.json").write_text("{")
    with pytest.raises(ConfigurationError, match="damaged"):
        folder.findings()


def test_a_folder_without_revisions_is_an_error(folder: Folder) -> None:
    with pytest.raises(ConfigurationError, match="no revisions"):
        check_sources(folder.versions)

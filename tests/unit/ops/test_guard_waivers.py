"""A waiver stands for its finding until its day, and only when somebody answers for it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from datalane.errors import ConfigurationError
from datalane.ops.guard.rules import RULES, Fault, Finding, finding
from datalane.ops.guard.run import Report, judge
from datalane.ops.guard.waivers import read_waivers

TODAY = date(2026, 1, 15)
FOUND = finding(RULES["sql-keys"], Fault("shop.orders", "the primary key on (order_id)", "0009_orders.up.sql:1"))
WHOLE = {"rule": "sql-keys", "target": "shop.orders", "owner": "ada", "reason": "imported", "expires": TODAY}


def judged(tmp_path: Path, *waivers: dict[str, object], found: Finding | None = FOUND) -> Report:
    path = tmp_path / "guard-waivers.toml"
    entries = []
    for waiver in waivers:
        lines = [f"{name} = {value if isinstance(value, date) else f'{value!r}'}" for name, value in waiver.items()]
        entries.append("\n".join(["[[waiver]]", *lines]))
    path.write_text("\n".join(entries))
    return judge([found] if found else [], read_waivers(path), TODAY, [], {"sql"})


def test_a_finding_nobody_answers_for_fails(tmp_path: Path) -> None:
    assert not judged(tmp_path).ok


def test_a_waiver_stands_for_its_finding_up_to_its_day(tmp_path: Path) -> None:
    report = judged(tmp_path, WHOLE)
    assert report.ok
    assert [(one.target, waiver.owner) for one, waiver in report.waived] == [("shop.orders", "ada")]


def test_a_waiver_past_its_date_fails_and_is_named(tmp_path: Path) -> None:
    report = judged(tmp_path, {**WHOLE, "expires": TODAY - timedelta(days=1)})
    assert [one.rule for one in report.findings] == ["sql-keys", "waiver-expired"]
    assert report.findings[1].target == "sql-keys for shop.orders"
    assert report.findings[1].found == "it expired on 2026-01-14; its owner is ada"
    assert report.findings[1].place == "guard-waivers.toml, entry 1"


def test_a_waiver_past_its_date_fails_also_when_nothing_needs_it(tmp_path: Path) -> None:
    report = judged(tmp_path, {**WHOLE, "expires": TODAY - timedelta(days=1)}, found=None)
    assert [one.rule for one in report.findings] == ["waiver-expired"]


def test_a_waiver_for_years_does_not_stand(tmp_path: Path) -> None:
    report = judged(tmp_path, {**WHOLE, "expires": TODAY + timedelta(days=400)})
    assert [one.rule for one in report.findings] == ["sql-keys", "waiver-expired"]


@pytest.mark.parametrize("missing", ["owner", "reason", "expires", "target"])
def test_nothing_is_waived_by_an_incomplete_waiver(tmp_path: Path, missing: str) -> None:
    report = judged(tmp_path, {name: value for name, value in WHOLE.items() if name != missing})
    assert [one.rule for one in report.findings] == ["sql-keys", "waiver-complete"]
    assert report.findings[1].found == f"no {missing}"


def test_a_blank_owner_is_none(tmp_path: Path) -> None:
    assert [one.rule for one in judged(tmp_path, {**WHOLE, "owner": "  "}).findings] == ["sql-keys", "waiver-complete"]


def test_a_date_that_is_no_date_is_none(tmp_path: Path) -> None:
    assert "waiver-complete" in {one.rule for one in judged(tmp_path, {**WHOLE, "expires": "soon"}).findings}


def test_a_waiver_of_another_target_does_not_stand(tmp_path: Path) -> None:
    report = judged(tmp_path, {**WHOLE, "target": "shop.payments"})
    assert [one.rule for one in report.findings] == ["sql-keys"]
    assert report.notices == [
        "guard-waivers.toml, entry 1: the waiver of sql-keys for shop.payments is not needed any more"
    ]


def test_a_waiver_of_an_unknown_rule_is_named(tmp_path: Path) -> None:
    report = judged(tmp_path, {**WHOLE, "rule": "sql-kyes"})
    assert [one.found for one in report.findings if one.rule == "waiver-rule"] == ["there is no rule sql-kyes"]


def test_an_edited_release_cannot_be_waived(tmp_path: Path) -> None:
    edited = finding(RULES["release-unchanged"], Fault("0001_door.up.sql", "it is changed"))
    report = judged(tmp_path, {**WHOLE, "rule": edited.rule, "target": edited.target}, found=edited)
    assert [one.rule for one in report.findings] == ["release-unchanged", "waiver-rule"]
    assert report.findings[1].found == "the rule release-unchanged cannot be waived"


def test_a_waiver_of_a_rule_that_did_not_run_is_not_called_unneeded(tmp_path: Path) -> None:
    assert judged(tmp_path, {**WHOLE, "rule": "catalog-keys"}, found=None).notices == []


@pytest.mark.parametrize("text", ["[[waiver", "waiver = 1", "[waivers]\na = 1", "[[waiver]]\nuntil = 2026-01-01"])
def test_a_file_that_is_not_of_waivers_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(ConfigurationError):
        read_waivers(tmp_path / "w.toml")

"""The guard as a whole: which rules run on what, and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

import datalane
from datalane.db.revision import MIGRATIONS, applied_revision
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseUnavailable
from datalane.ops.guard import revision_rules  # noqa: F401  registers its rules
from datalane.ops.guard.catalog import tables as _tables  # noqa: F401
from datalane.ops.guard.catalog import wall  # noqa: F401
from datalane.ops.guard.catalog.read import read_catalog
from datalane.ops.guard.declared import read_declared
from datalane.ops.guard.drift import describe
from datalane.ops.guard.rehearsal import migrated_state, rehearse, scratch_database
from datalane.ops.guard.released import read_released
from datalane.ops.guard.revisions import read_revisions
from datalane.ops.guard.rules import RULES, Finding, Rule, findings
from datalane.ops.guard.sql import naming, policies, sources, tables  # noqa: F401
from datalane.ops.guard.sql.history import History
from datalane.ops.guard.sql.locks import find_locks
from datalane.ops.guard.waivers import Waiver, apply

PACKAGE = Path(datalane.__file__).parent


@dataclass(frozen=True)
class Report:
    """`findings` fail the guard, `waived` are answered for, `notices` are said and fail nothing."""

    findings: list[Finding]
    waived: list[tuple[Finding, Waiver]]
    notices: list[str]

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "findings": [one.as_dict() for one in self.findings],
            "waived": [
                {"rule": one.rule, "target": one.target, "owner": waiver.owner, "expires": str(waiver.expires)}
                for one, waiver in self.waived
            ],
            "notices": self.notices,
        }

    def as_text(self) -> str:
        lines = []
        for one in self.findings:
            lines += [f"FAIL  {one.rule}: {one.target}" + (f" ({one.place})" if one.place else "")]
            lines += [f"      {line}" for line in one.found.splitlines()]
            lines += [f"      control: {one.control}", f"      remedy: {one.remedy}", f"      story: {one.story}"]
        for one, waiver in self.waived:
            lines += [f"waived {one.rule}: {one.target}, until {waiver.expires} by {waiver.owner}: {waiver.reason}"]
        lines += [f"note  {notice}" for notice in self.notices]
        counts = f"{len(self.findings)} found, {len(self.waived)} waived, {len(RULES)} rules"
        return "\n".join([*lines, f"guard: {'the rules hold' if self.ok else 'rules are broken'}; {counts}"])


def rule_book() -> dict[str, Rule]:
    """Every rule by its id."""
    return dict(RULES)


def check_sources(migrations: Path = MIGRATIONS, package: Path = PACKAGE) -> list[Finding]:
    """Every rule that reads files only: headers, chain, checksums, SQL, locks."""
    revisions = read_revisions(migrations / "versions")
    history, released = History(revisions), read_released(migrations)
    return [
        *findings("revision", revisions),
        *findings("release", revisions, released),
        *findings("sql", revisions, history),
        *find_locks(revisions, released),
        *findings("source", package),
    ]


def check_catalog(url: str, roles: Roles, schemas: Sequence[str] = ()) -> list[Finding]:
    """Every rule on the catalog of the database at `url`; any login of it will do. Raises `DatabaseUnavailable`."""
    with _connected(url) as connection:
        return findings("catalog", read_catalog(connection, roles, schemas), read_declared())


def check_scratch(roles: Roles, migrations: Path = MIGRATIONS, schemas: Sequence[str] = ()) -> list[Finding]:
    """Migrate a scratch database, up, down and up, and check its catalog."""
    numbers = [each.number for each in read_revisions(migrations / "versions")]
    with scratch_database(roles) as prepared:
        rehearsal = rehearse(prepared.maintenance_url, roles, numbers, migrations)
        return [*rehearsal.findings, *check_catalog(prepared.maintenance_url, roles, schemas)]


def check_live(
    url: str, roles: Roles, schemas: Sequence[str] = (), migrations: Path = MIGRATIONS
) -> tuple[list[Finding], list[str]]:
    """Check the catalog of the database at `url` and compare it with a scratch one at the same revision.

    Answers findings and notices. Raises `ConfigurationError` when the database was never migrated, does not show this
    login its revision, or is at one that this version does not know.
    """
    numbers = [each.number for each in read_revisions(migrations / "versions")]
    applied = applied_revision(url)
    if applied not in numbers:
        said = f"is at revision {applied}, which this version does not know"
        if applied is None:
            said = "was never migrated, or this login may not see its revision"
        raise ConfigurationError(f"the database {said}; the guard has nothing to compare it with")
    notices = [] if applied == numbers[-1] else [f"the database is at {applied}, this version needs {numbers[-1]}"]
    with scratch_database(roles) as prepared:
        expected = migrated_state(prepared.maintenance_url, roles, applied, migrations)
    with _connected(url) as connection:
        drift = findings("drift", expected, describe(connection))
    return [*check_catalog(url, roles, schemas), *drift], notices


def judge(
    found: Sequence[Finding], waivers: Sequence[Waiver], today: date, notices: Sequence[str], subjects: set[str]
) -> Report:
    """Lay the waivers over what was found. `subjects` are those whose rules ran: a waiver of another is not unused."""
    left, waived = apply(found, waivers, today)
    used = {waiver for _, waiver in waived}
    unused = [
        f"{each.place}: the waiver of {each.shown} is not needed any more"
        for each in waivers
        if each.holds(today) and each not in used and RULES[each.rule].subject in subjects
    ]
    return Report([*left, *findings("waiver", waivers, today)], waived, [*notices, *unused])


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.read_only = True
            yield connection
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"cannot reach the database: {error}") from error

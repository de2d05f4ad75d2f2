"""Rules on locks that a change of an existing table takes, as squawk finds them.

Only revisions that are not released are read, all of them in a row: a table that one of them makes is exempt, because
nobody uses it yet. Timeouts are not asked of the scripts, because every migration runs with a lock timeout.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from datalane.errors import ConfigurationError
from datalane.ops.guard.released import Released
from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, Finding, Rule, declare, finding, rule
from datalane.ops.guard.sql.script import Script, nodes

_OLDEST_SERVER = "16.0"
_STORY = "F8-E3"
_STEPS = "add what is new first, move readers and writers in a release, and take the old away in a later revision"

_HELD = {
    "adding-field-with-default": ("no new column with a volatile default", "add it without, and fill it by a job"),
    "adding-foreign-key-constraint": (
        "no foreign key is added to a table in use at once",
        "add it NOT VALID, and VALIDATE it in the next revision",
    ),
    "adding-not-nullable-field": (
        "no column in use becomes NOT NULL by a scan under lock",
        "add a CHECK (… IS NOT NULL) NOT VALID, VALIDATE it in the next revision, then SET NOT NULL",
    ),
    "adding-required-field": (
        "a new column of a table in use may be null or has a default",
        "give it a constant default, or let it be null",
    ),
    "adding-serial-primary-key-field": ("no new serial column in a table in use", "add a uuid column that may be null"),
    "ban-drop-column": ("no column is dropped while the last release may read it", _STEPS),
    "ban-drop-not-null": ("no column begins to be null while the last release may read it", _STEPS),
    "ban-drop-table": ("no table is dropped while the last release may read it", _STEPS),
    "ban-truncate-cascade": ("no TRUNCATE CASCADE", "delete by a job per workspace"),
    "changing-column-type": ("no column in use changes its type", _STEPS),
    "constraint-missing-not-valid": (
        "a constraint on a table in use is added NOT VALID",
        "add it NOT VALID, and VALIDATE it in the next revision",
    ),
    "disallowed-unique-constraint": (
        "a unique constraint on a table in use is made from a finished index",
        "build the unique index first, then ADD CONSTRAINT … UNIQUE USING INDEX",
    ),
    "renaming-column": ("no column in use is renamed", _STEPS),
    "renaming-table": ("no table in use is renamed", _STEPS),
    "require-concurrent-index-creation": (
        "no index of a table in use is built while its writers wait",
        "build it before the migration by hand with CREATE INDEX CONCURRENTLY, write CREATE INDEX IF NOT EXISTS, "
        "and waive the rule for the table",
    ),
    "require-concurrent-index-deletion": (
        "no index of a table in use is dropped while its readers wait",
        "drop it by hand with DROP INDEX CONCURRENTLY, write DROP INDEX IF EXISTS, and waive the rule for it",
    ),
    "transaction-nesting": ("no BEGIN, COMMIT or ROLLBACK", "leave the transaction to the migration"),
}

LOCK_RULES = {
    name: declare(Rule(f"lock-{name}", holds, remedy, _STORY)) for name, (holds, remedy) in sorted(_HELD.items())
}
"""By squawk's own names of them."""


@rule(
    "sql-no-concurrently",
    holds="nothing is built, dropped or detached CONCURRENTLY: a revision runs in one transaction, which refuses it",
    remedy="do it by hand before the migration, write CREATE INDEX IF NOT EXISTS or DROP INDEX IF EXISTS, and waive "
    "the lock rule for it",
    story=_STORY,
)
def check_concurrently(revisions: Sequence[Revision], history: object) -> Iterator[Fault]:
    for each in revisions:
        for script in (*each.up, *each.down):
            for statement in script.statements:
                if any(
                    "concurrent" in one.DESCRIPTOR.fields_by_name and one.concurrent for _, one in nodes(statement.node)
                ):
                    yield Fault(_target(script, statement.line), "CONCURRENTLY in a transaction", statement.place)


def find_locks(revisions: Sequence[Revision], released: Released) -> list[Finding]:
    """What squawk says of the up scripts. Raises `ConfigurationError` when it is not installed or cannot run."""
    fresh = [each for each in revisions if each.number not in released]
    scripts = [script for each in fresh for script in each.up if script.error is None]
    return _read(_find_program(), scripts) if scripts else []


def _read(program: str, scripts: Sequence[Script]) -> list[Finding]:
    done = subprocess.run(
        [
            *(program, "--reporter", "json", "--assume-in-transaction", "--pg-version", _OLDEST_SERVER),
            *("--stdin-filepath", "revisions.sql"),
        ],
        input="\n".join(script.text for script in scripts),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    try:
        reported = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        raise ConfigurationError(f"squawk did not read the revisions: {done.stderr.strip()[-300:]}") from None
    found = []
    for one in reported:
        if known := LOCK_RULES.get(one["rule_name"]):
            script, line = _locate(scripts, one["line"] + 1)
            fault = Fault(_target(script, line), one["message"], f"{script.path.name}:{line}")
            found.append(finding(known, fault))
    return found


def _locate(scripts: Sequence[Script], line: int) -> tuple[Script, int]:
    """The script and its own line for a line of all scripts in a row."""
    for script in scripts:
        lines = script.text.count("\n") + 1
        if line <= lines:
            return script, line
        line -= lines
    raise AssertionError("squawk names a line that was not given to it")


def _target(script: Script, line: int) -> str:
    """The table of the statement that `line` is in."""
    within = [statement for statement in script.statements if statement.line <= line]
    node = within[-1].node if within else None
    if node is not None and "relation" in node.DESCRIPTOR.fields_by_name:
        named = node.relation
        return f"{named.schemaname}.{named.relname}" if named.schemaname else str(named.relname)
    return script.path.name


def _find_program() -> str:
    beside = Path(sys.executable).with_name("squawk")
    program = str(beside) if beside.is_file() else shutil.which("squawk")
    if program is None:
        raise ConfigurationError("the lock rules need squawk; install it with: pip install 'datalane[guard]'")
    return program

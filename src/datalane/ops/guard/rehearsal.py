"""The scratch database: every revision up, down and up again, and what each of them leaves.

The scratch server is the embedded Postgres in a folder of its own, gone at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from datalane.db.access import Access, Prepared
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.revision import MIGRATIONS
from datalane.db.roles import Roles
from datalane.ops.guard.drift import KINDS, Description, describe, difference
from datalane.ops.guard.rules import Fault, Finding, Rule, declare, finding

ROUND_TRIP = declare(
    Rule(
        "revision-round-trip",
        "each revision goes up, its down script restores what was before, and it goes up again to the same",
        "make the down script undo what the up script does, in reverse order",
        "F8-E3",
    )
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`states` is what the catalog says after each revision, by its number; `base` before the first."""

    states: dict[str, Description]
    findings: list[Finding]


@contextmanager
def scratch_database(roles: Roles) -> Iterator[Prepared]:
    """A migrated database on a server of its own. Call it in the thread that outlives the block."""
    from datalane.db.provision import prepare  # loads the migration machinery, which checks of files do without

    home = Path(tempfile.mkdtemp(prefix="datalane-guard-"))
    home.chmod(0o755)
    server = EmbeddedPostgres(home, options={"fsync": "off"})
    try:
        server.start()
        yield prepare(server.url(), "datalane", Access.generate(), roles)
    finally:
        server.stop(timeout=0)
        for folder in (server.root, server.socket_dir, home):
            shutil.rmtree(folder, ignore_errors=True)


def rehearse(url: str, roles: Roles, numbers: Sequence[str], migrations: Path = MIGRATIONS) -> Rehearsal:
    """Take the migrated database at `url` (maintenance login) down to nothing and up again, one revision at a time.

    Up go the revisions `numbers` of the folder `migrations`; it ends at the last, or where a script fails.
    """
    from datalane.db.migrate import downgrade

    states: dict[str, Description] = {}
    found: list[Finding] = []
    below, number = "base", "base"
    try:
        downgrade(url, roles)
        states[below] = _state(url)
        for number in numbers:
            states[number] = _up(url, roles, number, migrations)
            downgrade(url, roles, below, migrations=migrations)
            found += _compare(number, "going down leaves", states[below], _state(url))
            found += _compare(number, "going up again gives", states[number], _up(url, roles, number, migrations))
            below = number
    except psycopg.Error as error:
        found.append(finding(ROUND_TRIP, Fault(number, f"a script fails: {str(error).splitlines()[0]}")))
    return Rehearsal(states, found)


def migrated_state(url: str, roles: Roles, number: str, migrations: Path = MIGRATIONS) -> Description:
    """What the catalog says when the revisions of `migrations` up to `number` have been applied to nothing."""
    from datalane.db.migrate import downgrade

    downgrade(url, roles)
    return _up(url, roles, number, migrations)


def _up(url: str, roles: Roles, number: str, migrations: Path) -> Description:
    from datalane.db.migrate import upgrade

    upgrade(url, roles, number, migrations=migrations)
    return _state(url)


def _state(url: str) -> Description:
    with psycopg.connect(url) as connection:
        return describe(connection)


def _compare(number: str, deed: str, expected: Description, actual: Description) -> Iterator[Finding]:
    for kind in KINDS:
        for name in sorted({*expected[kind], *actual[kind]}):
            before, after = expected[kind].get(name, ""), actual[kind].get(name, "")
            if before != after:
                said = f"{deed} {kind} {name} otherwise:\n{difference(before, after)}"
                yield finding(ROUND_TRIP, Fault(number, said))

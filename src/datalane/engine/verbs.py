"""The SQL verbs: their sources, and the frozen releases that migrations carry.

A release is one script of all verbs, run as the definer role, and is never edited: a change of a verb is a new revision
with a release of its own. `python -m datalane.engine.verbs` writes the newest revision's, while that is not released.
"""

from __future__ import annotations

from pathlib import Path

SOURCES = Path(__file__).parent / "verbs"
REVISIONS = Path(__file__).parent.parent / "db" / "migrations" / "versions"


def source() -> str:
    """All verbs as one script, created and owned by the definer role."""
    scripts = "\n".join(path.read_text() for path in sorted(SOURCES.glob("*.sql")))
    return f"SET LOCAL ROLE datalane_definer;\n\n{scripts}\nSET LOCAL ROLE datalane_owner;\n"


def newest_release() -> Path:
    """The script of the last revision that carries one."""
    return max(REVISIONS.glob("*.verbs.sql"))


if __name__ == "__main__":
    newest_release().write_text(source())

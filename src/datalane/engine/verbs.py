"""The SQL verbs: their sources, and the frozen release that a migration carries.

`python -m datalane.engine.verbs` writes the release: one script, run as the definer role. A released script is never
edited; a later change of a verb is a new migration with a new release.
"""

from __future__ import annotations

from pathlib import Path

SOURCES = Path(__file__).parent / "verbs"
RELEASE = Path(__file__).parent.parent / "db" / "migrations" / "versions" / "0003_engine.verbs.sql"


def source() -> str:
    """All verbs as one script, created and owned by the definer role."""
    scripts = "\n".join(path.read_text() for path in sorted(SOURCES.glob("*.sql")))
    return f"SET LOCAL ROLE datalane_definer;\n\n{scripts}\nSET LOCAL ROLE datalane_owner;\n"


if __name__ == "__main__":
    RELEASE.write_text(source())

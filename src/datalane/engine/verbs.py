"""The SQL verbs: their sources, and the frozen releases that migrations carry.

A release is one script of the sources that changed since the releases before it, run as the definer role, and is never
edited: a change of a verb is a new revision with a release of its own. `python -m datalane.engine.verbs` writes the
newest revision's, while that is not released.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).parent / "verbs"
REVISIONS = Path(__file__).parent.parent / "db" / "migrations" / "versions"
_NAME = re.compile(r"CREATE OR REPLACE FUNCTION \S+\(")


def source() -> str:
    """All verbs as one script, created and owned by the definer role."""
    return _script(_sources())


def newest_release() -> Path:
    """The script of the last revision that carries one."""
    return _releases()[-1]


def changed_source() -> str:
    """The script that the newest release is to be: the sources that differ from what the releases before it left."""
    before = [path.read_text() for path in reversed(_releases()[:-1])]
    return _script(text for text in _sources() if not _is_released(text, before))


def _is_released(text: str, releases: list[str]) -> bool:
    """Whether the last of `releases` (newest first) that has this source has it as it is now."""
    name = _NAME.search(text)
    mark = name.group() if name else text.partition("\n")[0]
    return text in next((release for release in releases if mark in release), "")


def _sources() -> list[str]:
    return [path.read_text() for path in sorted(SOURCES.glob("*.sql"))]


def _releases() -> list[Path]:
    return sorted(REVISIONS.glob("*.verbs.sql"))


def _script(texts: Iterable[str]) -> str:
    scripts = "\n".join(texts)
    return f"SET LOCAL ROLE datalane_definer;\n\n{scripts}\nSET LOCAL ROLE datalane_owner;\n"


if __name__ == "__main__":
    newest_release().write_text(changed_source())

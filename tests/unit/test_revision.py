"""The quick look at the revisions says what the migration machinery says."""

from __future__ import annotations

from datalane.db import migrate, revision


def test_the_newest_revision_is_alembics_head() -> None:
    assert revision.newest_revision() == migrate.newest_revision()

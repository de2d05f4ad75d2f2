"""The schema's revision, read without the migration machinery, which takes longer to load than the lane to start.

Revisions are a linear chain of four digits, so their order is the order of their names.
"""

from __future__ import annotations

from pathlib import Path

from datalane.db.reaching import CONNECT_SECONDS, DATABASE_URL, unreachable
from datalane.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"


def known_revisions() -> list[str]:
    """All revisions of this version of the code, oldest first."""
    return sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def newest_revision() -> str:
    """The revision this version of the code is written for."""
    revisions = known_revisions()
    if not revisions:
        raise ConfigurationError("the package has no migrations; it is not installed whole")
    return revisions[-1]


def applied_revision(url: str, role: str | None = None, setting: str = DATABASE_URL) -> str | None:
    """The revision of the database at `url`, None when it was never migrated.

    The login role may read it as it is; the maintenance login steps into `role`, the owner. Raises
    `DatabaseUnavailable`, and `ConfigurationError` for a URL that cannot be read, both naming `setting`.
    """
    import psycopg  # not needed by those who ask for the newest only
    from psycopg import sql

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            if role is not None:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            row = connection.execute("SELECT version_num FROM app.schema_version").fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege):
        return None
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise unreachable(error, url, setting) from error
    return None if row is None else str(row[0])

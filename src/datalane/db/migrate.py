"""Migrations: Alembic revisions in plain SQL, run by the maintenance role as the owner.

Each revision is `versions/NNNN_name.py` with `NNNN_name.up.sql` and `NNNN_name.down.sql` beside it, and runs in one
transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import sqlalchemy.exc
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool
from sqlalchemy.engine import Connection

from datalane.db.reaching import MAINTENANCE_URL, never_prepared, unreachable
from datalane.db.revision import MIGRATIONS
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseUnavailable

VERSION_SCHEMA, VERSION_TABLE = "app", "schema_version"
LOCK_TIMEOUT = "10s"
"""How long a statement of a revision waits for a lock: everybody else who needs the table waits behind it."""


def configuration(url: str, roles: Roles, migrations: Path = MIGRATIONS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["url"] = url
    config.attributes["roles"] = roles
    return config


def upgrade(url: str, roles: Roles | None = None, revision: str = "head", migrations: Path = MIGRATIONS) -> None:
    """Bring the database at `url` (the maintenance login) to `revision`.

    Raises `DatabaseUnavailable`, also when a lock that a revision needs is held too long, and `ConfigurationError` when
    the database was never prepared.
    """
    _run(lambda config: command.upgrade(config, revision), url, roles, migrations)


def downgrade(url: str, roles: Roles | None = None, revision: str = "base", migrations: Path = MIGRATIONS) -> None:
    _run(lambda config: command.downgrade(config, revision), url, roles, migrations)


_HELD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""A lock that was waited for too long, or in a ring: a build of an index waits for transactions that wait for it."""


def _run(action: Callable[[Config], None], url: str, roles: Roles | None, migrations: Path) -> None:
    try:
        action(configuration(url, roles or Roles(), migrations))
    except _HELD as error:
        raise _lock_is_held() from error
    except sqlalchemy.exc.OperationalError as error:
        if isinstance(error.orig, _HELD):
            raise _lock_is_held() from error
        raise unreachable(error.orig or error, url, MAINTENANCE_URL) from error
    except sqlalchemy.exc.ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise never_prepared(MAINTENANCE_URL) from error
        raise


def _lock_is_held() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"the migration waited up to {LOCK_TIMEOUT} for a lock that another transaction holds, and gave up so that "
        "others need not wait behind it; nothing of this revision was done, run it again"
    )


def newest_revision() -> str:
    """The revision this version of the code is written for."""
    head = ScriptDirectory.from_config(configuration("", Roles())).get_current_head()
    if head is None:
        raise ConfigurationError("the package has no migrations; it is not installed whole")
    return head


def current_revision(url: str) -> str | None:
    """The revision of the database at `url`, None when it was never migrated."""
    with sqlalchemy_connection(url) as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "version_table_schema": VERSION_SCHEMA}
        )
        return context.get_current_revision()


def sqlalchemy_connection(url: str) -> Connection:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    return engine.connect()


def run_sql(revision_file: str, direction: str) -> None:
    """Run the `.up.sql` or `.down.sql` beside a revision, with this cluster's role names.

    The script goes to the driver as it is: no parameter or `%` in it is interpreted.
    """
    source = Path(revision_file).with_suffix(f".{direction}.sql")
    roles: Roles = op.get_context().opts["roles"]
    cursor = op.get_bind().connection.cursor()
    cursor.execute(roles.render(source.read_text()))

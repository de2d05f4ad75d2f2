"""A Postgres of the proof's own, in a temporary home, with nobody's data in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from datalane.db.access import Access
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import prepare
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError

_NAME = "isolation"
_FAST = {"fsync": "off", "synchronous_commit": "off", "max_locks_per_transaction": "256", "log_min_messages": "fatal"}


@dataclass(frozen=True, slots=True)
class Scratch:
    """A migrated database that the proof may fill: the URL of a superuser and that of the lane's own login."""

    superuser_url: str
    login_url: str
    roles: Roles


@contextmanager
def open_scratch(tables_of_your_own: Path | None = None) -> Iterator[Scratch]:
    """A migrated scratch database; the server is stopped and removed at the end.

    `tables_of_your_own` is an SQL file that is run as the schema's owner after the migrations. Call it in the thread
    that outlives the block: the kernel ends the server together with the thread that started it. Raises
    `ConfigurationError` when the file cannot be read or run.
    """
    home = Path(tempfile.mkdtemp(prefix="datalane-isolation-"))
    home.chmod(0o755)
    server, roles = EmbeddedPostgres(home, options=_FAST), Roles()
    try:
        server.start()
        prepared = prepare(server.url(), _NAME, Access.generate(), roles)
        scratch = Scratch(server.url(_NAME), prepared.database_url, roles)
        if tables_of_your_own is not None:
            add_tables(scratch, tables_of_your_own)
        yield scratch
    finally:
        server.stop(timeout=0)  # without a checkpoint: nobody will read this folder again
        for folder in (server.root, server.socket_dir, home):
            shutil.rmtree(folder, ignore_errors=True)


def copy_of(scratch: Scratch, number: int) -> Scratch:
    """The same database once more, as it is now, on the same server. Nobody may be connected to it."""
    copied = f"{_database(scratch.superuser_url)}_{number}"
    with psycopg.connect(_at(scratch.superuser_url, "postgres"), autocommit=True) as connection:
        template = sql.Identifier(_database(scratch.superuser_url))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copied), template))
    return replace(scratch, superuser_url=_at(scratch.superuser_url, copied), login_url=_at(scratch.login_url, copied))


def _database(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def add_tables(scratch: Scratch, file: Path) -> None:
    """Run an SQL file as the schema's owner. Raises `ConfigurationError` when it cannot be read or run."""
    try:
        with psycopg.connect(scratch.superuser_url) as connection:
            connection.execute(f"SET LOCAL ROLE {scratch.roles.owner}".encode())
            connection.cursor().execute(scratch.roles.render(file.read_text()).encode())
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    except psycopg.Error as error:
        raise ConfigurationError(f"{file} does not run as {scratch.roles.owner}: {error}") from error

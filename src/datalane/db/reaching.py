"""Why a database cannot be reached, in words that name the setting to look at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from datalane.errors import ConfigurationError, DatabaseRefused, DatabaseUnavailable, DatalaneError

if TYPE_CHECKING:
    import asyncpg

DATABASE_URL, MAINTENANCE_URL, OPERATOR_URL = (
    "DATALANE_DATABASE_URL",
    "DATALANE_MAINTENANCE_URL",
    "DATALANE_OPERATOR_URL",
)
CONNECT_SECONDS = 10
"""How long a connection may take to be made, as something else than Postgres may listen and never answer."""

PREPARED = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'app' AND c.relname = 'schema_version')
"""
"""Whether a lane's schema was ever made in this database; anybody who is let in may ask."""

_LONGEST_REASON = 300
_DECORATION = re.compile(
    r'\[Errno -?\d+\] |connection failed: |connection to server (at|on socket) "[^"]*"[^:]*failed: |FATAL:\s+'
)
_PLAIN = {
    "unexpected connection_lost() call": "the server closed the connection",
    "connection was closed in the middle of operation": "the server closed the connection",
    "rejected SSL upgrade": "what answers there is not Postgres",
    "invalid response to SSL negotiation": "what answers there is not Postgres",
}
"""What drivers say of a server that is not one, in plain words."""


@contextmanager
def reaching(url: str, setting: str) -> Iterator[None]:
    """`with reaching(url, DATABASE_URL):` around asyncpg's connecting; raises what `unreachable` answers."""
    import asyncpg  # here, as commands that use another driver, or none, load this module too

    try:
        yield
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise unreachable(error, url, setting) from error


def unreachable(error: BaseException, url: str, setting: str) -> DatalaneError:
    """The error of any driver in one line: what happened, where, and what to check in `setting`.

    `ConfigurationError` for a URL that cannot be read, `DatabaseRefused` where waiting does not help, else
    `DatabaseUnavailable`.
    """
    place = _place(url)
    if place is None:
        return ConfigurationError(
            f"{setting} cannot be read; write it as postgresql://user:password@host:5432/database, "
            "with special characters of the password percent-encoded"
        )
    reason = _reason(error)
    what = f"cannot reach the database at {place}: {reason}"
    refusal = _refusal(reason, str(getattr(error, "sqlstate", None)))
    if refusal is not None:
        return DatabaseRefused(f"{what}; {refusal.format(setting)}")
    return DatabaseUnavailable(f"{what}; check the host and the port in {setting}, and that Postgres runs there")


def never_prepared(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"the database was never prepared; run `datalane init` for it, or check the database's name in {setting}"
    )


async def require_prepared(connection: asyncpg.Connection, setting: str) -> None:
    """Raises `ConfigurationError` when no lane's schema was ever made in this database."""
    if not await connection.fetchval(PREPARED):
        raise never_prepared(setting)


def _reason(error: BaseException) -> str:
    """The driver's words without the place, which is told already, and without its own advice."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    said = "; ".join(line for line in str(error).splitlines() if line and not line[0].isspace())
    for words, plain in _PLAIN.items():
        if words in said:
            return plain
    return _DECORATION.sub("", said)[:_LONGEST_REASON].strip() or type(error).__name__


def _refusal(reason: str, state: str) -> str | None:
    """What to check when the server answers and says no. libpq tells its reasons in words only."""
    if state == "3D000" or ('database "' in reason and "does not exist" in reason):
        return "check the database's name in {0}, or make it with `datalane init`"
    if state == "42501" or "permission denied for database" in reason:
        return "check the user and the database's name in {0}, or run `datalane init` for this database"
    words = ("authentication failed", "no password supplied", "is not permitted to log in", 'role "', "pg_hba.conf")
    if state.startswith("28") or any(word in reason for word in words):
        return "check the user and the password in {0}"
    return None


def _place(url: str) -> str | None:
    """Host and port, or the socket folder; None when the URL cannot be read. Without user and password."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = query.get("host", [parts.hostname or "localhost"])[0]
        port = int(query.get("port", [parts.port or 5432])[0])
    except ValueError:
        return None
    return f"{host}:{port}"

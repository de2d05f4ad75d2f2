"""The checks of `datalane doctor` on the database. Each is one question to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from datalane.cli.report import Check, failed, ok, warned
from datalane.db.home import Home, connection_settings
from datalane.db.provision import MINIMUM_SERVER, vector_version
from datalane.db.reaching import CONNECT_SECONDS, DATABASE_URL, unreachable
from datalane.db.revision import newest_revision
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError
from datalane.kit.clock import utc_now
from datalane.settings import Settings

Connection = psycopg.Connection[Any]
_SKEW_WARNED, _SKEW_FAILED = timedelta(seconds=1), timedelta(seconds=10)


def check_database(settings: Settings) -> list[Check]:
    """Reachability first; the other checks only when there is a database to ask."""
    if settings.embedded and Home(settings.home).running() is None:
        return [warned("database", "the embedded database is not running", "start it with `datalane up`")]
    url, roles = connection_settings(settings).database_url, Roles(settings.role_prefix)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            reached = ok("database", f"reachable as {connection.info.user}")
            return [reached, *(ask(connection) for ask in _QUESTIONS), check_roles(connection, roles)]
    except (psycopg.ProgrammingError, psycopg.OperationalError) as error:
        message, _, mend = str(unreachable(error, url, DATABASE_URL)).rpartition("; ")
        return [failed("database", message, mend)]


def check_login(connection: Connection) -> Check:
    row = connection.execute(
        "SELECT rolname, rolsuper, rolbypassrls, rolinherit FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    words = ("a superuser", "allowed to bypass row-level security", "INHERIT")
    faults = [word for word, held in zip(words, row[1:], strict=True) if held]
    if faults:
        mend = "connect as the login role that `datalane init` made"
        return failed("login", f"{row[0]} is {' and '.join(faults)}", mend)
    return ok("login", f"{row[0]} owns nothing and bypasses nothing")


def check_roles(connection: Connection, roles: Roles) -> Check:
    """Whether the login may step into the roles of the lane's doors."""
    rows = connection.execute(
        "SELECT rolname, pg_has_role(current_user, oid, 'SET') FROM pg_roles WHERE rolname = ANY(%s)",
        (list(roles.doors),),
    ).fetchall()
    known = {str(name): bool(granted) for name, granted in rows}
    faults = [
        f"the role {name} {'is not granted to the login' if name in known else 'does not exist'}"
        for name in roles.doors
        if not known.get(name)
    ]
    if faults:
        mend = "check DATALANE_ROLE_PREFIX, and run `datalane init` again: it makes and grants what is missing"
        return failed("roles", ", ".join(faults), mend)
    return ok("roles", f"the login may step into {', '.join(roles.doors)}")


def check_server(connection: Connection) -> Check:
    version = connection.info.server_version
    if version < MINIMUM_SERVER:
        return failed("server", f"PostgreSQL {version // 10_000}", "move to PostgreSQL 16 or newer")
    return ok("server", f"PostgreSQL {version // 10_000}.{version % 10_000}")


def check_vector(connection: Connection) -> Check:
    try:
        version = vector_version(connection)
    except ConfigurationError as error:
        message, _, mend = str(error).partition("; ")
        return failed("pgvector", message, mend)
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
        return failed("pgvector", "not created in this database", "run `datalane init`")
    return ok("pgvector", version)


def check_schema(connection: Connection) -> Check:
    newest = newest_revision()
    try:
        row = connection.execute("SELECT version_num FROM app.schema_version").fetchone()
    except psycopg.Error:
        row = None
    applied = None if row is None else str(row[0])
    if applied == newest:
        return ok("schema", f"revision {applied}, the newest")
    if applied is None:
        return failed("schema", "the database was never migrated", "run `datalane init`")
    if applied > newest:
        return warned("schema", f"revision {applied}, this version knows {newest}", "install the newer version here")
    return failed("schema", f"revision {applied}, this version needs {newest}", "run `datalane migrate up`")


def check_clock(connection: Connection) -> Check:
    """The difference is known up to half the time the question took."""
    before = utc_now()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    after = utc_now()
    assert row is not None
    skew = abs(row[0] - (before + (after - before) / 2))
    message = f"{skew.total_seconds():.3f} s apart from the database's"
    mend = "synchronise the clocks with NTP; leases and schedules go by the database's"
    if skew > _SKEW_FAILED:
        return failed("clock", message, mend)
    return warned("clock", message, mend) if skew > _SKEW_WARNED else ok("clock", message)


_QUESTIONS: tuple[Callable[[Connection], Check], ...] = (
    check_login,
    check_server,
    check_vector,
    check_schema,
    check_clock,
)

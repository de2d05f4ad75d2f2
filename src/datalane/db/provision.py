"""Preparing a database: roles, the database itself, extensions, schema.

The admin needs CREATEROLE and CREATEDB, and no superuser. Every step can be repeated: what exists is kept, passwords
are set anew only when asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datalane.db.migrate import upgrade
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseUnavailable

MINIMUM_SERVER = 160_000
MINIMUM_VECTOR = (0, 8)
_TLS: tuple[str, ...] = ("sslmode", "sslrootcert")


@dataclass(frozen=True, slots=True)
class Access:
    """Passwords of the three roles that log in."""

    login: str
    operator: str
    maintenance: str

    @classmethod
    def generate(cls) -> Access:
        return cls(*(secrets.token_urlsafe(24) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The settings of a prepared database."""

    database_url: str
    maintenance_url: str
    operator_url: str

    def as_environment(self) -> dict[str, str]:
        return {
            "DATALANE_DATABASE_URL": self.database_url,
            "DATALANE_MAINTENANCE_URL": self.maintenance_url,
            "DATALANE_OPERATOR_URL": self.operator_url,
        }


def prepare(admin_url: str, database: str, access: Access, roles: Roles | None = None) -> Prepared:
    """Create what is missing in the admin's cluster and migrate `database` to the newest schema.

    Raises `ConfigurationError` saying what is missing (a privilege, an extension, a version) and how to mend it.
    """
    roles = roles or Roles()
    with _connect(admin_url) as connection:
        _check_admin(connection)
        _create_roles(connection, roles, access)
        _create_database(connection, roles, database)
    with _connect(_with(admin_url, dbname=database)) as connection:
        _create_extensions(connection, roles)
    prepared = Prepared(
        database_url=_url(admin_url, database, roles.login, access.login),
        maintenance_url=_url(admin_url, database, roles.maintenance, access.maintenance),
        operator_url=_url(admin_url, database, roles.operator, access.operator),
    )
    upgrade(prepared.maintenance_url, roles)
    return prepared


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"cannot connect as the admin: {error}") from error


def _check_admin(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    if connection.info.server_version < MINIMUM_SERVER:
        raise ConfigurationError(f"PostgreSQL 16 or newer is needed, this is {connection.info.server_version // 10000}")
    row = connection.execute(
        "SELECT rolname, rolsuper OR rolcreaterole, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    missing = [name for name, held in (("CREATEROLE", row[1]), ("CREATEDB", row[2])) if not held]
    if missing:
        raise ConfigurationError(
            f"the admin {row[0]} lacks {' and '.join(missing)}; mend with: ALTER ROLE {row[0]} {' '.join(missing)}"
        )


def _create_roles(connection: psycopg.Connection[tuple[object, ...]], roles: Roles, access: Access) -> None:
    passwords: Mapping[str, str] = {
        roles.login: access.login,
        roles.operator: access.operator,
        roles.maintenance: access.maintenance,
    }
    known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
    with connection.transaction():
        for name in roles.all:
            verb = sql.SQL("ALTER" if name in known else "CREATE")
            login = (
                sql.SQL("LOGIN PASSWORD {}").format(sql.Literal(passwords[name]))
                if name in passwords
                else sql.SQL("NOLOGIN")
            )
            connection.execute(
                sql.SQL("{} ROLE {} NOINHERIT NOCREATEDB NOCREATEROLE {}").format(verb, sql.Identifier(name), login)
            )
        for member, granted in (
            (roles.login, (roles.app, roles.worker)),
            (roles.maintenance, (roles.owner, roles.definer)),
        ):
            for role in granted:
                _grant(connection, role, member)
        for role in (roles.owner, roles.definer):
            _grant(connection, role, _current_user(connection))


def _grant(connection: psycopg.Connection[tuple[object, ...]], role: str, member: str) -> None:
    connection.execute(
        sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(sql.Identifier(role), sql.Identifier(member))
    )


def _current_user(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def _create_database(connection: psycopg.Connection[tuple[object, ...]], roles: Roles, name: str) -> None:
    row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (name,)).fetchone()
    database, owner = sql.Identifier(name), sql.Identifier(roles.owner)
    if row is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    elif row[0] != roles.owner:
        raise ConfigurationError(
            f"the database {name} exists and belongs to {row[0]}; choose another name, "
            f"or give it to the lane with: ALTER DATABASE {name} OWNER TO {roles.owner}"
        )
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        for role in (roles.login, roles.operator, roles.maintenance, roles.backup):
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(role)))


def _create_extensions(connection: psycopg.Connection[tuple[object, ...]], roles: Roles) -> None:
    row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if row is None:
        raise ConfigurationError("the server has no pgvector; install pgvector 0.8 or newer on it and run init again")
    if tuple(int(part) for part in str(row[0]).split(".")[:2]) < MINIMUM_VECTOR:
        raise ConfigurationError(f"pgvector 0.8 or newer is needed, the server offers {row[0]}")
    try:
        if connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            with connection.transaction():
                if not _is_superuser(connection):
                    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(roles.owner)))
                connection.execute("CREATE EXTENSION vector SCHEMA public")
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "pgvector is not marked as trusted on this server, so only its superuser may create it; "
            f"have the superuser run in this database: CREATE EXTENSION vector ({error.diag.message_primary})"
        ) from error


def _is_superuser(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return bool(row and row[0])


def _with(url: str, **changes: str) -> str:
    return make_conninfo(url, **changes)


def _url(admin_url: str, database: str, user: str, password: str) -> str:
    """A URL (asyncpg reads no key=value strings) to the same server."""
    parts = conninfo_to_dict(admin_url)
    host, port = str(parts.pop("host", "localhost")), str(parts.pop("port", "5432"))
    keep = {name: str(parts[name]) for name in _TLS if name in parts}
    socket = host.startswith("/")
    query: dict[str, str] = {"host": host, "port": port, **keep} if socket else keep
    tail = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    place = "" if socket else f"{host}:{port}"
    secret = quote(password, safe="")
    return f"postgresql://{user}:{secret}@{place}/{quote(database)}" + (f"?{tail}" if tail else "")

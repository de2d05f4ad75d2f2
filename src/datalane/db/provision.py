"""Preparing a database: roles, the database itself, extensions, schema.

The admin needs CREATEROLE and CREATEDB, and no superuser. Every step can be repeated: what exists is kept. Passwords
are set when they are given; a comment on the login role says that a preparation came to its end, so that passwords
nobody ever saw are not taken for known ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datalane.db.access import Access, Prepared, Server, addresses_on
from datalane.db.reaching import unreachable
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseUnavailable

__all__ = ["Access", "Prepared", "Server", "addresses", "prepare", "vector_version", "was_prepared"]

MINIMUM_SERVER = 160_000
MINIMUM_VECTOR = (0, 8)
_TLS: tuple[str, ...] = ("sslmode", "sslrootcert")
_CONNECT_PATIENCE = "10"
_DONE = "Datalane: prepared, passwords handed out"

Connection = psycopg.Connection[tuple[object, ...]]


def prepare(admin_url: str, database: str, access: Access | None, roles: Roles | None = None) -> Prepared:
    """Create what is missing in the admin's cluster and migrate `database` to the newest schema.

    With `access` the roles get these passwords; without, they keep theirs and the URLs come without passwords.
    Raises `ConfigurationError` saying what is missing (a privilege, an extension, a version) and how to mend it, and
    `DatabaseUnavailable` when the server cannot be reached or refuses the admin.
    """
    from datalane.db.migrate import upgrade  # slow to load, and often there is nothing to migrate

    roles = roles or Roles()
    inside = _with(admin_url, dbname=database)
    with _connect(admin_url) as connection, _explained(connection):
        _check_admin(connection)
        vector_version(connection)
        _create_roles(connection, roles, access)
        _create_database(connection, roles, database)
    with _connect(inside) as connection, _explained(connection):
        _create_extensions(connection, roles, database)
        server = Server(connection.info.host, connection.info.port)
    prepared = addresses(admin_url, database, access, roles, server)
    upgrade(prepared.maintenance_url if access else inside, roles)
    if access:
        with _connect(admin_url) as connection, _explained(connection):
            _mark_done(connection, roles)
    return prepared


def was_prepared(admin_url: str, roles: Roles) -> bool:
    """Whether an earlier preparation came to its end, so that somebody has the passwords."""
    with _connect(admin_url) as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", (roles.login,)
        ).fetchone()
    return row is not None and row[0] == _DONE


def addresses(
    admin_url: str, database: str, access: Access | None, roles: Roles, server: Server | None = None
) -> Prepared:
    """The URLs of the roles that log in, on the admin's server; nothing is connected to."""
    parts = conninfo_to_dict(admin_url)
    server = server or Server(str(parts.get("host", "localhost")), int(parts.get("port") or 5432))
    tls = {name: str(parts[name]) for name in _TLS if name in parts}
    return addresses_on(server, database, access, roles, tls)


def _connect(url: str) -> Connection:
    try:
        return psycopg.connect(_with(url), autocommit=True)
    except psycopg.OperationalError as error:
        raise unreachable(error, url, "the admin URL") from error


@contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    """Raise what the server refuses as an error with a mend."""
    user = connection.info.user
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        said = ". ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        raise ConfigurationError(
            f"the server refuses the admin {user}: {said}; run init as the admin that ran it first, or have a "
            f"superuser grant the lane's roles to it: GRANT <role> TO {user} WITH ADMIN OPTION"
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"the server broke off: {error}") from error
    except psycopg.Error as error:
        raise ConfigurationError(f"the server refuses to prepare the database: {error}") from error


def _check_admin(connection: Connection) -> None:
    if connection.info.server_version < MINIMUM_SERVER:
        raise ConfigurationError(f"PostgreSQL 16 or newer is needed, this is {connection.info.server_version // 10000}")
    row = connection.execute(
        "SELECT rolname, rolsuper OR rolcreaterole, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    missing = [name for name, held in (("CREATEROLE", row[1]), ("CREATEDB", row[2])) if not held]
    if missing:
        raise ConfigurationError(
            f"the admin {row[0]} lacks {' and '.join(missing)}; "
            f"have a superuser run: ALTER ROLE {_quoted(connection, str(row[0]))} {' '.join(missing)}"
        )


def vector_version(connection: Connection) -> str:
    """The pgvector that this database has, else the one the server offers.

    Raises `ConfigurationError` when there is none or it is too old.
    """
    row = connection.execute(
        "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if row is None:
        raise ConfigurationError("the server has no pgvector; install pgvector 0.8 or newer on it and run this again")
    if tuple(int(part) for part in re.findall(r"\d+", str(row[0]))[:2]) < MINIMUM_VECTOR:
        raise ConfigurationError(
            f"pgvector 0.8 or newer is needed, this is {row[0]}; "
            "install a newer one and have a superuser run: ALTER EXTENSION vector UPDATE"
        )
    return str(row[0])


def _create_roles(connection: Connection, roles: Roles, access: Access | None) -> None:
    passwords: Mapping[str, str] = (
        {roles.login: access.login, roles.operator: access.operator, roles.maintenance: access.maintenance}
        if access
        else {}
    )
    known = _known_roles(connection, roles)
    with connection.transaction():
        for name in roles.all:
            if access is None and name in known:
                continue
            connection.execute(
                sql.SQL("{} ROLE {} NOINHERIT NOCREATEDB NOCREATEROLE {}").format(
                    sql.SQL("ALTER" if name in known else "CREATE"),
                    sql.Identifier(name),
                    _login(name in roles.logins, passwords.get(name)),
                )
            )
        for member, granted in (
            (roles.login, roles.doors),
            (roles.maintenance, (roles.owner, roles.definer)),
            (_current_user(connection), (roles.owner, roles.definer)),
        ):
            for role in granted:
                _grant(connection, role, member)


def _known_roles(connection: Connection, roles: Roles) -> set[str]:
    """The lane's roles that exist. Raises `ConfigurationError` for one that row-level security does not hold."""
    rows = connection.execute(
        "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = ANY(%s)", (list(roles.all),)
    ).fetchall()
    for name, superuser, bypasses in rows:
        if superuser or bypasses:
            fault = "SUPERUSER" if superuser else "BYPASSRLS"
            raise ConfigurationError(
                f"the role {name} exists and has {fault}, so row-level security would not hold; "
                f"have a superuser run: ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS, or choose another --role-prefix"
            )
    return {str(row[0]) for row in rows}


def _login(allowed: bool, password: str | None) -> sql.Composable:
    if not allowed:
        return sql.SQL("NOLOGIN")
    return sql.SQL("LOGIN PASSWORD {}").format(sql.Literal(password)) if password else sql.SQL("LOGIN")


def _grant(connection: Connection, role: str, member: str) -> None:
    connection.execute(
        sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(sql.Identifier(role), sql.Identifier(member))
    )


def _mark_done(connection: Connection, roles: Roles) -> None:
    connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(roles.login), sql.Literal(_DONE)))


def _current_user(connection: Connection) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def _create_database(connection: Connection, roles: Roles, name: str) -> None:
    row = connection.execute(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s", (name,)
    ).fetchone()
    database, owner = sql.Identifier(name), sql.Identifier(roles.owner)
    if row is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} {}").format(database, owner, _encoding(connection)))
    elif row[0] != roles.owner:
        raise ConfigurationError(
            f"the database {name} exists and belongs to {row[0]}; choose another name with --database, "
            f"or give it to the lane with: ALTER DATABASE {_quoted(connection, name)} OWNER TO {roles.owner}"
        )
    elif row[1] != "UTF8":
        raise ConfigurationError(f"the database {name} has the encoding {row[1]}, UTF8 is needed; choose another name")
    admin = _current_user(connection)
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        for role in (roles.login, roles.operator, roles.maintenance, roles.backup, admin):
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(role)))


def _encoding(connection: Connection) -> sql.SQL:
    """Nothing where the server's template is UTF8 already, so that what an operator put into it stays."""
    row = connection.execute(
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
    ).fetchone()
    if row is not None and row[0] == "UTF8":
        return sql.SQL("")
    return sql.SQL("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")


def _create_extensions(connection: Connection, roles: Roles, database: str) -> None:
    """Create pgvector as the database's owner where it is trusted, else as the admin where the provider lets it."""
    vector_version(connection)
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is not None:
        return
    refusals = []
    for role in (roles.owner, _current_user(connection)):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
                connection.execute("CREATE EXTENSION vector SCHEMA public")
                return
        except psycopg.errors.InsufficientPrivilege as error:
            refusals.append(error)
    raise ConfigurationError(
        "pgvector is not marked as trusted on this server, so only a superuser may create it; have one run, "
        f"in the database {database}: CREATE EXTENSION vector SCHEMA public; then run this again"
    ) from refusals[0]


def _quoted(connection: Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)


def _with(url: str, **changes: str) -> str:
    try:
        known = conninfo_to_dict(url)
        patience = {} if "connect_timeout" in known else {"connect_timeout": _CONNECT_PATIENCE}
        return make_conninfo(url, **patience, **changes)
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "the admin URL cannot be read; write it as postgresql://user:password@host:5432/postgres, "
            "with special characters of the password percent-encoded"
        ) from None

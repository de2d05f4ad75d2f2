"""The passwords and addresses of a prepared database, as values."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from datalane.db.roles import Roles

_PLAIN: Mapping[str, str] = MappingProxyType({})


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


@dataclass(frozen=True, slots=True)
class Server:
    """Where a connection really goes: a host or a socket folder, and a port."""

    host: str
    port: int


def addresses_on(
    server: Server, database: str, access: Access | None, roles: Roles, tls: Mapping[str, str] = _PLAIN
) -> Prepared:
    """The URLs of the roles that log in; nothing is connected to. `tls` are parameters to be kept in them."""

    def url(user: str, password: str | None) -> str:
        return _url(server, database, user, password, tls)

    return Prepared(
        database_url=url(roles.login, access.login if access else None),
        maintenance_url=url(roles.maintenance, access.maintenance if access else None),
        operator_url=url(roles.operator, access.operator if access else None),
    )


def _url(server: Server, database: str, user: str, password: str | None, tls: Mapping[str, str]) -> str:
    """A URL, as asyncpg reads no key=value strings."""
    secret = "" if password is None else f":{quote(password, safe='')}"
    socket = server.host.startswith("/")
    query = {"host": server.host, "port": str(server.port), **tls} if socket else tls
    tail = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    host = f"[{server.host}]" if ":" in server.host else server.host
    place = "" if socket else f"{host}:{server.port}"
    return f"postgresql://{user}{secret}@{place}/{quote(database, safe='')}" + (f"?{tail}" if tail else "")

"""The two ways in of commands for operators: across workspaces as the operator login, inside one through its door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.db.home import connection_settings
from datalane.db.reaching import CONNECT_SECONDS, OPERATOR_URL, reaching, require_prepared
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, InvalidInput
from datalane.settings import Settings


class Office:
    """Connections for the command `name`, by the settings or the lane that runs on the home folder."""

    name = "datalane"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses = connection_settings(settings)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[asyncpg.Connection]:
        """Raises `ConfigurationError` when the operator login is not configured or not let in."""
        if not self._addresses.operator_url:
            raise ConfigurationError(
                "to look across workspaces takes the operator login; set DATALANE_OPERATOR_URL as `datalane init` "
                "printed it, or name one workspace with --workspace"
            )
        with reaching(self._addresses.operator_url, OPERATOR_URL):
            connection = await asyncpg.connect(
                self._addresses.operator_url,
                timeout=CONNECT_SECONDS,
                server_settings={"application_name": self.name},
            )
        try:
            with translated():
                await require_prepared(connection, OPERATOR_URL)
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        from datalane.lane import master_keys_of

        database = await Database.connect(
            self._addresses.database_url,
            Roles(self._settings.role_prefix),
            size=1,
            statement_cache_size=self._settings.statement_cache_size,
            limits=self._settings.limits,
            jobs=self._settings.jobs,
            master_keys=master_keys_of(self._settings),
        )
        try:
            yield database
        finally:
            await database.close()


def parse_id(text: str, what: str) -> UUID:
    """Raises `InvalidInput`."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not {what} id; one looks like {UUID(int=0)}") from None

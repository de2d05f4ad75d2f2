"""The lane's connections: one pool of the login role, and the tenant door on top of it."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import orjson

from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.calls import Calls
from datalane.db.door import Door
from datalane.db.faults import stepping, translated
from datalane.db.listening import Listening
from datalane.db.reaching import CONNECT_SECONDS, DATABASE_URL, never_prepared, reaching, require_prepared
from datalane.db.roles import Roles
from datalane.db.stated import stated_settings
from datalane.db.transaction import DEFAULT_LIMITS, Transaction
from datalane.db.turns import Turn, Turns
from datalane.db.wakeup import Wakeup
from datalane.errors import ConfigurationError
from datalane.kit import tracing
from datalane.kit.contents import CREDENTIALS, Redaction
from datalane.kit.cursors import PROCESS_CURSORS, Cursors
from datalane.kit.encoding import to_json
from datalane.kit.envelope import KeySource, no_keys
from datalane.settings import JobSettings, Limits

DEFAULT_JOBS = JobSettings()


class LaneConnection(asyncpg.Connection):  # type: ignore[misc]
    """Everything the lane sets is local to a transaction, so nothing needs resetting between uses."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """Connections to one database as the login role. Open with `await Database.connect(…)`, close when done."""

    def __init__(
        self,
        url: str,
        roles: Roles,
        pool: asyncpg.Pool,
        limits: Limits = DEFAULT_LIMITS,
        jobs: JobSettings = DEFAULT_JOBS,
        cursors: Cursors = PROCESS_CURSORS,
        master_keys: KeySource = no_keys,
        redaction: Redaction = CREDENTIALS,
    ) -> None:
        self.url = url
        self.roles = roles
        self.pool = pool
        self.limits = limits
        self.cursors = cursors
        self._stated = stated_settings(limits, jobs)
        self.wakeup = Wakeup(self.direct_connection)
        self._door = Door(pool, roles, self.wakeup, limits, cursors, master_keys, redaction, self._stated)
        self._calls = Calls(self._door, max(1, pool.get_max_size() * 3 // 4))
        self.listening = Listening(self.direct_connection, max(1, pool.get_max_size() // 4))

    @classmethod
    async def connect(
        cls,
        url: str,
        roles: Roles | None = None,
        *,
        size: int = 10,
        statement_cache_size: int = 256,
        limits: Limits = DEFAULT_LIMITS,
        jobs: JobSettings = DEFAULT_JOBS,
        cursors: Cursors = PROCESS_CURSORS,
        master_keys: KeySource = no_keys,
        redaction: Redaction = CREDENTIALS,
    ) -> Database:
        """`size` bounds the connections, `limits` is what transactions hold their callers to, `jobs` what jobs get.

        `cursors` has the key of the lists' cursors, by default one that dies with the process. `master_keys` wrap the
        keys that seal secrets; without them none is kept. `redaction` is what contents of agents are kept without.

        Raises `DatabaseUnavailable`, or `ConfigurationError` when the database was never prepared or the login is more
        powerful than it may be.
        """
        with reaching(url, DATABASE_URL):
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=size,
                init=prepare_connection,
                connection_class=LaneConnection,
                statement_cache_size=statement_cache_size,
                timeout=CONNECT_SECONDS,
                server_settings={"application_name": "datalane"},
            )
        database = cls(url, roles or Roles(), pool, limits, jobs, cursors, master_keys, redaction)
        try:
            await database._refuse_powerful_login()
            with translated():
                async with pool.acquire() as connection:
                    await require_prepared(connection, DATABASE_URL)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        await self.listening.close()
        await self.wakeup.close()
        await self.pool.close()

    def transaction(
        self, context: Context, *, plans: Plans = Plans.USUAL, turn: Turn | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """The tenant door: `async with database.transaction(context) as tx`.

        `plans` says in the opening round trip what `Transaction.state_plans` takes one of its own for. `turn` is one of
        `turns`, for the last transaction in it.
        """
        return self._door.transaction(context, plans, turn)

    def call(self, context: Context, statement: str, *arguments: Any) -> Coroutine[Any, Any, Any]:
        """A statement that states the tenant door by itself, in a transaction of its own: see `datalane.db.calls`."""
        return self._calls.call(context, statement, *arguments)

    def turns(self, most: int) -> Turns:
        """Transactions that queue up for `most` places; see `datalane.db.turns`."""
        return Turns(self.pool, most, self._door.statements)

    def sign_in_door(self) -> AbstractAsyncContextManager[Transaction]:
        """The door before a context exists: it calls the verbs of sign-in and sees no table."""
        return self._door.sign_in()

    async def direct_connection(self, role: str | None = None) -> asyncpg.Connection:
        """A connection outside the pool, as `role` for its whole life (workers, LISTEN)."""
        with translated():
            connection = await asyncpg.connect(
                self.url, timeout=CONNECT_SECONDS, server_settings={"application_name": "datalane direct"}
            )
            await prepare_connection(connection)
        try:
            with translated():
                for setting in self._stated:
                    await connection.execute(f"SET {setting}")
            if role is not None:
                with stepping():
                    await connection.execute(f"SET ROLE {role}")
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _refuse_powerful_login(self) -> None:
        with translated():
            row = await self.pool.fetchrow(
                "SELECT rolname, rolsuper, rolbypassrls, rolinherit FROM pg_roles WHERE rolname = current_user"
            )
        if row["rolsuper"] or row["rolbypassrls"] or row["rolinherit"]:
            fault = next(name for name in ("rolsuper", "rolbypassrls", "rolinherit") if row[name])
            words = {
                "rolsuper": "a superuser",
                "rolbypassrls": "allowed to bypass RLS",
                "rolinherit": "INHERIT",
            }
            raise ConfigurationError(
                f"the database login {row['rolname']} is {words[fault]}, so row-level security would not hold; "
                "connect as the login role that `datalane init` made"
            )


async def prepare_connection(connection: asyncpg.Connection) -> None:
    """Teach a new connection JSON as Python values, and vectors as their binary form; have its statements traced."""
    if tracing.records():
        connection.add_query_logger(tracing.saw_query)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=encode_json, decoder=orjson.loads, format="text"
    )
    try:
        await connection.set_type_codec("vector", schema="public", encoder=bytes, decoder=bytes, format="binary")
    except ValueError as error:
        raise never_prepared(DATABASE_URL) from error


def encode_json(value: Any) -> str:
    """JSON text; UUIDs and moments become text, also those that the driver read."""
    return to_json(value).decode()

"""What the application sends to the database, seen and, for a mutant, changed on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from datalane.db.database import Database, LaneConnection, prepare_connection
from datalane.db.roles import Roles
from datalane.lane import master_keys_of
from datalane.settings import Settings

Change = Callable[[str], str]
PREDICATE = re.compile(r"\b(?:\w+\.)?workspace_id\s*=\s*\$(\d+)(?:::uuid)?\b")
_READ = re.compile(r"\b(?:FROM|JOIN|UPDATE|USING)\s+(?:ONLY\s+)?(datalane\.\w+)\b(?!\s*\()", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Statement:
    """As it was sent."""

    sql: str
    args: Sequence[Any] = ()

    @property
    def tables(self) -> frozenset[str]:
        """The tables and views that it reads, changes or deletes from."""
        return frozenset(found.lower() for found in _READ.findall(_COMMENT.sub("", self.sql)))

    @property
    def workspaces(self) -> frozenset[str]:
        """The values that `workspace_id` must equal."""
        return frozenset(
            str(self.args[int(place) - 1]) for place in PREDICATE.findall(self.sql) if int(place) <= len(self.args)
        )

    @property
    def title(self) -> str:
        """Its name in the file of queries if it has one, else its beginning."""
        return " ".join(_COMMENT.sub("", self.sql).split())[:60]


class Wire:
    """Every statement since `clear`, in order."""

    def __init__(self) -> None:
        self.sent: list[Statement] = []
        self._change: Change | None = None

    def clear(self) -> None:
        self.sent = []

    def send(self, sql: str, args: Sequence[Any] = ()) -> str:
        changed = self._change(sql) if self._change else sql
        self.sent.append(Statement(changed, tuple(args)))
        return changed

    @contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        self._change = change
        try:
            yield
        finally:
            self._change = None


def drop_predicates(sql: str) -> str:
    """The statement without its conditions on the workspace; its parameters keep their places."""
    return PREDICATE.sub(r"($\1::uuid IS NOT NULL)", sql)


def _is_unordered(sql: str) -> bool:
    """Whether it reads and leaves it to the database which row comes first."""
    text = _COMMENT.sub("", sql).strip().upper()
    return text.startswith("SELECT") and "ORDER BY" not in text


async def open_watched(url: str, settings: Settings, wire: Wire) -> Database:
    """The lane's pool as the login role, with every statement on the wire.

    A read of one row that was changed on the way may find several, and where they lie in the table would say which one
    comes first. Then it is one that the unchanged read does not find: whatever may come will come.
    """

    class Watched(LaneConnection):
        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:
            return await super().execute(wire.send(query, args), *args, timeout=timeout)

        async def executemany(self, command: str, args: Any, **options: Any) -> Any:
            return await super().executemany(wire.send(command), args, **options)

        async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
            return await super().fetch(wire.send(query, args), *args, **options)

        async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
            sent = wire.send(query, args)
            if sent == query or not _is_unordered(query):
                return await super().fetchrow(sent, *args, **options)
            usual = await super().fetchrow(query, *args, **options)
            found = await super().fetch(sent, *args, **options)
            return next((row for row in found if row != usual), usual)

        async def fetchval(self, query: str, *args: Any, column: int = 0, **options: Any) -> Any:
            row = await self.fetchrow(query, *args, **options)
            return None if row is None else row[column]

        async def prepare(self, query: str, **options: Any) -> Any:
            return await super().prepare(wire.send(query), **options)

        def cursor(self, query: str, *args: Any, **options: Any) -> Any:
            return super().cursor(wire.send(query, args), *args, **options)

    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=4,
        init=prepare_connection,
        connection_class=Watched,
        statement_cache_size=settings.statement_cache_size,
    )
    roles, keys = Roles(settings.role_prefix), master_keys_of(settings)
    return Database(url, roles, pool, settings.limits, settings.jobs, master_keys=keys)

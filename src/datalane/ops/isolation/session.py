"""A connection for thousands of small statements whose failures are answers.

It speaks libpq's simple protocol directly: a probe is one round trip, and an error comes back as a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

from datalane.errors import DatalaneError

_ANSWERS = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave. `state` is empty when it worked; `count` are the rows it answered, wrote or copied."""

    state: str = ""
    message: str = ""
    constraint: str = ""
    count: int = 0
    rows: tuple[tuple[str | None, ...], ...] = ()

    @property
    def worked(self) -> bool:
        return not self.state

    @property
    def is_refused(self) -> bool:
        """Whether a missing privilege or a policy refused it."""
        return self.state == "42501"

    @property
    def is_constraint(self) -> bool:
        """Whether a key, a foreign key or a check refused it, which come after the policies."""
        return self.state.startswith("23")

    def __str__(self) -> str:
        return f"{self.state} {self.message}" if self.state else f"{self.count} rows"


class Session:
    """One connection. Statements are sent as they are; values in them are quoted by the caller (`quoted`)."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._raw = connection.pgconn
        self._prepared: set[str] = set()

    @classmethod
    @contextmanager
    def opened(cls, url: str) -> Iterator[Session]:
        """A faulty verb may run for ever, so every statement has ten seconds."""
        with psycopg.connect(url, autocommit=True, options="-c statement_timeout=10s") as connection:
            yield cls(connection)

    def try_(self, sql: str) -> Outcome:
        """Run statements; the outcome is the last one's, or the first error's."""
        result = self._raw.exec_(sql.encode())
        if result.status == ExecStatus.COPY_OUT:
            return self._drained()
        if result.status == ExecStatus.COPY_IN:
            self._raw.put_copy_end(b"not meant")
            self._raw.get_result()
            return Outcome(count=1)
        if result.status not in _ANSWERS:
            return Outcome(
                _field(result, DiagnosticField.SQLSTATE),
                _field(result, DiagnosticField.MESSAGE_PRIMARY),
                _field(result, DiagnosticField.CONSTRAINT_NAME),
            )
        rows = tuple(
            tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
            for row in range(result.ntuples)
        )
        return Outcome(count=result.command_tuples or 0, rows=rows)

    def run(self, sql: str) -> Outcome:
        """As `try_`, for what must work: raises `DatalaneError` with the server's message when it does not."""
        outcome = self.try_(sql)
        if not outcome.worked:
            raise DatalaneError(f"the isolation proof could not run its own statement: {outcome}; it was: {sql[:500]}")
        return outcome

    def read(self, sql: str) -> Any:
        """The one JSON value that a query answers."""
        value = self.run(sql).rows[0][0]
        return None if value is None else orjson.loads(value)

    def read_prepared(self, name: str, sql: str, *arguments: str) -> Any:
        """As `read`, for a query that is asked again and again: it is planned once. `name` is its name on this
        connection, `arguments` are literals for its `$1`, `$2` and so on."""
        if name not in self._prepared:
            self.run(f"PREPARE {name} AS {sql}")
            self._prepared.add(name)
        return self.read(f"EXECUTE {name} ({', '.join(arguments)})" if arguments else f"EXECUTE {name}")

    def forget_prepared(self, name: str) -> None:
        """The next `read_prepared` of this name is another query."""
        if name in self._prepared:
            self.run(f"DEALLOCATE {name}")
            self._prepared.remove(name)

    def _drained(self) -> Outcome:
        lines = []
        while True:
            size, data = self._raw.get_copy_data(0)
            if size <= 0:
                break
            lines.append((bytes(data).decode(),))
        ended = self._raw.get_result()
        while self._raw.get_result() is not None:
            pass
        if ended is not None and ended.status not in _ANSWERS:
            return Outcome(_field(ended, DiagnosticField.SQLSTATE), "the copy was broken off")
        return Outcome(count=len(lines), rows=tuple(lines))


def _field(result: Any, field: DiagnosticField) -> str:
    return str((result.error_field(field) or b"").decode())


def quoted(value: str | None) -> str:
    """A literal of any type."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()

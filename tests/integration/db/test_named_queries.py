"""Named queries answer as their suffix says and raise Datalane's errors, so that no caller has to translate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.errors import Conflict, DatabaseUnavailable, LimitExceeded

KINDS = ("rows", "row", "number", "status")
_SQL = """
-- name: rows(message, state)
-- A list.
SELECT number, pg_temp.fail(:message, :state) FROM generate_series(1, 2) AS number;

-- name: row(message, state)^
-- One row.
SELECT 1 AS number, pg_temp.fail(:message, :state);

-- name: number(message, state)$
-- One value.
SELECT 7 + 0 * coalesce(length(pg_temp.fail(:message, :state)), 0);

-- name: status(message, state)!
-- What was done.
SELECT pg_temp.fail(:message, :state);
"""
_FAIL = """
CREATE FUNCTION pg_temp.fail(message text, state text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF state IS NOT NULL THEN RAISE EXCEPTION USING MESSAGE = message, ERRCODE = state; END IF;
    RETURN NULL;
END $$
"""


@pytest.fixture
def queries(tmp_path: Path) -> Any:
    return load(tmp_path, _SQL)


@pytest.fixture
async def connection(database: Database) -> Any:
    connection = await database.direct_connection()
    await connection.execute(_FAIL)
    yield connection
    await connection.close()


def load(folder: Path, sql: str) -> Any:
    (folder / "queries.sql").write_text(sql)
    return load_queries(str(folder / "code.py"))


async def test_each_kind_answers_what_its_suffix_says(queries: Any, connection: asyncpg.Connection) -> None:
    nothing = {"message": None, "state": None}
    rows = await queries.rows(connection, **nothing)
    assert isinstance(rows, list)
    assert [row["number"] for row in rows] == [1, 2]
    assert (await queries.row(connection, **nothing))["number"] == 1
    assert await queries.number(connection, **nothing) == 7
    assert await queries.status(connection, **nothing) == "SELECT 1"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("state", "ours"), [("DL409", Conflict), ("DL413", LimitExceeded), ("57P03", DatabaseUnavailable)]
)
async def test_each_kind_raises_ours_with_the_databases_own_as_cause(
    queries: Any, connection: asyncpg.Connection, kind: str, state: str, ours: type[Exception]
) -> None:
    with pytest.raises(ours, match="no more of it") as raised:
        await getattr(queries, kind)(connection, message="no more of it", state=state)
    cause = raised.value.__cause__
    assert isinstance(cause, asyncpg.PostgresError)
    assert cause.sqlstate == state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["40P01", "40001", "23505", "XX000"])
async def test_each_kind_leaves_as_it_is_what_somebody_else_decides_about(
    queries: Any, connection: asyncpg.Connection, kind: str, state: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match="decide") as raised:
        await getattr(queries, kind)(connection, message="decide", state=state)
    assert raised.value.sqlstate == state


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_says_that_the_database_is_away(
    queries: Any, connection: asyncpg.Connection, kind: str
) -> None:
    connection.terminate()
    with pytest.raises(DatabaseUnavailable):
        await getattr(queries, kind)(connection, message=None, state=None)


async def test_a_pool_serves_as_a_connection(tmp_path: Path, database: Database) -> None:
    asked = load(tmp_path, "-- name: answer(number)$\n-- It.\nSELECT :number::int;\n")
    assert await asked.answer(database.pool, number=42) == 42
    await database.pool.close()
    with pytest.raises(DatabaseUnavailable):
        await asked.answer(database.pool, number=42)


@pytest.mark.parametrize("suffix", ["<!", "*!", "#"])
def test_a_kind_that_nothing_translates_is_refused_while_it_is_loaded(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="the query another must end in"):
        load(tmp_path, f"-- name: another{suffix}\n-- No.\nSELECT 1;\n")

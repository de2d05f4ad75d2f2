"""The ledger of the route proof sees every change of a row, and takes back exactly what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.ops.isolation.ledger import Change, Ledger

ONE, OTHER = (UUID(int=number) for number in (1, 2))
ROWS = "SELECT workspace_id, word, length FROM shop.words ORDER BY workspace_id, word, length"
CHANGES = {
    "an update": "UPDATE shop.words SET word = 'changed' WHERE word = 'once'",
    "a deletion": "DELETE FROM shop.words WHERE word = 'once'",
    "the deletion of one of two rows alike": (
        "DELETE FROM shop.words WHERE ctid = (SELECT max(ctid) FROM shop.words WHERE word = 'twice')"
    ),
    "an insertion": f"INSERT INTO shop.words (workspace_id, word) VALUES ('{ONE}', 'new')",
    "one more like two others": f"INSERT INTO shop.words (workspace_id, word) VALUES ('{ONE}', 'twice')",
    "one gone and one come": (
        "DELETE FROM shop.words WHERE word = 'once'; "
        f"INSERT INTO shop.words (workspace_id, word) VALUES ('{ONE}', 'new')"
    ),
    "a change in a transaction inside": (
        "BEGIN; SELECT 1; SAVEPOINT inside; UPDATE shop.words SET word = 'changed' WHERE word = 'once'; COMMIT"
    ),
    "all rows gone": f"DELETE FROM shop.words WHERE workspace_id = '{ONE}'",
}


@pytest.fixture
async def ledger(cluster: EmbeddedPostgres, urls: Prepared) -> AsyncIterator[Ledger]:
    """Of a database with a table without any key, which has two rows alike."""
    superuser_url = cluster.url(urlsplit(urls.database_url).path.removeprefix("/"))
    async with Ledger.opened(superuser_url) as opened:
        await opened.connection.execute(
            f"""
            CREATE SCHEMA shop;
            CREATE TABLE shop.words (
                workspace_id uuid, word text, length int GENERATED ALWAYS AS (length(word)) STORED);
            CREATE TABLE shop.quiet (workspace_id uuid, word text);
            INSERT INTO shop.words (workspace_id, word)
            VALUES ('{ONE}', 'once'), ('{ONE}', 'twice'), ('{ONE}', 'twice'), ('{OTHER}', 'elsewhere'), (NULL, NULL);
            INSERT INTO shop.quiet VALUES ('{ONE}', 'still');
            """
        )
        await opened.keep()
        yield opened


@pytest.fixture
async def somebody(ledger: Ledger, cluster: EmbeddedPostgres, urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(cluster.url(urlsplit(urls.database_url).path.removeprefix("/")))
    yield connection
    await connection.close()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_is_told_with_its_workspace_and_taken_back(
    ledger: Ledger, somebody: asyncpg.Connection, change: str
) -> None:
    before = await somebody.fetch(ROWS)
    for _ in range(2):  # what was put back is as good as what was there
        await somebody.execute(change)
        changes = await ledger.changes()
        assert changes == {Change("shop.words", ONE)}
        assert await ledger.changes() == changes
        await ledger.restore(changes)
        assert await somebody.fetch(ROWS) == before
        assert await ledger.changes() == frozenset()


async def test_rows_that_were_written_and_say_the_same_have_not_changed(
    ledger: Ledger, somebody: asyncpg.Connection
) -> None:
    await somebody.execute("UPDATE shop.words SET word = word")
    assert await ledger.changes() == frozenset()
    await somebody.execute("DELETE FROM shop.words WHERE word = 'elsewhere'")
    changes = await ledger.changes()
    assert changes == {Change("shop.words", OTHER)}
    await ledger.restore(changes)
    assert await ledger.changes() == frozenset()


async def test_what_was_rolled_back_has_not_changed(ledger: Ledger, somebody: asyncpg.Connection) -> None:
    await somebody.execute("BEGIN; DELETE FROM shop.words; ROLLBACK")
    assert await ledger.changes() == frozenset()


async def test_who_was_still_writing_at_the_kept_moment_is_seen_later(
    ledger: Ledger, somebody: asyncpg.Connection
) -> None:
    async with somebody.transaction():
        await somebody.execute("UPDATE shop.words SET word = 'changed' WHERE word = 'once'")
        await ledger.keep()
        before = await ledger.connection.fetch(ROWS)
    changes = await ledger.changes()
    assert changes == {Change("shop.words", ONE)}
    await ledger.restore(changes)
    assert await somebody.fetch(ROWS) == before


async def test_it_waits_for_who_writes_in_any_database_and_not_for_who_comes_later(
    ledger: Ledger, somebody: asyncpg.Connection, cluster: EmbeddedPostgres
) -> None:
    elsewhere = await asyncpg.connect(cluster.url())
    try:
        writing = elsewhere.transaction()
        await writing.start()
        await elsewhere.execute("CREATE TEMPORARY TABLE taken ()")
        settling = asyncio.create_task(ledger.settle())
        done, _ = await asyncio.wait([settling], timeout=0.3)
        assert not done, "it went on while somebody was writing"
        async with somebody.transaction():
            await somebody.execute("DELETE FROM shop.words")
            await writing.rollback()
            await asyncio.wait_for(settling, 30)
    finally:
        await elsewhere.close()

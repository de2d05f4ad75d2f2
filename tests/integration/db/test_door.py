"""The tenant door: what it opens and what it keeps shut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import asyncpg
import pytest

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.door import door_statements
from datalane.db.provision import Prepared
from datalane.errors import Conflict, DatalaneError, InvalidInput

SETTINGS = "SELECT current_user, app.workspace_id(), app.actor_id(), app.actor_rank(), app.correlation_id()"


async def test_the_door_states_the_context_to_the_database(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        row = await tx.fetchrow(SETTINGS)
    assert row is not None
    assert tuple(row) == ("datalane_app", context.workspace_id, context.actor_id, 2, context.correlation_id)


async def test_nothing_of_a_context_stays_on_the_connection(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        process = await tx.fetchval("SELECT pg_backend_pid()")
    async with database.sign_in_door() as tx:
        assert await tx.fetchval("SELECT pg_backend_pid()") == process
        assert await tx.fetchval("SELECT current_user::text") == "datalane_signin"
        for name in ("workspace_id", "actor_id", "actor_role", "correlation_id"):
            assert not await tx.fetchval("SELECT current_setting($1, true)", f"app.{name}"), name


async def test_every_view_of_a_transaction_makes_and_reads_cursors_of_its_workspace(
    database: Database, context: Context, other_context: Context
) -> None:
    position = ("2026-01-31T08:00:00+00:00", 7, None, str(context.actor_id))
    async with database.transaction(context) as tx:
        cursor = tx.make_cursor("things", *position)
        for view in (tx, tx.acting_as(context), tx.acting_for(context.workspace_id, lambda: context)):
            assert view.read_cursor("things", cursor) == position
            assert view.make_cursor("things", *position) == cursor
        async with database.transaction(context) as inner:
            assert inner.read_cursor("things", cursor) == position
        assert tx.read_cursor("things", None) is None
        with pytest.raises(InvalidInput, match="damaged or of another list"):
            tx.read_cursor("others", cursor)
    async with database.transaction(other_context) as tx:
        with pytest.raises(InvalidInput, match="of another workspace"):
            tx.read_cursor("things", cursor)
    async with database.sign_in_door() as tx:
        with pytest.raises(DatalaneError, match="this transaction has no workspace"):
            tx.make_cursor("things", *position)


async def test_an_error_inside_rolls_back_and_frees_the_connection(database: Database, context: Context) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.transaction(context) as tx:
            await tx.execute("SELECT 1/0")
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_the_callers_own_exceptions_pass_unchanged(database: Database, context: Context) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with database.transaction(context):
            raise TimeoutError("mine")


async def test_a_cancelled_transaction_leaves_no_open_one_behind(database: Database, context: Context) -> None:
    entered = asyncio.Event()

    async def hold() -> None:
        async with database.transaction(context) as tx:
            await tx.execute("SELECT 1")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT app.workspace_id()") == context.workspace_id


async def test_nested_use_is_a_savepoint(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.transaction(context) as inner:
                await inner.execute("SELECT 1/0")
        assert await tx.fetchval("SELECT 1") == 1


async def test_a_nested_transaction_of_another_workspace_is_refused(
    database: Database, context: Context, other_context: Context
) -> None:
    async with database.transaction(context):
        with pytest.raises(Conflict, match="one workspace"):
            async with database.transaction(other_context):
                pytest.fail("the door opened")


async def test_tasks_inside_a_transaction_get_their_own(database: Database, context: Context) -> None:
    async def process(delay: asyncio.Event) -> int:
        async with database.transaction(context) as tx:
            delay.set()
            return int(await tx.fetchval("SELECT pg_backend_pid()"))

    async with database.transaction(context) as tx:
        mine = await tx.fetchval("SELECT pg_backend_pid()")
        assert await asyncio.create_task(process(asyncio.Event())) != mine


async def test_what_was_queued_for_after_the_commit_does_not_run_after_a_rollback(
    database: Database, context: Context
) -> None:
    ran: list[str] = []
    async with database.transaction(context) as tx:
        tx.after_commit(lambda: ran.append("outer"))
        with suppress(asyncpg.DivisionByZeroError):
            async with tx.savepoint():
                tx.after_commit(lambda: ran.append("inner"))
                await tx.execute("SELECT 1/0")
        assert ran == []
    assert ran == ["outer"]


@pytest.mark.parametrize("forged", ["a' ; RESET ROLE; --", "a b", "", "x" * 65, "ü"])
def test_a_forged_correlation_id_never_reaches_the_statements(forged: str) -> None:
    with pytest.raises(InvalidInput, match="correlation_id"):
        Context(UUID(int=1), UUID(int=2), Role.MEMBER, forged)


async def test_other_drivers_walk_through_the_same_statements(
    database: Database, urls: Prepared, context: Context
) -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(urls.database_url, autocommit=True) as connection:
        await connection.execute(door_statements(context, database.roles).encode())
        row = await (await connection.execute("SELECT current_user, app.workspace_id()")).fetchone()
        await connection.execute("COMMIT")
    assert row == ("datalane_app", context.workspace_id)


async def test_a_transaction_left_by_another_task_than_it_was_entered_by_is_undone(
    database: Database, context: Context
) -> None:
    opened = database.transaction(context)

    async def enter() -> None:
        tx = await opened.__aenter__()
        await tx.execute("SELECT datalane.enqueue('kind')")

    await asyncio.create_task(enter())
    with pytest.raises(ValueError, match="different Context"):
        await opened.__aexit__(None, None, None)
    assert database.pool.get_idle_size() == database.pool.get_size(), "its connection is back"
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.jobs") == 0

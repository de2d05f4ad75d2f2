"""Maintenance: months ahead of time, months past their keep, keys past their window."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr
from tests.integration.engine.lab import eventually

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.audit import record
from datalane.engine.events import publish
from datalane.engine.maintenance import Duty, run_maintenance, run_once
from datalane.kit.clock import utc_now
from datalane.settings import Limits, Retention, Settings

MONTHS = "SELECT right(inhrelid::regclass::text, 6) FROM pg_inherits WHERE inhparent = 'datalane.events'::regclass"


@pytest.fixture
async def types(database: Database) -> None:
    """The built-in event types, as a worker registers them."""
    from datalane.contracts.registry import EVENTS
    from datalane.engine.desk import Desk

    desk = Desk(database, "test", lambda: None)
    await desk.register({}, [], list(EVENTS))
    await desk.close()


async def months(connection: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await connection.fetch(MONTHS)}


async def test_the_coming_months_are_there_and_a_second_run_adds_nothing(urls: Prepared) -> None:
    connection = await asyncpg.connect(urls.maintenance_url)
    later = datetime(2031, 5, 17, tzinfo=UTC)
    first = await run_once(connection, later, Retention(), Limits())
    second = await run_once(connection, later, Retention(), Limits())
    assert {"203105", "203106", "203107", "203108"} <= await months(connection)
    assert (first.partitions_added, second.partitions_added) == (32, 0)
    await connection.close()


async def test_a_month_goes_when_all_of_it_is_past_its_keep(urls: Prepared) -> None:
    connection = await asyncpg.connect(urls.maintenance_url)
    now = utc_now()
    kept = await run_once(connection, now, Retention(), Limits())
    gone = await run_once(connection, now + timedelta(days=400), Retention(), Limits())
    assert kept.partitions_dropped == 0
    assert gone.partitions_dropped > 0
    assert min(await months(connection)) >= (now + timedelta(days=300)).strftime("%Y%m")
    await connection.close()


async def test_a_dedupe_key_past_its_window_is_forgotten(
    urls: Prepared, database: Database, context: Context, types: None
) -> None:
    async with database.transaction(context) as tx:
        await publish(tx, "membership.removed", {"user_id": "u"}, source_event_id="7")
    connection = await asyncpg.connect(urls.maintenance_url)
    early = await run_once(connection, utc_now(), Retention(), Limits())
    late = await run_once(connection, utc_now() + timedelta(days=31), Retention(), Limits())
    assert (early.keys_forgotten, late.keys_forgotten) == (0, 1)
    await connection.close()


async def test_a_job_older_than_every_month_kept_can_still_end(
    urls: Prepared, database: Database, context: Context, types: None
) -> None:
    from datalane.engine.desk import Desk
    from datalane.engine.jobs import enqueue, get_job

    async with database.transaction(context) as tx:
        old = await enqueue(tx, "late")
    connection = await asyncpg.connect(urls.maintenance_url)
    await run_once(connection, utc_now() + timedelta(days=400), Retention(), Limits())
    await connection.close()
    desk = Desk(database, "test", lambda: None)
    claimed = await desk.claim(["late"], 1, timedelta(seconds=60))
    assert await desk.finish(claimed) == {old.job_id}
    await desk.close()
    async with database.transaction(context) as tx:
        assert (await get_job(tx, old.job_id)).status == "completed"


async def test_the_process_seals_the_audit_log_until_it_is_stopped(
    urls: Prepared, database: Database, context: Context
) -> None:
    async with database.transaction(context) as tx:
        await record(tx, "thing.done", "thing", "1")
    stop, ready = asyncio.Event(), asyncio.Event()
    settings = Settings(maintenance_url=SecretStr(urls.maintenance_url))
    process = asyncio.create_task(run_maintenance(settings, stop, ready))

    async def sealed() -> bool:
        async with database.transaction(context) as tx:
            return bool(await tx.fetchval("SELECT count(*) FROM datalane.audit_seals"))

    assert await eventually(sealed)
    await ready.wait()
    stop.set()
    await process


DEAF = """
DO $$ BEGIN
    PERFORM pg_sleep(600);
EXCEPTION WHEN query_canceled THEN
    PERFORM pg_sleep(600);
END $$
"""


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(600)", DEAF], ids=["that can be cancelled", "that cannot"])
async def test_a_duty_that_takes_long_does_not_hold_up_the_end(urls: Prepared, statement: str) -> None:
    stop, begun = asyncio.Event(), asyncio.Event()

    async def dawdle(connection: asyncpg.Connection) -> None:
        begun.set()
        await connection.execute(statement)

    settings = Settings(maintenance_url=SecretStr(urls.maintenance_url))
    duty = Duty("dawdling", timedelta(hours=1), dawdle, breakable=True)
    process = asyncio.create_task(run_maintenance(settings, stop, duties=[duty]))
    await begun.wait()
    stop.set()
    await asyncio.wait_for(process, 30)
    watcher = await asyncpg.connect(urls.maintenance_url)

    async def gone() -> bool:
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datalane dawdling'"
        return not await watcher.fetchval(left)

    assert await eventually(gone)
    await watcher.close()


async def test_a_duty_that_fails_is_done_again(urls: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalane.engine.maintenance._RETRY", timedelta(0))
    stop, again = asyncio.Event(), asyncio.Event()
    tried: list[int] = []

    async def stumble(connection: asyncpg.Connection) -> None:
        tried.append(await connection.fetchval("SELECT pg_backend_pid()"))
        if len(tried) == 1:
            await connection.execute("SELECT 1 / 0")
        again.set()

    settings = Settings(maintenance_url=SecretStr(urls.maintenance_url))
    process = asyncio.create_task(run_maintenance(settings, stop, duties=[Duty("stumbling", timedelta(0), stumble)]))
    await asyncio.wait_for(again.wait(), 30)
    stop.set()
    await process
    assert len(tried) >= 2

"""kill -9 of runtimes at random moments: no run is stuck, and every effect happens once. SQL counts what they left."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.agents.desk import TOOLS, LedgerDesk
from tests.integration.engine.lab import eventually

from datalane.agents.runs.sweeping import sweep_once
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.kit.clock import utc_now

CHILD = Path(__file__).with_name("child_agents.py")
LEASE, SWEEP, PATIENCE = 2.0, 0.2, 240
HELD = "SELECT count(*) FROM datalane.agent_runs WHERE runtime = $1 AND status IN ('running', 'waiting_tool')"
FAULTS = {
    "a run did not complete": "SELECT count(*) FROM datalane.agent_runs WHERE status <> 'completed'",
    "a run completed without its effect, or with several": """
        SELECT count(*) FROM (
            SELECT r.run_id, count(e.event_id) AS effects FROM datalane.agent_runs r LEFT JOIN datalane.events e
                ON e.event_type = 'membership.removed' AND e.payload->>'user_id' = r.run_id::text
            GROUP BY 1) AS counted WHERE effects <> 1""",
    "an effect is not recorded, or not by the call that had it": """
        SELECT count(*) FROM datalane.agent_runs r
        LEFT JOIN datalane.agent_effects e ON e.idempotency_key = r.run_id::text
        LEFT JOIN datalane.tool_calls c ON c.tool_call_id = e.tool_call_id AND c.run_id = r.run_id AND NOT c.is_replay
        WHERE c.status IS DISTINCT FROM 'succeeded'""",
    "a call is open": """
        SELECT count(*) FROM datalane.tool_calls
        WHERE status IN ('requested', 'authorized', 'executing', 'retrying')""",
    "a run counts open calls, or entries that are not there": """
        SELECT count(*) FROM datalane.agent_runs r WHERE open_calls <> 0 OR entries <> (
            SELECT count(*) FROM datalane.agent_transitions t WHERE t.run_id = r.run_id)
            + (SELECT count(*) FROM datalane.agent_steps s WHERE s.run_id = r.run_id)
            + (SELECT count(*) FROM datalane.tool_calls c WHERE c.run_id = r.run_id)""",
}


@pytest.mark.parametrize(("runs", "deaths", "seed"), [(50, 5, 0), pytest.param(1_000, 40, 1, marks=pytest.mark.soak)])
async def test_killed_runtimes_leave_no_run_stuck_and_no_effect_twice(
    urls: Prepared, runs: int, deaths: int, seed: int
) -> None:
    draw, context = random.Random(seed), a_context()
    database = await Database.connect(urls.database_url)
    await register(database, {}, [], list(EVENTS))
    desk = LedgerDesk(database, context)
    await desk.publish(*TOOLS)
    processes: list[Process] = []
    try:
        async with sweeping(urls):
            processes = [await start(urls.database_url, context) for _ in range(2)]
            for _ in range(deaths):
                await queue(desk, runs // deaths)
                victim = await kill_one_at_work(desk, draw.sample(processes, len(processes)))
                processes.remove(victim)
                processes.append(await start(urls.database_url, context))
                await eventually(partial(holds_nothing, desk, str(victim.pid)), LEASE + SWEEP + 15)
            await eventually(partial(nothing_left, desk), PATIENCE)
        assert {rule: (await desk.rows(sql))[0][0] for rule, sql in FAULTS.items()} == dict.fromkeys(FAULTS, 0)
        [(lost, all_runs)] = await desk.rows(
            "SELECT count(*) FILTER (WHERE attempt_count > 1), count(*) FROM datalane.agent_runs"
        )
        assert all_runs >= runs
        assert lost >= deaths, "each kill met a run that was going on"
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        await database.close()


async def queue(desk: LedgerDesk, count: int) -> None:
    for _ in range(count):
        await desk.begin(runtime=None, max_attempts=100)


async def start(url: str, context: Context) -> Process:
    said = (url, str(context.workspace_id), str(context.actor_id), str(LEASE))
    return await asyncio.create_subprocess_exec(sys.executable, str(CHILD), *said)


@asynccontextmanager
async def sweeping(urls: Prepared) -> AsyncIterator[None]:
    """The sweep of the maintenance process, more often than there."""
    connection = await asyncpg.connect(urls.maintenance_url)

    async def sweep() -> None:
        while True:
            await sweep_once(connection, utc_now())
            await asyncio.sleep(SWEEP)

    task = asyncio.create_task(sweep())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


async def nothing_left(desk: LedgerDesk) -> bool:
    [(left,)] = await desk.rows("SELECT count(*) FROM datalane.agent_runs WHERE completed_at IS NULL")
    return bool(left == 0)


async def holds_nothing(desk: LedgerDesk, runtime: str) -> bool:
    return bool((await desk.rows(HELD, runtime))[0][0] == 0)


async def kill_one_at_work(desk: LedgerDesk, order: list[Process]) -> Process:
    """Kill one that holds a run. It is stopped for the look, so that it still does; there is always something to do."""

    async def caught() -> Process | None:
        if await nothing_left(desk):
            await queue(desk, 1)
        for process in order:
            process.send_signal(signal.SIGSTOP)
            if not await holds_nothing(desk, str(process.pid)):
                return process
            process.send_signal(signal.SIGCONT)
        return None

    victim = await eventually(caught, PATIENCE)
    assert victim is not None
    victim.kill()
    await victim.wait()
    return victim

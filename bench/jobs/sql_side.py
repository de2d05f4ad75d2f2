"""Hand-written SQL on a plain table: the ceiling for claim + complete, with no fairness, policy or retry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import aiosql
import asyncpg
import uvloop

from bench.jobs.contender import Contender, Drain, Scenario, workspace_of

QUERIES: Any = aiosql.from_path(Path(__file__).with_suffix(".sql"), "asyncpg")


class SqlSide(Contender):
    """Two statements on one asyncpg connection, each its own transaction."""

    name = "sql"
    packages = ("asyncpg", "uvloop")
    scenarios = frozenset({Scenario.CLAIM})
    settings: ClassVar = {"claim": "UPDATE … FOR UPDATE SKIP LOCKED RETURNING, then DELETE … INSERT INTO history"}
    first_guess: ClassVar = {Scenario.CLAIM: 15_000}
    tally_sql = "SELECT (SELECT count(*) FROM plain_jobs), (SELECT count(*) FROM plain_history)"

    def install(self) -> None:
        async def run(connection: Any) -> None:
            await connection.execute(QUERIES.create_tables.sql)

        self._run(run)

    def publish(self, count: int, batch: int) -> float:
        async def run(connection: Any) -> float:
            start = time.perf_counter()
            for first in range(0, count, batch):
                numbers = range(first, min(first + batch, count))
                workspaces = [workspace_of(n) for n in numbers]
                await QUERIES.insert_jobs(connection, workspaces=workspaces, numbers=list(numbers))
            return time.perf_counter() - start

        return float(self._run(run))

    def claim(self, count: int, batch: int) -> float:
        async def run(connection: Any) -> float:
            start = time.perf_counter()
            while rows := await _claim(connection, batch):
                await QUERIES.complete_jobs(
                    connection,
                    workspaces=[row["workspace_id"] for row in rows],
                    ids=[row["id"] for row in rows],
                    tokens=[row["lease_token"] for row in rows],
                )
            return time.perf_counter() - start

        return float(self._run(run))

    def drain(self, count: int, *, effect: bool) -> Drain:
        raise NotImplementedError("plain SQL has no worker")

    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        raise NotImplementedError("plain SQL has no worker")

    def open_producer(self) -> AbstractContextManager[Callable[[int], None]]:
        raise NotImplementedError("plain SQL has no worker")

    def _run(self, work: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await work(connection)
            finally:
                await connection.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run())


async def _claim(connection: Any, batch: int) -> list[Any]:
    return [row async for row in QUERIES.claim_jobs(connection, batch=batch)]

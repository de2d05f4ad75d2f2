"""procrastinate: asyncio worker on psycopg, one claim and one completion statement per job.

Its documentation names ``concurrency`` and the pool's ``max_size`` as the two knobs of throughput, and
LISTEN/NOTIFY (on by default) for latency. There is no batched claim and no buffered completion.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

import procrastinate
import psycopg_pool
import uvloop

from bench.jobs.contender import INSERT_EFFECT, Contender, Drain, Scenario, workspace_of
from bench.jobs.finish import wait_until_completed

CONCURRENCY = 5
POOL = 10

Handler = Callable[[int, str], Any]


class ProcrastinateSide(Contender):
    """procrastinate with a concurrent worker and its own pool."""

    name = "procrastinate"
    packages = ("procrastinate", "psycopg", "uvloop")
    scenarios = frozenset({Scenario.BACKLOG, Scenario.EFFECT, Scenario.PUBLISH, Scenario.LATENCY})
    settings: ClassVar = {
        "worker": f"concurrency={CONCURRENCY}, listen_notify=True, delete_jobs=never (history kept)",
        "pool": f"psycopg AsyncConnectionPool of {POOL}; handlers share a second one of {POOL}",
        "publish": "Task.batch_defer_async",
        "loop": "uvloop",
    }
    first_guess: ClassVar = {Scenario.BACKLOG: 400, Scenario.EFFECT: 300, Scenario.PUBLISH: 6_000}
    tally_sql = """
        SELECT count(*) FILTER (WHERE status <> 'succeeded'), count(*) FILTER (WHERE status = 'succeeded')
        FROM procrastinate_jobs"""

    def install(self) -> None:
        async def run() -> None:
            async with self._open(_ignore) as (app, _):
                await app.schema_manager.apply_schema_async()

        uvloop.run(run())

    def publish(self, count: int, batch: int) -> float:
        async def run() -> float:
            async with self._open(_ignore) as (_, task):
                start = time.perf_counter()
                for first in range(0, count, batch):
                    numbers = range(first, min(first + batch, count))
                    await task.batch_defer_async(*({"n": n, "workspace": str(workspace_of(n))} for n in numbers))
                return time.perf_counter() - start

        return uvloop.run(run())

    def drain(self, count: int, *, effect: bool) -> Drain:
        async def run() -> Drain:
            async with self._handler_pool() as pool:
                handled = 0
                last_started = asyncio.Event()

                async def handle(n: int, workspace: str) -> None:
                    nonlocal handled
                    if effect:
                        async with pool.connection() as connection:
                            await connection.execute(INSERT_EFFECT.format("%s", "%s"), (workspace, n))
                    handled += 1
                    if handled == count:
                        last_started.set()

                async with self._open(handle) as (app, _):
                    start = time.perf_counter()
                    worker = asyncio.create_task(_run_worker(app))
                    seconds = await wait_until_completed(worker, last_started, self.dsn, self.tally_sql, start)
                    worker.cancel()
                    await asyncio.gather(worker, return_exceptions=True)
                return Drain(seconds, handled)

        return uvloop.run(run())

    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        async def handle(n: int, workspace: str) -> None:
            started(n)

        async def run() -> None:
            async with self._open(handle) as (app, _):
                asyncio.get_running_loop().call_later(1.0, ready)
                await _run_worker(app)

        uvloop.run(run())

    @contextmanager
    def open_producer(self) -> Iterator[Callable[[int], None]]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            opened = self._open(_ignore)
            _, task = runner.run(opened.__aenter__())
            yield lambda n: runner.run(_defer(task, n))
            runner.run(opened.__aexit__(None, None, None))

    @asynccontextmanager
    async def _open(self, handler: Handler) -> AsyncIterator[tuple[procrastinate.App, Any]]:
        connector = procrastinate.PsycopgConnector(conninfo=self.dsn, min_size=POOL, max_size=POOL)
        app = procrastinate.App(connector=connector)
        task = app.task(name="bench")(handler)
        async with app.open_async():
            await connector.pool.wait()
            yield app, task

    @asynccontextmanager
    async def _handler_pool(self) -> AsyncIterator[psycopg_pool.AsyncConnectionPool[Any]]:
        autocommit = {"autocommit": True}
        pool = psycopg_pool.AsyncConnectionPool(self.dsn, kwargs=autocommit, min_size=POOL, max_size=POOL, open=False)
        async with pool:
            await pool.wait()
            yield pool


async def _ignore(n: int, workspace: str) -> None:
    return None


async def _defer(task: Any, n: int) -> None:
    await task.defer_async(n=n, workspace=str(workspace_of(n)))


async def _run_worker(app: procrastinate.App) -> None:
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    await app.run_worker_async(concurrency=CONCURRENCY, wait=True, install_signal_handlers=False)

"""pgqueuer: asyncio worker on asyncpg, claims in batches, completions through its buffer.

Its documentation recommends asyncpg over psycopg for throughput; the batch size also sizes the completion
buffer. The tables keep the default ``durable`` level: the unlogged ones lose the history in a crash, which
no other contender may do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.jobs.contender import INSERT_EFFECT, Contender, Drain, Scenario, workspace_of
from bench.jobs.finish import wait_until_completed

BATCH = 500
HANDLER_POOL = 20


class PgqueuerSide(Contender):
    """pgqueuer with batches of 500 and unlimited concurrent tasks."""

    name = "pgqueuer"
    packages = ("pgqueuer", "asyncpg", "uvloop")
    scenarios = frozenset({Scenario.BACKLOG, Scenario.EFFECT, Scenario.PUBLISH, Scenario.LATENCY})
    settings: ClassVar = {
        "worker": f"batch_size={BATCH}, max_concurrent_tasks unlimited, durability=durable",
        "pool": f"one asyncpg connection for the queue; handlers use an asyncpg pool of {HANDLER_POOL}",
        "publish": "Queries.enqueue with lists",
        "loop": "uvloop (its own command uses it)",
    }
    first_guess: ClassVar = {Scenario.BACKLOG: 15_000, Scenario.EFFECT: 5_000, Scenario.PUBLISH: 50_000}
    tally_sql = """
        SELECT (SELECT count(*) FROM pgqueuer),
               (SELECT count(*) FROM pgqueuer_log WHERE status = 'successful')"""

    def install(self) -> None:
        async def run() -> None:
            async with self._connect() as connection:
                await Queries(AsyncpgDriver(connection)).install()

        uvloop.run(run())

    def publish(self, count: int, batch: int) -> float:
        async def run() -> float:
            async with self._connect() as connection:
                queries = Queries(AsyncpgDriver(connection))
                start = time.perf_counter()
                for first in range(0, count, batch):
                    numbers = range(first, min(first + batch, count))
                    payloads: list[bytes | None] = [_payload(n) for n in numbers]
                    await queries.enqueue(["bench"] * len(payloads), payloads, [0] * len(payloads))
                return time.perf_counter() - start

        return uvloop.run(run())

    def drain(self, count: int, *, effect: bool) -> Drain:
        async def run() -> Drain:
            async with self._connect() as connection, self._handler_pool() as pool:
                handled = 0
                last_handled = asyncio.Event()

                async def handle(job: Job) -> None:
                    nonlocal handled
                    if effect:
                        arguments = json.loads(job.payload or b"{}")
                        insert = INSERT_EFFECT.format("$1", "$2")
                        await pool.execute(insert, arguments["workspace"], arguments["n"])
                    handled += 1
                    if handled == count:
                        last_handled.set()

                worker = _make_worker(connection, handle)
                start = time.perf_counter()
                running = asyncio.ensure_future(worker.run(batch_size=BATCH))
                seconds = await wait_until_completed(running, last_handled, self.dsn, self.tally_sql, start)
                worker.shutdown.set()
                await asyncio.gather(running, return_exceptions=True)
                return Drain(seconds, handled)

        return uvloop.run(run())

    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        async def handle(job: Job) -> None:
            started(json.loads(job.payload or b"{}")["n"])

        async def run() -> None:
            async with self._connect() as connection:
                asyncio.get_running_loop().call_later(1.0, ready)
                await _make_worker(connection, handle).run(batch_size=BATCH)

        uvloop.run(run())

    @contextmanager
    def open_producer(self) -> Iterator[Callable[[int], None]]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            connection = runner.run(_open(self.dsn))
            queries = Queries(AsyncpgDriver(connection))
            yield lambda n: runner.run(_enqueue(queries, n))
            runner.run(connection.close())

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Any]:
        connection = await _open(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _handler_pool(self) -> AsyncIterator[Any]:
        async with asyncpg.create_pool(self.dsn, min_size=HANDLER_POOL, max_size=HANDLER_POOL) as pool:
            yield pool


def _make_worker(connection: Any, handle: Callable[[Job], Any]) -> PgQueuer:
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    worker = PgQueuer.from_asyncpg_connection(connection)
    worker.entrypoint("bench")(handle)
    return worker


def _payload(n: int) -> bytes:
    return json.dumps({"n": n, "workspace": str(workspace_of(n))}).encode()


async def _open(dsn: str) -> Any:
    return await asyncpg.connect(dsn)


async def _enqueue(queries: Queries, n: int) -> None:
    await queries.enqueue("bench", _payload(n))

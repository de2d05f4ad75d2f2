"""dbos: durable workflows on a queue, claimed by a polling thread, checkpointed one by one.

There is no notification for queues, so the polling interval is the latency; there is no batch enqueue, so the best
way to publish many is ``DBOSClient.enqueue_in_transaction``, one transaction per batch. An effect is a step of
its workflow, as the documentation asks for anything that touches the outside.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg_pool
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench.jobs.contender import INSERT_EFFECT, Contender, Drain, Scenario, workspace_of
from bench.jobs.finish import wait_until_completed

APPLICATION = "bench"
QUEUE = "bench"
POLLING_SECONDS = 0.01
THREADS = 20
POOL = 20

_OPTIONS: EnqueueOptions = {"queue_name": QUEUE, "workflow_name": "bench"}


class DbosSide(Contender):
    """dbos with synchronous workflows and a fast polling queue (asynchronous ones were no faster)."""

    name = "dbos"
    packages = ("dbos", "psycopg", "sqlalchemy")
    scenarios = frozenset({Scenario.BACKLOG, Scenario.EFFECT, Scenario.PUBLISH, Scenario.LATENCY})
    settings: ClassVar = {
        "worker": f"sync workflows, {THREADS} threads, no concurrency limit, polling every {POLLING_SECONDS} s",
        "pool": f"system pool {POOL}; steps use a psycopg pool of {POOL}",
        "publish": "DBOSClient.enqueue_in_transaction, one transaction per batch (no batch call exists)",
        "loop": "threads",
    }
    first_guess: ClassVar = {Scenario.BACKLOG: 500, Scenario.EFFECT: 120, Scenario.PUBLISH: 1_500}
    tally_sql = """
        SELECT count(*) FILTER (WHERE status <> 'SUCCESS'), count(*) FILTER (WHERE status = 'SUCCESS')
        FROM dbos.workflow_status"""

    def install(self) -> None:
        self._launch(_ignore)
        DBOS.destroy()

    def publish(self, count: int, batch: int) -> float:
        with self._client() as (client, engine):
            start = time.perf_counter()
            for first in range(0, count, batch):
                with engine.begin() as connection:
                    for n in range(first, min(first + batch, count)):
                        client.enqueue_in_transaction(connection, _OPTIONS, n, str(workspace_of(n)))
            return time.perf_counter() - start

    def drain(self, count: int, *, effect: bool) -> Drain:
        handled = 0
        counting = threading.Lock()
        finished = _FinishedSignal()
        pool = self._handler_pool()

        def insert(n: int, workspace: str) -> None:
            with pool.connection() as connection:
                connection.execute(INSERT_EFFECT.format("%s", "%s"), (workspace, n))

        insert_step = DBOS.step()(insert)

        def handle(n: int, workspace: str) -> None:
            nonlocal handled
            if effect:
                insert_step(n, workspace)
            with counting:
                handled += 1
                if handled == count:
                    finished.set()

        self._launch(handle)
        queue = self._register_queue(worker_concurrency=0)
        start = time.perf_counter()
        queue.set_worker_concurrency(None)
        seconds = asyncio.run(finished.wait_until_completed(self.dsn, self.tally_sql, start))
        DBOS.destroy()
        pool.close()
        return Drain(seconds, handled)

    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        def handle(n: int, workspace: str) -> None:
            started(n)

        self._launch(handle)
        self._register_queue(worker_concurrency=None)
        ready()
        threading.Event().wait()

    @contextmanager
    def open_producer(self) -> Iterator[Callable[[int], None]]:
        with self._client() as (client, _):
            yield lambda n: _discard(client.enqueue(_OPTIONS, n, str(workspace_of(n))))

    def _handler_pool(self) -> psycopg_pool.ConnectionPool[Any]:
        return psycopg_pool.ConnectionPool(
            self.dsn, kwargs={"autocommit": True}, min_size=POOL, max_size=POOL, open=True
        )

    def _launch(self, handle: Callable[[int, str], Any]) -> None:
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self.dsn,
            "sys_db_pool_size": POOL,
            "max_executor_threads": THREADS,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.workflow(name="bench")(handle)
        DBOS.launch()

    def _register_queue(self, worker_concurrency: int | None) -> Any:
        """Register the queue and wait until its polling thread runs."""
        queue = DBOS.register_queue(
            QUEUE,
            worker_concurrency=worker_concurrency,
            polling_interval_sec=POLLING_SECONDS,
            on_conflict="always_update",
        )
        while not any(thread.name == f"queue-worker-{QUEUE}" for thread in threading.enumerate()):
            time.sleep(0.05)
        return queue

    @contextmanager
    def _client(self) -> Iterator[tuple[DBOSClient, sa.Engine]]:
        engine = sa.create_engine(self.dsn.replace("postgresql://", "postgresql+psycopg://"))
        client = DBOSClient(system_database_engine=engine, application_name=APPLICATION)
        try:
            yield client, engine
        finally:
            client.destroy()
            engine.dispose()


class _FinishedSignal:
    """Lets the engine's thread tell the measuring loop that the last handler has run."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    async def wait_until_completed(self, dsn: str, tally_sql: str, start: float) -> float:
        last_handled = asyncio.Event()
        loop = asyncio.get_running_loop()
        never: asyncio.Future[None] = loop.create_future()

        def forward() -> None:
            self._event.wait()
            loop.call_soon_threadsafe(last_handled.set)

        threading.Thread(target=forward, daemon=True).start()
        return await wait_until_completed(never, last_handled, dsn, tally_sql, start)


def _ignore(n: int, workspace: str) -> None:
    return None


def _discard(_: object) -> None:
    return None

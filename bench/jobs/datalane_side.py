"""Datalane: transactional handlers through the tenant door, as a user would write them.

Backlog, publish, claim and latency use one workspace, the effect scenario 100, one job in each at a time. `publish`
stores events (each with dedupe key, ingestion record and its fan-out job), which is more than a job; the backlog is
filled by `enqueue_batch`. The effects table is a tenant table behind forced row-level security.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import psycopg
import uvloop
from pydantic import SecretStr

from bench.jobs.contender import INSERT_EFFECT, WORKSPACES, Contender, Drain, Scenario, workspace_of
from bench.jobs.finish import wait_until_completed
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.access import Access
from datalane.db.provision import prepare
from datalane.db.transaction import Transaction
from datalane.engine.desk import Desk
from datalane.engine.events import NewEvent, publish_batch
from datalane.engine.handlers import Job
from datalane.engine.jobs import NewJob, enqueue, enqueue_batch
from datalane.engine.worker import WorkerSettings
from datalane.lane import Lane
from datalane.settings import Settings

PASSWORD = "bench"
KIND = "bench"
EVENT = "bench.happened"
BATCH = 1000
GROUPS = 16
POOL = 32

_INSERT = INSERT_EFFECT.format("$1", "$2").replace("bench_effects", "public.bench_effects")


class DatalaneSide(Contender):
    """One worker with its defaults but for the sizes named in `settings`."""

    name = "datalane"
    packages = ("datalane", "asyncpg", "uvloop")
    scenarios = frozenset(Scenario)
    settings: ClassVar = {
        "worker": f"claims of {BATCH} ({len(WORKSPACES)} with effects), {GROUPS} groups at once, pool of {POOL}",
        "workspaces": "1; in the effect scenario 100, one job in each at a time",
        "publish": "events with source ids: dedupe, event, ingestion record and fan-out job each",
        "effect": "INSERT and completion commit together, one transaction per workspace, forced RLS",
    }
    effect_claims: ClassVar = len(WORKSPACES)
    """Jobs a claim in the effect scenario: so many take one of each workspace."""
    first_guess: ClassVar = {
        Scenario.BACKLOG: 20_000,
        Scenario.EFFECT: 2_500,
        Scenario.PUBLISH: 20_000,
        Scenario.CLAIM: 20_000,
    }
    tally_sql = "SELECT (SELECT count(*) FROM datalane.jobs), (SELECT count(*) FROM datalane.job_history)"

    def install(self) -> None:
        parts = urlsplit(self.dsn)
        database = parts.path.lstrip("/")
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            if admin.execute("SELECT FROM pg_roles WHERE rolname = 'datalane_owner'").fetchone() is None:
                admin.execute("CREATE ROLE datalane_owner NOLOGIN")
            admin.execute(f'ALTER DATABASE "{database}" OWNER TO datalane_owner'.encode())
        prepare(self.dsn, database, Access(PASSWORD, PASSWORD, PASSWORD))
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute("SELECT app.protect('public.bench_effects', 'tenant')")

        async def register() -> None:
            async with self._open() as lane:
                await _register(lane)

        _run(register())

    def publish(self, count: int, batch: int) -> float:
        """Events into one workspace."""

        async def send(lane: Lane, numbers: range) -> None:
            async with lane.transaction(Context.system(WORKSPACES[0])) as tx:
                events = [NewEvent(EVENT, {"n": n}, source_system="bench", source_event_id=str(n)) for n in numbers]
                await publish_batch(tx, events)

        return self._in_batches(count, batch, send)

    def fill(self, count: int, batch: int, *, spread: bool) -> None:
        async def send(lane: Lane, numbers: range) -> None:
            of_workspace: dict[Any, list[NewJob]] = {}
            for n in numbers:
                workspace = workspace_of(n) if spread else WORKSPACES[0]
                of_workspace.setdefault(workspace, []).append(NewJob(KIND, {"n": n}))
            for workspace, jobs in of_workspace.items():
                async with lane.transaction(Context.system(workspace)) as tx:
                    await enqueue_batch(tx, jobs)

        self._in_batches(count, batch, send)

    def _in_batches(self, count: int, batch: int, send: Callable[[Lane, range], Awaitable[None]]) -> float:
        async def run() -> float:
            async with self._open() as lane:
                async with lane.transaction(Context.system(WORKSPACES[0])):
                    pass
                start = time.perf_counter()
                for first in range(0, count, batch):
                    await send(lane, range(first, min(first + batch, count)))
                return time.perf_counter() - start

        return float(_run(run()))

    def drain(self, count: int, *, effect: bool) -> Drain:
        async def run() -> Drain:
            async with self._open() as lane:
                handled, last_handled, stop = 0, asyncio.Event(), asyncio.Event()

                @lane.handlers.transactional(KIND)
                async def handle(tx: Transaction, job: Job) -> None:
                    nonlocal handled
                    if effect:
                        await tx.connection.execute(_INSERT, job.workspace_id, job.args["n"])
                    handled += 1
                    if handled == count:
                        last_handled.set()

                batch = self.effect_claims if effect else BATCH
                worker = lane.worker(WorkerSettings(batch=batch, groups=GROUPS if effect else 2))
                start = time.perf_counter()
                running = asyncio.ensure_future(worker.run(stop))
                seconds = await wait_until_completed(running, last_handled, self.dsn, self.tally_sql, start)
                stop.set()
                await running
                return Drain(seconds, handled)

        return _run(run())  # type: ignore[no-any-return]

    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        async def run() -> None:
            async with self._open() as lane:

                @lane.handlers.transactional(KIND)
                async def handle(tx: Transaction, job: Job) -> None:
                    started(job.args["n"])

                up = asyncio.Event()
                working = asyncio.ensure_future(lane.worker().run(asyncio.Event(), up))
                await up.wait()
                ready()
                await working

        _run(run())

    @contextmanager
    def open_producer(self) -> Iterator[Callable[[int], None]]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            opened = self._open()
            lane = runner.run(opened.__aenter__())

            async def send(n: int) -> None:
                async with lane.transaction(Context.system(WORKSPACES[0])) as tx:
                    await enqueue(tx, KIND, {"n": n})
                if lane.database.wakeup.sending is not None:
                    await lane.database.wakeup.sending

            yield lambda n: runner.run(send(n))
            runner.run(opened.__aexit__(None, None, None))

    def claim(self, count: int, batch: int) -> float:
        async def run() -> float:
            async with self._open() as lane:
                desk = Desk(lane.database, "bench", lambda: None)
                start = time.perf_counter()
                while jobs := await desk.claim([KIND], batch, timedelta(seconds=60)):
                    await desk.finish(jobs)
                seconds = time.perf_counter() - start
                await desk.close()
                return seconds

        return float(_run(run()))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Lane]:
        parts = urlsplit(self.dsn)
        url = f"postgresql://datalane:{PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"
        lane = Lane()
        lane.event(EVENT, {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
        async with lane.open(Settings(pool_size=POOL, cursor_key=SecretStr(PASSWORD)), url):
            yield lane


class DatalaneSharing(DatalaneSide):
    """The effect scenario with the claims that a worker makes by itself, which take two jobs of each workspace."""

    name = "datalane-sharing"
    scenarios = frozenset({Scenario.EFFECT})
    settings: ClassVar = {
        "worker": f"claims of {WorkerSettings().batch}, its default; {GROUPS} groups at once, pool of {POOL}",
        "effect": "the jobs of a workspace share a transaction, two at a time",
    }
    effect_claims: ClassVar = WorkerSettings().batch


async def _register(lane: Lane) -> None:
    """Event type and the handler that every event of it starts."""
    lane.handlers.on_event(EVENT, kind=KIND)(_nothing)
    desk = Desk(lane.database, "bench", lambda: None)
    await desk.register({KIND: None}, lane.handlers.events, list(EVENTS))
    await desk.close()


async def _nothing(tx: Transaction, job: Job) -> None:
    return


def _run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)

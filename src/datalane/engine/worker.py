"""The worker: claims what is ready, runs it, keeps its leases, rescues what others lost, fires schedules.

    claim ──> group by handler and workspace ──> run ──> complete with the effect
      ^                                            │
      └── wake-up, or the next due time, or a poll ┘

It stops by draining: no new claims, running groups get `drain` seconds, the rest is given back unharmed. A worker that
is killed loses nothing either: its leases run out and another one's rescue takes over.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.desk import Desk
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.engine.running import Runner, Tally
from datalane.engine.schedules import next_run
from datalane.errors import DatabaseUnavailable, DatalaneError, InvalidInput
from datalane.kit.clock import utc_now
from datalane.kit.ids import new_correlation_id, uuid7
from datalane.settings import JobSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`batch` jobs a claim; at most `groups` groups run at once; times as timedeltas."""

    jobs: JobSettings = field(default_factory=JobSettings)
    batch: int = 200
    groups: int = 8
    poll: timedelta = timedelta(seconds=1)
    drain: timedelta = timedelta(seconds=10)


class Worker:
    """`await worker.run(stop)` until `stop` is set; `tally` counts what it did."""

    def __init__(self, database: Database, handlers: Handlers, settings: WorkerSettings | None = None) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid7().hex[-6:]}"
        self.tally = Tally()
        self._handlers = handlers
        self._settings = settings or WorkerSettings()
        self._wake = asyncio.Event()
        self._desk = Desk(database, self.name, self._wake.set, self._settings.jobs.rescues)
        self._runner = Runner(database, self._desk, self.tally)
        self._slots = asyncio.Semaphore(self._settings.groups)
        self._running: dict[asyncio.Task[None], list[Job]] = {}

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Work until `stop` is set, then drain. `ready` is set once the worker can claim."""
        await self._register(stop)
        if ready is not None:
            ready.set()
        keepers = [
            asyncio.create_task(self._every(self._settings.jobs.heartbeat, self._heartbeat, stop)),
            asyncio.create_task(self._every(self._settings.jobs.lease / 4, self._rescue, stop)),
            asyncio.create_task(self._every(self._settings.poll, self._fire_schedules, stop)),
            asyncio.create_task(self._wake_on(stop)),
        ]
        try:
            while not stop.is_set():
                if not await self._claim_and_start():
                    await self._idle()
            await self._drain()
        finally:
            for task in (*keepers, *self._running):
                task.cancel()
            await asyncio.gather(*keepers, *self._running, return_exceptions=True)
            await self._desk.close()

    async def _register(self, stop: asyncio.Event) -> None:
        bounds = {handler.kind: handler.max_running for handler in self._handlers}
        while not stop.is_set():
            try:
                await self._desk.register(bounds, self._handlers.events, list(EVENTS))
                return
            except DatabaseUnavailable as error:
                log.warning("waiting_for_the_database", error=str(error))
                await self._idle()

    async def _claim_and_start(self) -> bool:
        """Whether anything was claimed."""
        await self._slots.acquire()
        self._slots.release()
        self._wake.clear()
        try:
            jobs = await self._desk.claim(self._handlers.kinds, self._settings.batch, self._settings.jobs.lease)
        except DatabaseUnavailable as error:
            log.warning("waiting_for_the_database", error=str(error))
            return False
        for handler, group in self._grouped(jobs):
            await self._slots.acquire()
            task = asyncio.create_task(self._runner.run(handler, group))
            self._running[task] = group
            task.add_done_callback(self._done)
        return bool(jobs)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a_group_of_jobs_broke", error=repr(error))

    def _grouped(self, jobs: Sequence[Job]) -> list[tuple[Handler, list[Job]]]:
        lanes: dict[tuple[str, object], list[Job]] = {}
        for job in jobs:
            alone = self._handlers.get(job.kind).mode is Mode.EXTERNAL
            lanes.setdefault((job.kind, job.id if alone else job.workspace_id), []).append(job)
        groups = []
        for (kind, _), lane in lanes.items():
            handler = self._handlers.get(kind)
            size = handler.batch if handler.mode is Mode.STAGED else len(lane)
            groups += [(handler, lane[start : start + size]) for start in range(0, len(lane), size)]
        return groups

    async def _idle(self) -> None:
        """Wait for a wake-up, at most until the next look."""
        try:
            async with asyncio.timeout(self._settings.poll.total_seconds()):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _every(self, period: timedelta, action: object, stop: asyncio.Event) -> None:
        assert callable(action)
        while not stop.is_set() or self._running:
            try:
                await action()
            except DatalaneError as error:
                log.warning("keeper_failed", keeper=getattr(action, "__name__", "?"), error=str(error))
            await asyncio.sleep(period.total_seconds())

    async def _heartbeat(self) -> None:
        jobs = [job for group in self._running.values() for job in group]
        if not jobs:
            return
        held = await self._desk.extend(jobs, self._settings.jobs.lease)
        for task, group in list(self._running.items()):
            if not any(job.id in held for job in group):
                task.cancel()

    async def _rescue(self) -> None:
        rescued = await self._desk.rescue()
        if rescued:
            log.warning("jobs_rescued", jobs=rescued)
            self._wake.set()

    async def _fire_schedules(self) -> None:
        for due in await self._desk.due_schedules():
            try:
                following = next_run(due["cron"], due["timezone"], utc_now())
            except InvalidInput as error:
                log.error("schedule_unusable", schedule=due["name"], error=str(error))
                continue
            if await self._desk.fire_schedule(due, following, new_correlation_id()):
                self._wake.set()

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(list(self._running), timeout=self._settings.drain.total_seconds())
        for task, group in list(self._running.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._desk.release(group)

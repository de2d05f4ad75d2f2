"""The worker: claims what is ready, runs it, keeps its leases, rescues what others lost, fires schedules.

    claim ──> group by handler and workspace ──> run ──> complete with the effect
      ^                                            │
      └──────── wake-up, or the next poll ─────────┘

It stops by draining: no new claims, running groups get `drain` seconds, the rest is given back unharmed. A worker that
is killed loses nothing either: its leases run out and another one's rescue takes over.

A worker that outlives its database waits for it. What has an outcome is written down then; what broke off, or may have
been claimed without its knowing, it takes back before it claims anything new (`_recover`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg

from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.desk import Desk
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.engine.metrics import RESCUED
from datalane.engine.running import Runner, Tally
from datalane.engine.schedules import next_run
from datalane.errors import DatabaseUnavailable, DatalaneError, InvalidInput
from datalane.kit.clock import utc_now
from datalane.kit.ids import new_correlation_id, uuid7
from datalane.kit.logs import get_logger
from datalane.settings import JobSettings

_FIRST_PAUSE = timedelta(milliseconds=50)
"""While the database is away a worker looks again after this long, then after twice as long, up to its poll."""

log = get_logger(__name__)


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
        self._turns = database.turns(self._settings.groups)
        self._running: dict[asyncio.Task[None], list[Job]] = {}  # waiting for a turn, or having one
        self._started: set[asyncio.Task[None]] = set()
        self._long = 0  # groups of those that are not transactional
        self._full = False
        self._broken_off = False  # we may hold jobs that we do not run
        self._pause = _FIRST_PAUSE
        self._undecided_until = 0.0  # the loop's time before which to look again would be idle work

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
                if len(self._running) >= self._most_groups:
                    await self._until_there_is_room()
                elif not await self._claim_and_start():
                    await self._idle()
            await self._drain()
        finally:
            for task in (*keepers, *self._running):
                task.cancel()
            await asyncio.gather(*keepers, *self._running, return_exceptions=True)
            await self._desk.close()

    @property
    def _most_groups(self) -> int:
        """From how many groups on it claims no more.

        While all are transactional, and so soon over, as many again as may run at once, since a claim takes its time.
        Behind others they could wait for long, while another worker is idle.
        """
        return self._settings.groups * (1 if self._long else 2)

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
        self._wake.clear()
        try:
            if self._broken_off and asyncio.get_running_loop().time() >= self._undecided_until:
                await self._recover()
            jobs = await self._desk.claim(self._handlers.kinds, self._settings.batch, self._settings.jobs.lease)
        except DatabaseUnavailable as error:
            self._broken_off = True  # a claim whose answer was lost is a claim
            log.warning("waiting_for_the_database", error=str(error))
            return False
        except (DatalaneError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.error("claim_failed", error=repr(error))
            return False
        for handler, group in self._grouped(jobs):
            task = asyncio.create_task(self._run_in_turn(handler, group))
            self._running[task] = group
            self._long += handler.mode is not Mode.TRANSACTIONAL
            task.add_done_callback(self._done)
        return bool(jobs)

    async def _recover(self) -> None:
        """After an outage: let go of what the database does not know as ours, take back what we do not run.

        A crash forgets the last claims. Their groups are ended first: claimed anew, a job has the same token again.
        What is undecided is looked at again after a poll. Raises `DatabaseUnavailable`.
        """
        await self._heartbeat(even_ending=True)
        self._broken_off = False
        running = [job for group in self._running.values() for job in group]
        reclaimed, undecided = await self._desk.reclaim(running, self._settings.jobs.lease)
        if undecided:
            self._broken_off = True
            self._undecided_until = asyncio.get_running_loop().time() + self._settings.poll.total_seconds()
        self._pause = _FIRST_PAUSE
        if reclaimed:
            log.warning("jobs_taken_back", jobs=reclaimed)

    async def _run_in_turn(self, handler: Handler, group: list[Job]) -> None:
        turn = await self._turns.wait(self._runner.context_to_open(handler, group))
        try:
            task = asyncio.current_task()
            assert task is not None
            self._started.add(task)
            await self._runner.run(handler, group, turn)
        finally:
            await self._turns.end(turn)

    async def _until_there_is_room(self) -> None:
        self._full = True
        self._wake.clear()
        await self._wake.wait()
        self._full = False

    def _done(self, task: asyncio.Task[None]) -> None:
        group = self._running.pop(task)
        self._long -= self._handlers.get(group[0].kind).mode is not Mode.TRANSACTIONAL
        self._started.discard(task)
        if self._full or any(self._makes_way(job) for job in group):
            self._wake.set()
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DatabaseUnavailable):
            self._broken_off = True
            self._wake.set()
        elif error is not None:
            log.error("a_group_of_jobs_broke", error=repr(error))

    def _makes_way(self, job: Job) -> bool:
        """Whether the end of this job may let another one run."""
        return job.order_key is not None or self._handlers.get(job.kind).max_running is not None

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
        """Wait for a wake-up, at most until the next look, which comes sooner while something is to be taken back."""
        pause = self._settings.poll
        if self._broken_off:
            pause = min(pause, self._pause)
            self._pause = 2 * pause
        try:
            async with asyncio.timeout(pause.total_seconds()):
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
            except Exception as error:  # a keeper that died would let every lease run out
                log.warning("keeper_failed", keeper=getattr(action, "__name__", "?"), error=repr(error))
            await asyncio.sleep(period.total_seconds())

    async def _heartbeat(self, *, even_ending: bool = False) -> None:
        """Ends groups that the database does not know as held: not those whose end is being written, unless told so."""
        asked = list(self._running.items())  # what is claimed while the database answers is not in its answer
        if not asked:
            return
        held = await self._desk.extend([job for _, group in asked for job in group], self._settings.jobs.lease)
        for task, group in asked:
            if not any(job.id in held for job in group) and (even_ending or not self._runner.is_ending(group)):
                task.cancel()

    async def _rescue(self) -> None:
        rescued = await self._desk.rescue()
        if rescued:
            RESCUED.inc(rescued)
            log.warning("jobs_rescued", jobs=rescued)
            self._wake.set()

    async def _fire_schedules(self) -> None:
        for due in await self._desk.due_schedules():
            try:
                following = next_run(due["cron"], due["timezone"], utc_now())
            except InvalidInput as error:
                log.error("schedule_switched_off", schedule=due["name"], error=str(error))
                following = None
            try:
                fired = await self._desk.fire_schedule(due, following, new_correlation_id())
            except asyncpg.PostgresError as error:  # one tenant's schedule must not stop the others'
                log.error("schedule_failed", schedule=due["name"], error=repr(error))
                continue
            if fired:
                self._wake.set()

    async def _drain(self) -> None:
        await self._give_back([task for task in self._running if task not in self._started])
        if self._running:
            await asyncio.wait(list(self._running), timeout=self._settings.drain.total_seconds())
        await self._give_back(list(self._running))
        if self._broken_off:
            try:
                await self._recover()
            except DatabaseUnavailable as error:
                log.warning("jobs_left_to_their_leases", error=str(error))

    async def _give_back(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        jobs = [job for task in tasks for job in self._running[task]]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if jobs:
                await self._desk.release(jobs)
        except DatabaseUnavailable as error:
            log.warning("jobs_left_to_their_leases", jobs=len(jobs), error=str(error))

"""The jobs that deliver: one for each event and endpoint, and for each delivery that somebody asked for.

Jobs are taken in batches of one workspace. What their deliveries are is written down first, then all are sent at once,
then what came of them is written. The delivery is the truth, the job only wakes it: a job that is taken again, after
its worker was lost at whatever point, does what the delivery's row still asks for.

A job lives as long as its delivery goes on: it is put off, without an attempt being spent, until the delivery's next
one. So an ordered job holds its place in line. A delivery that is held gives its job up; recovery makes another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.events import get_event
from datalane.engine.handlers import Failure, Handler, Handlers, Job, Mode
from datalane.engine.jobs import JobState, get_job
from datalane.errors import RateLimited
from datalane.integrations.webhooks.deliveries.attempts import (
    Begun,
    Ended,
    Target,
    begin_known,
    end_attempts,
    queries,
    read_targets,
    send_one,
    under_way,
)
from datalane.integrations.webhooks.deliveries.decisions import PROBED_AFTER, wait_for_others
from datalane.integrations.webhooks.deliveries.messages import is_about_delivery, write_message
from datalane.integrations.webhooks.deliveries.sending import Sender
from datalane.integrations.webhooks.deliveries.states import DELIVERY
from datalane.integrations.webhooks.endpoints.service import DELIVER_EVENT
from datalane.kit.clock import utc_now
from datalane.kit.ids import rising_uuid7
from datalane.settings import WebhookSettings

SETTLE = "webhook.settle"
"""Kind of the job that follows a dead letter."""
BATCH = 32
"""Deliveries that are sent at once and share two transactions."""
_AGAIN = timedelta(seconds=1)

Plan = dict[UUID, Begun | timedelta | None]
"""By job: the attempt that was begun, how long to wait, or nothing more to do."""


@dataclass(frozen=True, slots=True)
class _New:
    """A delivery that is not written yet."""

    job: Job
    delivery_id: UUID
    event: Any
    body: str
    target: Target


@dataclass(slots=True)
class _Batch:
    """One batch as it is sorted out. `probed` are failing endpoints that are asked by one delivery of it already,
    `tried` deliveries of which somebody else has an attempt under way."""

    now: datetime
    targets: dict[UUID, Target]
    held: dict[tuple[UUID, str | None], UUID]
    draw: Callable[[], float]
    probed: set[UUID] = field(default_factory=set)
    tried: Collection[UUID] = ()

    def waits(self, target: Target) -> timedelta | None:
        """How long a delivery lets another one go first, to find out whether the endpoint is back."""
        if target.failures_in_a_row < PROBED_AFTER:
            return None
        if target.endpoint_id not in self.probed:
            self.probed.add(target.endpoint_id)
            return None
        return wait_for_others(target.failing_since, self.now, self.draw())

    def is_held(self, target: Target, subject_id: str | None, place: UUID) -> bool:
        """Whether the delivery waits for a recovery: the endpoint is not enabled, or it is ordered and an earlier one
        of the subject waits."""
        first = self.held.get((target.endpoint_id, subject_id)) if target.ordered else None
        return not target.enabled or (first is not None and first < place)


class Deliveries:
    """Registers the handler, and is it."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        settings: WebhookSettings,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._sender = sender
        self._settings = settings
        self._draw = draw
        self._clock = clock

    def register(self, handlers: Handlers) -> None:
        handlers.add(
            Handler(
                DELIVER_EVENT,
                Mode.STAGED,
                self.apply,
                prepare=self.prepare,
                batch=BATCH,
                timeout=timedelta(minutes=1),
                on_failure=self.failed,
            )
        )
        handlers.on_event("job.dead_lettered", kind=SETTLE)(self.settle)

    async def prepare(self, jobs: Sequence[Job]) -> Sequence[Exception | None]:
        """Deliver, and say for each job whether it is done or is to be put off."""
        context = Context.system(jobs[0].workspace_id, jobs[0].correlation_id)
        async with self._database.transaction(context) as tx:
            plan = await self._begin(tx, jobs)
        begun = {job_id: each for job_id, each in plan.items() if isinstance(each, Begun)}
        ends = await self._send(context, list(begun.values()))
        return [self._result(plan[job.id], ends) for job in jobs]

    async def apply(self, tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        """All is written already; the jobs complete."""

    async def failed(self, tx: Transaction, job: Job, failure: Failure) -> None:
        """A job that is not taken again by itself leaves no delivery that waits for it."""
        if failure.retryable and job.attempt_count < job.max_attempts:
            return
        await self._bury(tx, job, failure.error_class)

    async def settle(self, tx: Transaction, job: Job) -> None:
        """A job that ended without its handler (canceled, or its workers were lost too often) ends its delivery too."""
        event = await get_event(tx, UUID(job.args["event_id"]))
        if event is None or event.payload["kind"] != DELIVER_EVENT:
            return
        stopped = await get_job(tx, UUID(event.payload["job_id"]))
        if stopped.replayable:  # else it goes on, or another does in its place
            await self._bury(tx, stopped, event.payload.get("error_class") or event.payload["reason"])

    async def _bury(self, tx: Transaction, job: Job | JobState, error_class: str) -> None:
        await queries.bury_delivery(
            tx.connection,
            workspace_id=tx.workspace_id,
            delivery_id=_uuid(job, "delivery_id"),
            endpoint_id=_uuid(job, "endpoint_id"),
            once_key=_once_key(job),
            error_class=error_class,
            now=self._clock(),
        )

    async def _send(self, context: Context, begun: Sequence[Begun]) -> dict[UUID, Ended]:
        if not begun:
            return {}
        outcomes = await asyncio.gather(*(send_one(self._sender, each, self._clock()) for each in begun))
        async with self._database.transaction(context) as tx:
            results = list(zip(begun, outcomes, strict=True))
            return await end_attempts(tx, results, self._settings, self._clock(), self._draw)

    def _result(self, planned: Begun | timedelta | None, ends: dict[UUID, Ended]) -> Exception | None:
        if isinstance(planned, timedelta):
            return _later(planned)
        if planned is None:
            return None
        following = ends[planned.delivery_id].following
        if following is None:  # somebody else began another attempt meanwhile
            return _later(_AGAIN)
        return None if following.pause is None else _later(following.pause)

    async def _begin(self, tx: Transaction, jobs: Sequence[Job]) -> Plan:
        now = self._clock()
        asked = {endpoint_id for job in jobs if (endpoint_id := _uuid(job, "endpoint_id")) is not None}
        targets = await read_targets(tx, self._sender, asked, now)
        held = await _first_held(tx, targets.values())
        batch = _Batch(now, targets, held, self._draw)
        known = await _read_known(tx, [job for job in jobs if job.lease_token > 1 or "delivery_id" in job.args])
        missing = [job for job in jobs if job.id not in known]
        plan: Plan = dict.fromkeys((job.id for job in jobs), None)
        # A job that was never lost has none under way itself: who tries by hand is let come to an end.
        own = [known[job.id]["delivery_id"] for job in jobs if job.id in known and not job.rescue_count]
        batch.tried = await under_way(tx, own, self._settings.timeout, now)
        plan.update(await _go_on(tx, [(job, known[job.id]) for job in jobs if job.id in known], batch))
        plan.update(await _make(tx, missing, batch))
        return plan


async def _go_on(tx: Transaction, known: Sequence[tuple[Job, Any]], batch: _Batch) -> Plan:
    """Deliveries that are there: begun, put off, or put aside."""
    plan: Plan = {}
    aside, begin = [], []
    for job, row in known:
        target = batch.targets.get(row["endpoint_id"])
        if row["status"] in DELIVERY.terminal or target is None:
            continue
        if batch.is_held(target, row["subject_id"], row["event_id"] or row["delivery_id"]):
            aside.append(row["delivery_id"])
        elif row["next_attempt_at"] is not None and row["next_attempt_at"] > batch.now:
            plan[job.id] = row["next_attempt_at"] - batch.now
        elif row["delivery_id"] in batch.tried:
            plan[job.id] = _AGAIN
        elif (pause := batch.waits(target)) is not None:
            plan[job.id] = pause
        else:
            begin.append((job, row, target))
    if aside:
        await queries.hold_deliveries(tx.connection, workspace_id=tx.workspace_id, delivery_ids=aside, now=batch.now)
    if begin:
        begun = await begin_known(tx, [(row, target) for _, row, target in begin], batch.now)
        plan.update({job.id: begun.get(row["delivery_id"], _AGAIN) for job, row, _ in begin})
    return plan


async def _make(tx: Transaction, jobs: Sequence[Job], batch: _Batch) -> Plan:
    """Deliveries of events that have none yet."""
    new = await _read_new(tx, jobs, batch)
    if not new:
        return {}
    held = [batch.is_held(each.target, each.event["subject_id"], each.event["event_id"]) for each in new]
    waits = [None if aside else batch.waits(each.target) for each, aside in zip(new, held, strict=True)]
    begins = [not aside and pause is None for aside, pause in zip(held, waits, strict=True)]
    rows = await queries.add_deliveries(
        tx.connection,
        workspace_id=tx.workspace_id,
        delivery_ids=[each.delivery_id for each in new],
        endpoint_ids=[each.target.endpoint_id for each in new],
        event_ids=[each.event["event_id"] for each in new],
        event_types=[each.event["event_type"] for each in new],
        subject_ids=[each.event["subject_id"] for each in new],
        message_ids=[str(each.event["event_id"]) for each in new],
        bodies=[each.body for each in new],
        once_keys=[_once_key(each.job) for each in new],
        correlation_ids=[each.event["correlation_id"] for each in new],
        causation_depths=[each.event["causation_depth"] for each in new],
        begins=begins,
        helds=held,
        next_attempt_ats=[None if pause is None else batch.now + pause for pause in waits],
        now=batch.now,
    )
    made = {row["delivery_id"] for row in rows}
    plan: Plan = {}
    for each, starts, pause in zip(new, begins, waits, strict=True):
        if each.delivery_id not in made:
            plan[each.job.id] = _AGAIN  # another job made it; look at that one
        elif starts:
            first = {"delivery_id": each.delivery_id, "attempt_count": 0, "failure_count": 0, "held": False}
            message = {"message_id": str(each.event["event_id"]), "body": each.body}
            plan[each.job.id] = Begun.of({**each.event, **first, **message}, each.target)
        else:
            plan[each.job.id] = pause
    return plan


async def _read_new(tx: Transaction, jobs: Sequence[Job], batch: _Batch) -> list[_New]:
    wanted = [(job, event_id) for job in jobs if (event_id := _uuid(job, "event_id")) is not None]
    if not wanted:
        return []
    rows = await queries.read_events(
        tx.connection, workspace_id=tx.workspace_id, event_ids=[event_id for _, event_id in wanted]
    )
    events = {row["event_id"]: row for row in rows}
    wanted.sort(key=lambda each: each[1])  # so that deliveries are in the order of what happened
    found = []
    for job, event_id in wanted:
        event, endpoint_id = events.get(event_id), _uuid(job, "endpoint_id")
        target = None if endpoint_id is None else batch.targets.get(endpoint_id)
        if event is None or target is None:
            continue
        if is_about_delivery(event["event_type"], event["payload"], target.endpoint_id):
            continue
        body = write_message(
            *(event["event_type"], event["version"], event["occurred_at"], event["payload"]),
            event_id=event_id,
            subject_id=event["subject_id"],
        )
        found.append(_New(job, rising_uuid7(), event, body, target))
    return found


async def _read_known(tx: Transaction, jobs: Sequence[Job]) -> dict[UUID, Any]:
    """Deliveries that are written down, by the job that is about them."""
    if not jobs:
        return {}
    by_id = {delivery_id: job.id for job in jobs if (delivery_id := _uuid(job, "delivery_id")) is not None}
    by_key = {(_uuid(job, "endpoint_id"), _once_key(job)): job.id for job in jobs if "delivery_id" not in job.args}
    rows = await queries.read_deliveries(
        tx.connection,
        workspace_id=tx.workspace_id,
        delivery_ids=list(by_id),
        endpoint_ids=[endpoint_id for endpoint_id, _ in by_key],
        once_keys=[once_key for _, once_key in by_key],
    )
    found = ((by_id.get(row["delivery_id"]) or by_key.get((row["endpoint_id"], row["once_key"])), row) for row in rows)
    return {job_id: row for job_id, row in found if job_id is not None}


async def _first_held(tx: Transaction, targets: Iterable[Target]) -> dict[tuple[UUID, str | None], UUID]:
    ordered = [target.endpoint_id for target in targets if target.ordered]
    if not ordered:
        return {}
    rows = await queries.first_held(tx.connection, workspace_id=tx.workspace_id, endpoint_ids=ordered)
    return {(row["endpoint_id"], row["subject_id"]): row["place"] for row in rows}


def _once_key(job: Job | JobState) -> str:
    return f"event:{job.args.get('event_id', '')}"


def _uuid(job: Job | JobState, name: str) -> UUID | None:
    """An argument of a job, which anybody who may enqueue jobs can have written."""
    try:
        return UUID(str(job.args.get(name)))
    except ValueError:
        return None


def _later(pause: timedelta) -> RateLimited:
    return RateLimited("the delivery waits for its next attempt", pause.total_seconds())

"""Writing to the ledger: each function is one verb. A write names the token of the run's lease, and a runtime that has
lost it writes nothing.

What agents were given and have answered is kept redacted: without what looks like a credential, and what else the
settings name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.metrics import count_run
from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs.queueing import leave_job
from datalane.agents.runs.schemas import (
    BegunRun,
    EndedRun,
    Extended,
    HeldRun,
    NewRun,
    NewStep,
    NewThread,
    OpenedThread,
    RecordedStep,
    RunEnd,
)
from datalane.contracts.conformance import conforms
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import LimitExceeded
from datalane.kit.contents import Redaction
from datalane.kit.jsonlimits import encode_within
from datalane.kit.logs import get_logger
from datalane.settings import Limits

LEASE = timedelta(seconds=60)
QUEUE_PATIENCE = timedelta(hours=24)
"""How long a queued run waits for a runtime before it fails."""
DEPTH = 64
"""Of what is kept of inputs and outputs."""

_queries = load_queries(__file__, "verbs.sql")
log = get_logger(__name__)


def lease_of(seconds: float | None) -> timedelta:
    """The lease that is asked for, else the usual one."""
    return LEASE if seconds is None else timedelta(seconds=seconds)


async def open_thread(tx: Transaction, new: NewThread) -> OpenedThread:
    """The thread with this external id, made when it is new."""
    RECORD_RUNS.check(tx.context)
    return OpenedThread(**await _queries.open_thread(tx.connection, external_id=new.external_id, title=new.title))


async def begin_run(tx: Transaction, new: NewRun, now: datetime | None = None) -> BegunRun:
    """Begin a run, or queue it when no runtime is named. One that is known by its `source_run_id` is not made again.

    Raises `NotFound` for a thread, a parent or a version that is not there, `LimitExceeded` for a large input.
    """
    RECORD_RUNS.check(tx.context)
    context = tx.context
    asked = timedelta(seconds=new.lease_seconds) if new.lease_seconds else None
    patience = asked or (LEASE if new.runtime else QUEUE_PATIENCE)
    row = await _queries.begin_run(
        tx.connection,
        **new.model_dump(exclude={"lease_seconds", "input"}),
        input=kept(tx, "input", new.input),
        patience=patience,
        scopes=None if context.scopes is None else sorted(context.scopes),
        actor_id=context.actor_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        causation_depth=context.causation_depth,
        now=now,
    )
    tx.wake_workers()
    if row["created"]:
        count_run(tx, "running" if new.runtime else "queued")
        if new.runtime is None:
            await leave_job(tx, row["run_id"], new.agent)
    return BegunRun(
        run_id=row["run_id"], lease_token=row["lease_token"] if new.runtime else None, created=row["created"]
    )


async def take_run(
    tx: Transaction, run_id: UUID, runtime: str, lease: timedelta = LEASE, now: datetime | None = None
) -> HeldRun | None:
    """Take up a run that is queued or retrying, or whose lease has run out. None when it was lost once too often, and
    has failed now.

    Raises `NotFound`, `IllegalTransition` for one that is over, `Conflict` for one that is held.
    """
    RECORD_RUNS.check(tx.context)
    token = await _queries.take_run(tx.connection, run_id=run_id, runtime=runtime, lease=lease, now=now)
    tx.wake_workers()
    count_run(tx, "failed" if token is None else "running")
    return None if token is None else HeldRun(run_id=run_id, lease_token=token)


async def extend_runs(
    tx: Transaction, runs: Sequence[HeldRun], lease: timedelta = LEASE, now: datetime | None = None
) -> Extended:
    """Hold them for another lease. What is not in the answer was lost, or is over."""
    RECORD_RUNS.check(tx.context)
    held = await _queries.extend_runs(
        tx.connection,
        run_ids=[run.run_id for run in runs],
        lease_tokens=[run.lease_token for run in runs],
        lease=lease,
        now=now,
    )
    return Extended(run_ids=held)


async def record_steps(
    tx: Transaction, run: HeldRun, steps: Sequence[NewStep], now: datetime | None = None
) -> list[RecordedStep]:
    """Record steps that are over, in their order, with their costs.

    Raises `LeaseLost`, `NotFound` for a run or a version that is not there, `LimitExceeded` for what is too large.
    """
    return await record_encoded(tx, run, [encode_step(step, tx.limits, tx.redaction) for step in steps], now)


async def record_encoded(
    tx: Transaction, run: HeldRun, steps: Sequence[str], now: datetime | None = None
) -> list[RecordedStep]:
    """As `record_steps`, of what `encode_step` has made. One whose `source_id` the run has already is left."""
    RECORD_RUNS.check(tx.context)
    rows = await _queries.record_steps(
        tx.connection, run_id=run.run_id, lease_token=run.lease_token, steps=f"[{','.join(steps)}]", now=now
    )
    return [RecordedStep(**row) for row in rows]


async def end_run(tx: Transaction, end: RunEnd, now: datetime | None = None, *, has_schema: bool = True) -> EndedRun:
    """End a run; calls of tools that are open end with it. Of a run with an output schema it is kept whether the output
    conforms; `has_schema` false says that it is known to have none. Raises `LeaseLost`, `NotFound`, `LimitExceeded`."""
    RECORD_RUNS.check(tx.context)
    fits = await _conforms(tx, end) if has_schema else None
    await _queries.end_run(
        tx.connection,
        run_id=end.run_id,
        lease_token=end.lease_token,
        outcome=end.status,
        output=kept(tx, "output", end.output),
        conforms=fits,
        error_class=end.error_class,
        error_message=said(tx, end.error_message),
        now=now,
    )
    tx.wake_workers()
    count_run(tx, end.status)
    return EndedRun(run_id=end.run_id, status=end.status, conforms=fits)


async def _conforms(tx: Transaction, end: RunEnd) -> bool | None:
    """Whether the output is as the schema of its run says; None without a schema, or without an output."""
    if end.output is None:
        return None
    schema = await _queries.output_schema(tx.connection, run_id=end.run_id, lease_token=end.lease_token)
    if schema is None:
        return None
    try:
        return conforms(schema, end.output)
    except LimitExceeded as error:  # too large or too entangled to be looked at
        log.warning("agent_output_unchecked", run_id=str(end.run_id), error=str(error))
        return False


def kept(tx: Transaction, name: str, value: Any) -> str | None:
    """`value` as JSON for the ledger, redacted. Raises `LimitExceeded` naming `name`."""
    return None if value is None else _encode(value, name, tx.limits, tx.redaction)


def said(tx: Transaction, message: str | None) -> str | None:
    """An error message as it is kept."""
    return None if message is None else _message(message, tx.redaction)


def encode_step(step: NewStep, limits: Limits, redaction: Redaction, source_id: str | None = None) -> str:
    """The step as the ledger takes it, redacted. Raises `LimitExceeded` naming what is too large."""
    plain = step.model_dump(mode="json", exclude={"input", "output", "error_message"}, exclude_none=True)
    message = None if step.error_message is None else _message(step.error_message, redaction)
    plain |= {"error_message": message, "source_id": source_id}
    parts = [orjson.dumps(plain).decode()[:-1]]
    for name, value in (("input", step.input), ("output", step.output)):
        if value is not None:
            parts.append(f'"{name}":{_encode(value, name, limits, redaction)}')
    return ",".join(parts) + "}"


def _encode(value: Any, name: str, limits: Limits, redaction: Redaction) -> str:
    return encode_within(redaction.value(value), name, limits.artifact, DEPTH)


def _message(message: str, redaction: Redaction) -> str:
    return redaction.text(message)[:2_000]

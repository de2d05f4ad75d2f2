"""Whether an event is valid by the tracking plan: a decision about its text and a plan that was read before.

Checking by schemas of tenants is bounded for each value, and for all values of a request together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson

from datalane.access.analytics.schemas import HeldReason, ValidationStatus
from datalane.contracts.conformance import CheckedSchema, Fault
from datalane.errors import DatalaneError, LimitExceeded

FUTURE = timedelta(hours=24)
"""How far ahead the clock of a client may be."""
MOST_SECONDS = 2.0
"""Of the processor, for all events of one request."""
_REQUIRED = frozenset({"required", "dependentRequired"})


@dataclass(frozen=True, slots=True)
class Tracked:
    """A version of an event in the plan. Without a schema it cannot be checked by, which `trouble` says."""

    tracking_id: UUID
    is_retired: bool
    schema: CheckedSchema | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tracked under the names of a request."""

    versions: Mapping[tuple[str, int], Tracked]
    names: frozenset[str]


class Told(NamedTuple):
    """An event as it is judged and stored; `observed` and `payload` are JSON. A tuple, since there are a thousand of
    them in a batch and each column of those goes to the database at once."""

    source_event_id: str
    event_name: str
    event_version: int
    occurred_at: datetime
    subject: str
    observed: str | None
    payload: str

    def is_as(self, other: Told) -> bool:
        """Whether it is the same event, in whatever order the members of its payload stand."""
        return self[:-1] == other[:-1] and (
            self.payload == other.payload or orjson.loads(self.payload) == orjson.loads(other.payload)
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    status: ValidationStatus
    reasons: tuple[HeldReason, ...] = ()


VALID = Verdict("valid")


def judge(events: Sequence[Told], plan: Plan, oldest: timedelta, now: datetime) -> list[Verdict]:
    """One verdict for each event. What happened longer than `oldest` ago, or more than a day from now, is not taken.

    Raises `LimitExceeded` where checking takes more than `MOST_SECONDS`.
    """
    verdicts, began = [], time.thread_time()
    first, last = now - oldest, now + FUTURE
    for event in events:
        tracked = plan.versions.get((event.event_name, event.event_version))
        if tracked is None or tracked.is_retired or tracked.schema is None:
            verdict = Verdict("invalid_schema", (_untracked(event, tracked, plan),))
        else:
            verdict = _checked(event.payload, tracked.schema)
        if not first <= event.occurred_at <= last:
            verdict = Verdict(verdict.status, (*verdict.reasons, _untimely(event.occurred_at, last)))
        verdicts.append(verdict)
        if time.thread_time() - began > MOST_SECONDS:
            raise LimitExceeded(
                f"checking these {len(events):,} events by their schemas takes more than {MOST_SECONDS:g} s of the "
                "processor; send fewer at once, or simplify the schemas"
            )
    return verdicts


def _checked(payload: str, schema: CheckedSchema) -> Verdict:
    value, size = orjson.loads(payload), len(payload)
    try:
        if schema.fits_read(value, size, "the payload"):
            return VALID
        faults = schema.faults(value, "the payload")
    except DatalaneError as error:
        faults = (Fault("", str(error)),)
    status: ValidationStatus = (
        "missing_required_fields" if all(fault.keyword in _REQUIRED for fault in faults) else "invalid_schema"
    )
    return Verdict(status, tuple(_told(fault) for fault in faults))


def _told(fault: Fault) -> HeldReason:
    return HeldReason(code=fault.keyword or "schema", field=f"payload/{fault.field}".rstrip("/"), message=fault.message)


def _untracked(event: Told, tracked: Tracked | None, plan: Plan) -> HeldReason:
    if tracked is not None and not tracked.is_retired:
        return HeldReason(code="unusable_schema", field="event_version", message=tracked.trouble)
    if tracked is not None:
        message = f"version {event.event_version} of {event.event_name} is retired; send a version that is tracked"
        return HeldReason(code="retired_version", field="event_version", message=message)
    if event.event_name in plan.names:
        message = f"the tracking plan has no version {event.event_version} of {event.event_name}"
        return HeldReason(code="unknown_version", field="event_version", message=message)
    message = f"the tracking plan has no event {event.event_name}"
    return HeldReason(code="unknown_event", field="event_name", message=message)


def _untimely(occurred_at: datetime, last: datetime) -> HeldReason:
    if occurred_at > last:
        message = "it happened more than 24 hours from now, by the clock of the client"
        return HeldReason(code="from_the_future", field="occurred_at", message=message)
    message = "it happened longer ago than events are taken (access.analytics.oldest)"
    return HeldReason(code="too_old", field="occurred_at", message=message)

"""Publishing and reading events.

A publish stores the event, its ingestion record and one job per matching subscription in the caller's transaction. A
duplicate (same source system and source event id within the window) has no effect but a line in the ingestion log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson

from datalane.contracts.registry import EVENTS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.metrics import count_published
from datalane.engine.permissions import PUBLISH, READ_EVENTS
from datalane.errors import LimitExceeded
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish. `source_event_id` makes it deduplicable; `subject_id` is what it is about."""

    type: str
    payload: Any
    version: int = 1
    source_system: str = "datalane"
    source_event_id: str | None = None
    subject_id: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """`status` is `accepted` or `duplicate`; a duplicate's `event_id` is the first one's."""

    event_id: UUID
    status: Literal["accepted", "duplicate"]

    @property
    def accepted(self) -> bool:
        return self.status == "accepted"


async def publish(
    tx: Transaction,
    type: str,
    payload: Any,
    *,
    version: int = 1,
    source_system: str = "datalane",
    source_event_id: str | None = None,
    subject_id: str | None = None,
    occurred_at: datetime | None = None,
) -> Published:
    """Publish one event in this transaction.

    Raises `SchemaViolation` when the payload does not match its registered schema, `InvalidInput` for an unregistered
    type, `LimitExceeded` for size, depth or a chain of causes that is too long, `Forbidden` for a viewer.
    """
    event = NewEvent(type, payload, version, source_system, source_event_id, subject_id, occurred_at)
    return (await publish_batch(tx, [event]))[0]


async def publish_batch(
    tx: Transaction,
    events: Sequence[NewEvent],
    *,
    signature_verified: bool = False,
) -> list[Published]:
    """Publish up to `tx.limits.batch` events at once, all or none. Answers in the order given; errors as `publish`."""
    PUBLISH.check(tx.context)
    limits = tx.limits
    if len(events) > limits.batch:
        raise LimitExceeded(f"{len(events):,} events in one batch, the limit is {limits.batch:,}")
    if not events:
        return []
    payloads = [check_event(event, limits) for event in events]
    await tx.state_trace()
    rows = await _store(tx, events, payloads, signature_verified)
    tx.wake_workers()
    count_published(tx, ((event.type, row["ingestion_status"]) for event, row in zip(events, rows, strict=True)))
    return [Published(row["event_id"], row["ingestion_status"]) for row in rows]


async def _store(
    tx: Transaction, events: Sequence[NewEvent], payloads: Sequence[str], signature_verified: bool
) -> Sequence[Any]:
    """A row an event, in order. One alone goes by a verb of its own, which costs half as much."""
    context = tx.context
    said = {
        "actor_id": context.actor_id,
        "correlation_id": context.correlation_id,
        "causation_id": context.causation_id,
        "causation_depth": context.causation_depth,
        "signature_verified": signature_verified,
        "dedupe_window": tx.limits.dedupe_window,
    }
    if len(events) == 1:
        [event], [payload] = events, payloads
        stored = await _queries.publish_event(
            tx.connection,
            event_type=event.type,
            payload=payload,
            version=event.version,
            source_system=event.source_system,
            source_event_id=event.source_event_id,
            subject_id=event.subject_id,
            occurred_at=event.occurred_at,
            **said,
        )
        return [stored]
    rows: Sequence[Any] = await _queries.publish_batch(
        tx.connection,
        event_types=[event.type for event in events],
        versions=[event.version for event in events],
        payloads=payloads,
        source_systems=[event.source_system for event in events],
        source_event_ids=_column([event.source_event_id for event in events]),
        subject_ids=_column([event.subject_id for event in events]),
        occurred_ats=_column([event.occurred_at for event in events]),
        **said,
    )
    return rows


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that is not taken, by default because of its schema, or that there is none; `detail` says why."""

    type: str
    source_system: str
    source_event_id: str | None
    detail: str
    status: Literal["rejected_schema", "rejected_signature", "duplicate_suspected"] = "rejected_schema"


async def record_rejections(tx: Transaction, rejected: Sequence[Rejected]) -> None:
    """Keep events that are not taken in the ingestion log. Raises `Forbidden` for a viewer."""
    PUBLISH.check(tx.context)
    if not rejected:
        return
    await _queries.record_rejections(
        tx.connection,
        event_types=[one.type for one in rejected],
        source_systems=[one.source_system for one in rejected],
        source_event_ids=[one.source_event_id for one in rejected],
        statuses=[one.status for one in rejected],
        details=[one.detail for one in rejected],
    )
    count_published(tx, (("rejected", one.status) for one in rejected))


def check_event(event: NewEvent, limits: Limits) -> str:
    """Whether it may be published, as far as the event alone tells; answers its payload as JSON.

    Times, ids and the like are checked as the text that they become. Raises `SchemaViolation`, `InvalidInput` and
    `LimitExceeded` as `publish`.
    """
    encoded = encode_within(event.payload, "the event payload", limits.event_payload, limits.event_payload_depth)
    try:
        EVENTS.check(event.type, event.version, event.payload)
    except ValueError:
        EVENTS.check(event.type, event.version, orjson.loads(encoded))
    return encoded


def _column(values: list[Any]) -> list[Any] | None:
    """An array for the verb, or NULL when every element is the default: the verb then skips that work."""
    return values if any(value is not None for value in values) else None


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event; times are in UTC."""

    event_id: UUID
    event_type: str
    version: int
    source_system: str
    source_event_id: str
    subject_id: str | None
    actor_id: UUID
    occurred_at: datetime
    received_at: datetime
    correlation_id: str
    causation_id: UUID | None
    causation_depth: int
    payload: Any
    signature_verified: bool
    ingestion_status: str


async def get_event(tx: Transaction, event_id: UUID) -> Event | None:
    """The workspace's event, or None."""
    READ_EVENTS.check(tx.context)
    row = await _queries.get_event(tx.connection, workspace_id=tx.workspace_id, event_id=event_id)
    return None if row is None else Event(**row)

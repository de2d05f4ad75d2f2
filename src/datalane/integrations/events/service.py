"""Publishing what other systems say.

The lane's own events (`BUILT_IN`) are facts that it states itself: nobody publishes them over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from datalane.contracts.registry import BUILT_IN
from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, Published, Rejected, check_event, publish_batch, record_rejections
from datalane.errors import DatalaneError, InvalidInput, LimitExceeded
from datalane.integrations.events.schemas import (
    EventOutcome,
    EventOutcomes,
    IncomingEvent,
    PublishedEvent,
)
from datalane.kit.logs import get_logger
from datalane.settings import Limits

Refusal = InvalidInput | LimitExceeded
REFUSALS = (InvalidInput, LimitExceeded)
"""Why an event is not published: no such type, another schema, too large or too deep."""

log = get_logger(__name__)


def check_incoming(incoming: IncomingEvent, limits: Limits) -> NewEvent:
    """The event as it may be published. Raises `InvalidInput` for a type that is the lane's own or is not registered,
    and as `check_event`."""
    if incoming.event_type in BUILT_IN:
        raise InvalidInput(f"{incoming.event_type} is the lane's own to publish; register a type of yours")
    event = incoming.as_new()
    check_event(event, limits)
    return event


async def publish_event(tx: Transaction, event: NewEvent) -> PublishedEvent:
    """One checked event. Raises `Forbidden` for a viewer."""
    [published] = await publish_batch(tx, [event])
    return PublishedEvent(event_id=published.event_id, ingestion_status=published.status)


async def keep_refused(
    transaction: AbstractAsyncContextManager[Transaction], incoming: IncomingEvent, error: Refusal
) -> None:
    """Keep in sight that the event was refused, in a transaction that is not the refused one's. Raises nothing: what
    the caller is told is why the event was refused."""
    try:
        async with transaction as tx:
            await record_rejections(tx, [_rejected(incoming, error)])
    except DatalaneError as failure:
        log.warning("rejection_not_kept", event_type=incoming.event_type, error_class=failure.code)


async def publish_events(tx: Transaction, incoming: Sequence[IncomingEvent]) -> EventOutcomes:
    """Each event by itself: those that may be are published, the others are refused and kept in sight, in one
    transaction. Raises `LimitExceeded` for more than `limits.batch`, `Forbidden` for a viewer."""
    if len(incoming) > tx.limits.batch:
        raise LimitExceeded(f"{len(incoming):,} events in one batch, the limit is {tx.limits.batch:,} (limits.batch)")
    checked: list[NewEvent | Refusal] = [_checked(one, tx.limits) for one in incoming]
    published = iter(await _publish_each(tx, [one for one in checked if isinstance(one, NewEvent)]))
    outcomes = [next(published) if isinstance(one, NewEvent) else one for one in checked]
    await record_rejections(
        tx, [_rejected(one, why) for one, why in zip(incoming, outcomes, strict=True) if isinstance(why, Refusal)]
    )
    return EventOutcomes(results=[_outcome(one) for one in outcomes])


async def _publish_each(tx: Transaction, events: Sequence[NewEvent]) -> list[Published | Refusal]:
    """All at once; where the database refuses one that looked well, one by one."""
    try:
        async with tx.savepoint():
            return list(await publish_batch(tx, events))
    except REFUSALS as error:
        if len(events) == 1:
            return [error]
    return [outcome for event in events for outcome in await _publish_each(tx, [event])]


def _outcome(one: Published | Refusal) -> EventOutcome:
    if isinstance(one, Refusal):
        return EventOutcome(event_id=None, ingestion_status="rejected_schema", detail=_told(one))
    return EventOutcome(event_id=one.event_id, ingestion_status=one.status)


def _checked(incoming: IncomingEvent, limits: Limits) -> NewEvent | Refusal:
    try:
        return check_incoming(incoming, limits)
    except REFUSALS as error:
        return error


def _rejected(incoming: IncomingEvent, error: Refusal) -> Rejected:
    """The log says which fields are wrong, and nothing of what they hold."""
    fields = ", ".join(str(fault["field"]) for fault in _faults(error))
    detail = f"{error}: {fields}" if fields else str(error)
    return Rejected(incoming.event_type, incoming.source_system, incoming.source_event_id, detail)


def _told(error: Refusal) -> str:
    faults = "; ".join(f"{fault['field']}: {fault['message']}" for fault in _faults(error))
    return f"{error}: {faults}" if faults else str(error)


def _faults(error: Refusal) -> Sequence[dict[str, Any]]:
    return error.errors if isinstance(error, InvalidInput) else ()

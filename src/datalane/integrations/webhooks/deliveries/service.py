"""Asking for deliveries, looking at them, trying one now, replaying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from datalane.contracts.replay import Replayed
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.events import NewEvent, check_event, get_event
from datalane.engine.jobs import NewJob, enqueue_batch
from datalane.errors import Conflict, LimitExceeded, NotFound
from datalane.integrations.permissions import DELIVER, READ_WEBHOOKS
from datalane.integrations.webhooks.deliveries.attempts import (
    Begun,
    begin_known,
    end_attempts,
    read_targets,
    send_one,
    under_way,
)
from datalane.integrations.webhooks.deliveries.messages import write_message
from datalane.integrations.webhooks.deliveries.schemas import (
    DeliveryChoice,
    DeliveryStatus,
    NewWebhookDelivery,
    WebhookAttempt,
    WebhookAttempted,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookDeliveryPage,
)
from datalane.integrations.webhooks.deliveries.sending import Sender
from datalane.integrations.webhooks.deliveries.states import DELIVERY
from datalane.integrations.webhooks.endpoints.recovery import line_of
from datalane.integrations.webhooks.endpoints.service import DELIVER_EVENT
from datalane.kit.clock import utc_now
from datalane.kit.ids import rising_uuid7
from datalane.settings import WebhookSettings

if TYPE_CHECKING:
    from datalane.contracts.http import LateTransaction  # a worker serves nothing, and loads no web framework

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What the log is narrowed to; None is everything."""

    endpoint_id: UUID | None = None
    status: DeliveryStatus | None = None
    event_type: str | None = None
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Message:
    event_id: UUID | None
    event_type: str
    subject_id: str | None
    message_id: str
    body: str
    causation_depth: int


async def enqueue_delivery(
    tx: Transaction, new: NewWebhookDelivery, once_key: str | None = None, now: datetime | None = None
) -> WebhookDelivery:
    """Have a stored event, or a payload that matches its registered type, delivered to one endpoint. With a `once_key`
    that the endpoint knows, it is the delivery that has it.

    Raises `NotFound`, and for a payload as `check_event`.
    """
    DELIVER.check(tx.context)
    tx, at, delivery_id = tx.following(), now or utc_now(), rising_uuid7()
    target = await _queries.get_target(tx.connection, workspace_id=tx.workspace_id, endpoint_id=new.endpoint_id)
    if target is None:
        raise NotFound("no such webhook endpoint")
    message = await _message(tx, new, delivery_id, at)
    key = once_key or f"asked:{delivery_id}"
    done = await _queries.add_delivery(
        tx.connection,
        workspace_id=tx.workspace_id,
        delivery_id=delivery_id,
        endpoint_id=new.endpoint_id,
        event_id=message.event_id,
        event_type=message.event_type,
        subject_id=message.subject_id,
        message_id=message.message_id,
        body=message.body,
        once_key=key,
        correlation_id=tx.context.correlation_id,
        causation_depth=message.causation_depth,
        now=at,
    )
    if done != "INSERT 0 1":
        scope = {"workspace_id": tx.workspace_id, "endpoint_id": new.endpoint_id}
        return await _get(tx, await _queries.find_delivery(tx.connection, **scope, once_key=key))
    await enqueue_batch(tx, [_job(delivery_id, new.endpoint_id, message.subject_id, target["ordered"])])
    told = {"endpoint_id": str(new.endpoint_id), "event_type": message.event_type}
    await record(tx, "webhook_delivery.enqueued", "webhook_delivery", delivery_id, after=told)
    return await _get(tx, delivery_id)


async def get_delivery(tx: Transaction, delivery_id: UUID) -> WebhookDeliveryDetail:
    """One delivery with its attempts. Raises `NotFound`."""
    READ_WEBHOOKS.check(tx.context)
    row = await _row(tx, delivery_id)
    return WebhookDeliveryDetail(**row, attempts=await _attempts(tx, delivery_id))


async def list_deliveries(
    tx: Transaction, asked: DeliveryFilter, cursor: str | None = None, page_size: int = 25
) -> WebhookDeliveryPage:
    """The log, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_WEBHOOKS.check(tx.context)
    listing = f"webhook_deliveries:{asked}"
    rows = await _queries.list_deliveries(
        tx.connection,
        workspace_id=tx.workspace_id,
        endpoint_id=asked.endpoint_id,
        status=asked.status,
        event_type=asked.event_type,
        event_id=asked.event_id,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["delivery_id"]])
    return WebhookDeliveryPage(
        data=[WebhookDelivery(**row) for row in page], page_size=page_size, next_cursor=following
    )


async def begin_now(
    tx: Transaction, sender: Sender, delivery_id: UUID, timeout: timedelta, now: datetime | None = None
) -> Begun:
    """Begin an attempt, whenever the next one was to be.

    Raises `NotFound`, `IllegalTransition` for a delivery that has ended, `Conflict` when an attempt is under way or the
    endpoint is not enabled.
    """
    DELIVER.check(tx.context)
    at, row = now or utc_now(), await _row(tx, delivery_id)
    DELIVERY.check(row["status"], "delivered")
    targets = await read_targets(tx, sender, {row["endpoint_id"]}, at)
    target = targets.get(row["endpoint_id"])
    if target is None or not target.enabled:
        raise Conflict("the endpoint is not enabled")
    if await under_way(tx, [delivery_id], timeout, at):
        raise Conflict("an attempt of the delivery is under way; look again")
    begun = await begin_known(tx, [(row, target)], at)
    if delivery_id not in begun:
        raise Conflict("an attempt of the delivery is under way; look again")
    return begun[delivery_id]


async def attempt_now(
    late: LateTransaction,
    opened: Callable[[], AbstractAsyncContextManager[Transaction]],
    sender: Sender,
    delivery_id: UUID,
    webhooks: WebhookSettings,
) -> WebhookAttempted:
    """Try one delivery now, and tell what came of it. No connection is held meanwhile. Raises as `begin_now`."""
    async with opened() as tx:
        begun = await begin_now(tx, sender, delivery_id, webhooks.timeout)
    outcome = await send_one(sender, begun, utc_now())
    tx = (await late.begin()).following()
    await end_attempts(tx, [(begun, outcome)], webhooks, utc_now())
    attempts = await _attempts(tx, delivery_id)
    told = {"attempt": begun.attempt, "error_class": outcome.error_class}
    await record(tx, "webhook_delivery.attempted", "webhook_delivery", delivery_id, after=told)
    made = next((each for each in attempts if each.attempt == begun.attempt), None)
    if made is None:
        raise NotFound("no such webhook delivery")  # it was forgotten meanwhile
    return WebhookAttempted(delivery=await _get(tx, delivery_id), attempt=made)


async def replay(tx: Transaction, choice: DeliveryChoice, now: datetime | None = None) -> Replayed:
    """Deliver again what has ended, as new deliveries of the same message: a receiver that has it already knows its
    `webhook-id`. Up to `limits.batch` in one call.

    Raises `NotFound` for an id that names no delivery, `Conflict` for a delivery that goes on by itself, and for one
    whose endpoint was removed.
    """
    DELIVER.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    if choice.ids is not None:
        wanted = list(dict.fromkeys(choice.ids))
        await _require_ended(tx, wanted)
        if choice.dry_run:
            return Replayed.counted(len(wanted))
        return Replayed.done(len(wanted), tx.limits.batch, await _replayed(tx, wanted, at, again=True))
    assert choice.where is not None
    said = {"workspace_id": tx.workspace_id, **choice.where.model_dump()}
    matched = await _queries.count_replayable(tx.connection, **said)
    if choice.dry_run:
        return Replayed.counted(matched)
    rows = await _queries.find_replayable(tx.connection, **said, most=tx.limits.batch)
    made = await _replayed(tx, [row["delivery_id"] for row in rows], at, again=False)
    return Replayed.done(matched, tx.limits.batch, made)


async def _require_ended(tx: Transaction, wanted: Sequence[UUID]) -> None:
    if len(wanted) > tx.limits.batch:
        raise LimitExceeded(f"{len(wanted):,} deliveries in one call, the limit is {tx.limits.batch:,} (limits.batch)")
    rows = await _queries.get_standing(tx.connection, workspace_id=tx.workspace_id, delivery_ids=wanted)
    if len(rows) < len(wanted):
        raise NotFound("no such webhook delivery")
    for row in rows:
        if row["status"] not in DELIVERY.terminal:
            raise Conflict(f"a delivery is {row['status']}; it goes on by itself, or try it now")
        if row["endpoint_status"] == "removed":
            raise Conflict("the endpoint of a delivery was removed")


async def _replayed(tx: Transaction, parents: Sequence[UUID], at: datetime, *, again: bool) -> list[UUID]:
    if not parents:
        return []
    rows = await _queries.add_replays(
        tx.connection,
        workspace_id=tx.workspace_id,
        parent_ids=list(parents),
        delivery_ids=[rising_uuid7() for _ in parents],
        again=again,
        correlation_id=tx.context.correlation_id,
        now=at,
    )
    await enqueue_batch(
        tx, [_job(row["delivery_id"], row["endpoint_id"], row["subject_id"], row["ordered"]) for row in rows]
    )
    made = [row["delivery_id"] for row in rows]
    told = {"deliveries": len(made)}
    await record(
        tx, "webhook_delivery.replayed", "webhook_delivery", parents[0] if len(parents) == 1 else None, after=told
    )
    return made


def _job(delivery_id: UUID, endpoint_id: UUID, subject_id: str | None, ordered: bool) -> NewJob:
    args = {"endpoint_id": str(endpoint_id), "delivery_id": str(delivery_id)}
    order_key = line_of(endpoint_id, subject_id, ordered) if ordered else None
    return NewJob(DELIVER_EVENT, args, subject_id=subject_id, order_key=order_key)


async def _message(tx: Transaction, new: NewWebhookDelivery, delivery_id: UUID, at: datetime) -> _Message:
    if new.event_id is not None:
        event = await get_event(tx, new.event_id)
        if event is None:
            raise NotFound("no such event")
        said = (event.event_type, event.version, event.occurred_at, event.payload)
        body = write_message(*said, event_id=event.event_id, subject_id=event.subject_id)
        return _Message(
            event.event_id, event.event_type, event.subject_id, str(event.event_id), body, event.causation_depth
        )
    assert new.event_type is not None
    check_event(NewEvent(new.event_type, new.payload, new.version), tx.limits)
    body = write_message(new.event_type, new.version, at, new.payload, subject_id=new.subject_id)
    return _Message(None, new.event_type, new.subject_id, str(delivery_id), body, tx.context.causation_depth)


async def _row(tx: Transaction, delivery_id: UUID) -> Any:
    row = await _queries.get_delivery(tx.connection, workspace_id=tx.workspace_id, delivery_id=delivery_id)
    if row is None:
        raise NotFound("no such webhook delivery")
    return row


async def _get(tx: Transaction, delivery_id: UUID) -> WebhookDelivery:
    row = await _row(tx, delivery_id)
    return WebhookDelivery(**{name: row[name] for name in WebhookDelivery.model_fields})


async def _attempts(tx: Transaction, delivery_id: UUID) -> list[WebhookAttempt]:
    rows = await _queries.list_attempts(tx.connection, workspace_id=tx.workspace_id, delivery_id=delivery_id)
    return [WebhookAttempt(**row) for row in rows]

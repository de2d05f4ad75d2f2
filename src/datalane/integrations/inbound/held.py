"""Deciding on deliveries that look like one that came already: equal bodies can be two real events."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.events import publish_batch
from datalane.errors import Conflict, NotFound
from datalane.integrations.inbound.receiving import new_event
from datalane.integrations.inbound.schemas import HeldDelivery, HeldPage, HeldStatus, HeldTarget, ReleasedDelivery
from datalane.integrations.inbound.states import HELD
from datalane.integrations.permissions import DECIDE_HELD, READ_INBOUND
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)


async def list_held(
    tx: Transaction, status: HeldStatus | None = None, cursor: str | None = None, page_size: int = 25
) -> HeldPage:
    """Deliveries that are or were held, the newest first. Raises `InvalidInput` for another list's cursor."""
    READ_INBOUND.check(tx.context)
    listing = f"held:{status}"
    rows = await _queries.list_held(
        tx.connection,
        workspace_id=tx.workspace_id,
        status=status,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["held_id"]])
    return HeldPage(data=[HeldDelivery(**row) for row in page], page_size=page_size, next_cursor=following)


async def release_held(tx: Transaction, target: HeldTarget, now: datetime | None = None) -> ReleasedDelivery:
    """It is an event of its own: publish it. Raises `NotFound`, `IllegalTransition` when somebody decided already."""
    DECIDE_HELD.check(tx.context)
    tx = tx.following()
    payload = await _queries.get_held_payload(tx.connection, workspace_id=tx.workspace_id, held_id=target.held_id)
    held = await _decide(tx, target.held_id, "released", now or utc_now())
    event = new_event(held.connector_id, payload)
    [published] = await publish_batch(tx, [event], signature_verified=True)
    return ReleasedDelivery(held=held, event_id=published.event_id, ingestion_status=published.status)


async def dismiss_held(tx: Transaction, target: HeldTarget, now: datetime | None = None) -> HeldDelivery:
    """It is the same event again: drop it. Raises `NotFound`, `IllegalTransition` when somebody decided already."""
    DECIDE_HELD.check(tx.context)
    return await _decide(tx.following(), target.held_id, "dismissed", now or utc_now())


async def _decide(tx: Transaction, held_id: UUID, decision: HeldStatus, at: datetime) -> HeldDelivery:
    scope = {"workspace_id": tx.workspace_id, "held_id": held_id}
    before = await _queries.get_held(tx.connection, **scope)
    if before is None:
        raise NotFound("no such held delivery")
    HELD.check(before["status"], decision)
    done = await _queries.decide_held(
        tx.connection,
        **scope,
        sources=HELD.sources(decision),
        target=decision,
        now=at,
        actor_id=tx.context.actor_id,
    )
    if done != "UPDATE 1":
        raise Conflict("somebody else decided meanwhile; look again")
    held = HeldDelivery(**await _queries.get_held(tx.connection, **scope))
    after = {"connector_id": held.connector_id, "delivery_id": held.delivery_id, "status": held.status}
    await record(tx, f"inbound_webhook.{decision}", "held_delivery", held_id, after=after)
    return held

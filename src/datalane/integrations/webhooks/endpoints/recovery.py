"""Recovery: what was kept while an endpoint could not be sent to is delivered, in order.

The deliveries of one subject stand in one line, in the order in which their events were published, and one that fails
holds back those behind it. They are released at a bounded rate: an endpoint that is back is not knocked over by what
it missed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.jobs import NewJob, enqueue_batch
from datalane.errors import Conflict
from datalane.integrations.permissions import MANAGE_ENDPOINTS
from datalane.integrations.webhooks.endpoints.schemas import EndpointRecovery, RecoveredEndpoint
from datalane.integrations.webhooks.endpoints.service import DELIVER_EVENT, hold_endpoint
from datalane.kit.clock import utc_now

MOST_RECOVERED = 10_000
"""In one call."""

_queries = load_queries(__file__)


async def recover_endpoint(
    tx: Transaction, asked: EndpointRecovery, rate: int, now: datetime | None = None
) -> RecoveredEndpoint:
    """Release what is held, `rate` deliveries a second. A dry run counts and changes nothing.

    Raises `NotFound`, `Conflict` for an endpoint that is not enabled.
    """
    MANAGE_ENDPOINTS.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": asked.endpoint_id}
    endpoint = await hold_endpoint(tx, asked.endpoint_id)
    if asked.dry_run:
        held = await _queries.count_held(tx.connection, **scope)
        return RecoveredEndpoint(endpoint_id=asked.endpoint_id, deliveries=0, remaining=held, seconds=0)
    if endpoint["status"] != "enabled":
        raise Conflict(f"the endpoint is {endpoint['status']}; enable it first")
    released = 0
    while released < MOST_RECOVERED:
        most = min(tx.limits.batch, MOST_RECOVERED - released)
        rows = await _queries.release_held(tx.connection, **scope, most=most, now=at)
        if not rows:
            break
        jobs = [
            NewJob(
                DELIVER_EVENT,
                {"endpoint_id": str(asked.endpoint_id), "delivery_id": str(row["delivery_id"])},
                subject_id=row["subject_id"],
                run_at=at + timedelta(seconds=place / rate),
                order_key=line_of(asked.endpoint_id, row["subject_id"], endpoint["ordered"]),
            )
            for place, row in enumerate(rows, released)
        ]
        await enqueue_batch(tx, jobs)
        released += len(rows)
    if released:
        told = {"deliveries": released}
        await record(tx, "webhook_endpoint.recovered", "webhook_endpoint", asked.endpoint_id, after=told)
    return RecoveredEndpoint(
        endpoint_id=asked.endpoint_id,
        deliveries=released,
        remaining=await _queries.count_held(tx.connection, **scope),
        seconds=max(released - 1, 0) / rate,
    )


def line_of(endpoint_id: UUID, subject_id: str | None, ordered: bool) -> str | None:
    """The ordering key of a delivery; of an ordered endpoint, that in which the engine puts what is published. What is
    about nothing has no order, unless the endpoint asks for it."""
    return f"{endpoint_id}:{subject_id or ''}" if ordered or subject_id is not None else None

"""Attempts: begun in one transaction, sent outside of any, ended in another.

    begin ──> an attempt without outcome is written ──> send ──> end: outcome, next state, health of the endpoint

Whoever begins an attempt takes the delivery over: an outcome is written only while its attempt is the delivery's last
one, so that a worker that comes back late writes nothing. An attempt that is followed by another before it ended is
`lost`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, NotFound
from datalane.integrations.permissions import DELIVER
from datalane.integrations.webhooks.deliveries.decisions import Next, Outcome, decide, is_given_up
from datalane.integrations.webhooks.deliveries.metrics import count_attempts
from datalane.integrations.webhooks.deliveries.sending import Sender
from datalane.integrations.webhooks.endpoints.schemas import StatusReason
from datalane.integrations.webhooks.endpoints.service import give_up_on
from datalane.kit.standard_webhooks import Signer
from datalane.settings import WebhookSettings

queries = load_queries(__file__, "attempts.sql")
_GRACE = timedelta(seconds=15)
"""Past its timeout an attempt without an outcome is taken for lost."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint as it is when an attempt begins. `fault` is why nothing can be signed for it."""

    workspace_id: UUID
    endpoint_id: UUID
    url: str
    ordered: bool
    enabled: bool
    failing_since: datetime | None
    failures_in_a_row: int
    keys: Sequence[Signer]
    fault: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt under way. `event_id` is of what is delivered, if that is an event; its depth goes along."""

    delivery_id: UUID
    attempt: int
    failures: int
    message_id: str
    body: str
    held: bool
    event_id: UUID | None
    correlation_id: str
    causation_depth: int
    target: Target

    @classmethod
    def of(cls, row: Mapping[str, Any], target: Target) -> Begun:
        """The next attempt of a delivery as it was read."""
        said = ("delivery_id", "message_id", "body", "held", "event_id", "correlation_id", "causation_depth")
        return cls(
            attempt=row["attempt_count"] + 1,
            failures=row["failure_count"],
            target=target,
            **{name: row[name] for name in said},
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """`following` is None when the attempt was not the last one any more: its outcome is not written."""

    begun: Begun
    outcome: Outcome
    following: Next | None


async def read_targets(tx: Transaction, sender: Sender, endpoint_ids: set[UUID], now: datetime) -> dict[UUID, Target]:
    """Endpoints that are not removed, with their keys."""
    rows = await queries.read_endpoints(
        tx.connection, workspace_id=tx.workspace_id, endpoint_ids=sorted(endpoint_ids), now=now
    )
    by_id: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        by_id[row["endpoint_id"]].append(row)
    return {endpoint_id: await _target(tx, sender, endpoint_id, some) for endpoint_id, some in by_id.items()}


async def _target(tx: Transaction, sender: Sender, endpoint_id: UUID, rows: Sequence[Any]) -> Target:
    keys: Sequence[Signer] = ()
    fault = None
    try:
        keys = await sender.keys_of(tx, endpoint_id, [row["sealed"] for row in rows if row["sealed"] is not None])
    except DatalaneError as error:  # the master key is missing, or what is stored was changed
        fault = error.code
    first = rows[0]
    return Target(
        tx.workspace_id,
        endpoint_id,
        first["url"],
        first["ordered"],
        first["status"] == "enabled",
        first["failing_since"],
        first["failures_in_a_row"],
        keys,
        fault,
    )


async def under_way(
    tx: Transaction, delivery_ids: Sequence[UUID], timeout: timedelta, now: datetime
) -> Collection[UUID]:
    """Those of which somebody has begun an attempt that may still come to its end."""
    if not delivery_ids:
        return ()
    scope = {"workspace_id": tx.workspace_id, "delivery_ids": list(delivery_ids)}
    rows = await queries.under_way(tx.connection, **scope, since=now - timeout - _GRACE)
    return {row["delivery_id"] for row in rows}


async def begin_known(tx: Transaction, deliveries: Sequence[tuple[Any, Target]], now: datetime) -> dict[UUID, Begun]:
    """Begin an attempt of deliveries that were read; those that somebody else began one of since are left out."""
    DELIVER.check(tx.context)
    rows = await queries.begin_attempts(
        tx.connection,
        workspace_id=tx.workspace_id,
        delivery_ids=[row["delivery_id"] for row, _ in deliveries],
        seen_counts=[row["attempt_count"] for row, _ in deliveries],
        now=now,
    )
    begun = {row["delivery_id"] for row in rows}
    return {row["delivery_id"]: Begun.of(row, target) for row, target in deliveries if row["delivery_id"] in begun}


async def send_one(sender: Sender, begun: Begun, now: datetime) -> Outcome:
    """Outside of any transaction."""
    target = begun.target
    if target.fault is not None:
        return Outcome(target.fault)
    body, depth = begun.body.encode(), begun.causation_depth
    return await sender.send(target.workspace_id, target.url, begun.message_id, body, depth, target.keys, now)


async def end_attempts(
    tx: Transaction,
    results: Sequence[tuple[Begun, Outcome]],
    settings: WebhookSettings,
    now: datetime,
    draw: Callable[[], float] = random.random,
) -> dict[UUID, Ended]:
    """Write outcomes, and what is next. An endpoint that is gone or has failed for too long is disabled."""
    DELIVER.check(tx.context)
    disabled = await _note_health(tx, results, settings, now)
    ends = [
        (begun, outcome, _following(begun, outcome, disabled[begun.target.endpoint_id], settings, draw()))
        for begun, outcome in results
    ]
    rows = await queries.end_attempts(
        tx.connection,
        workspace_id=tx.workspace_id,
        delivery_ids=[begun.delivery_id for begun, _, _ in ends],
        attempts=[begun.attempt for begun, _, _ in ends],
        outcomes=["delivered" if outcome.delivered else "failed" for _, outcome, _ in ends],
        status_codes=[outcome.status_code for _, outcome, _ in ends],
        latencies=[outcome.latency_ms for _, outcome, _ in ends],
        excerpts=[outcome.excerpt for _, outcome, _ in ends],
        error_classes=[outcome.error_class for _, outcome, _ in ends],
        counts=[outcome.counts for _, outcome, _ in ends],
        statuses=[following.status for _, _, following in ends],
        helds=[following.held for _, _, following in ends],
        next_attempt_ats=[None if following.pause is None else now + following.pause for _, _, following in ends],
        disableds=[disabled[begun.target.endpoint_id] for begun, _, _ in ends],
        now=now,
    )
    written = {row["delivery_id"] for row in rows}
    count_attempts(tx, [outcome.error_class for begun, outcome, _ in ends if begun.delivery_id in written])
    return {
        begun.delivery_id: Ended(begun, outcome, following if begun.delivery_id in written else None)
        for begun, outcome, following in ends
    }


def _following(begun: Begun, outcome: Outcome, disabled: bool, settings: WebhookSettings, draw: float) -> Next:
    """What was held, and is tried by hand, goes on being held when it fails."""
    return decide(begun.failures, outcome, disabled or begun.held, settings, draw)


async def _note_health(
    tx: Transaction, results: Sequence[tuple[Begun, Outcome]], settings: WebhookSettings, now: datetime
) -> Mapping[UUID, bool]:
    """Whether each endpoint is disabled. One after the other in the order of their ids, so that two workers never wait
    for one another."""
    by_endpoint: dict[UUID, list[tuple[Begun, Outcome]]] = defaultdict(list)
    for begun, outcome in results:
        by_endpoint[begun.target.endpoint_id].append((begun, outcome))
    return {
        endpoint_id: await _note_one(tx, endpoint_id, some, settings, now)
        for endpoint_id, some in sorted(by_endpoint.items())
    }


async def _note_one(
    tx: Transaction,
    endpoint_id: UUID,
    results: Sequence[tuple[Begun, Outcome]],
    settings: WebhookSettings,
    now: datetime,
) -> bool:
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": endpoint_id}
    counted = [(begun, outcome) for begun, outcome in results if outcome.counts]
    if not counted:
        return False
    gone = [begun for begun, outcome in counted if outcome.gone]
    if not gone and any(outcome.delivered for _, outcome in counted):
        await queries.note_success(tx.connection, **scope, now=now)
        return False
    row = await queries.note_failures(tx.connection, **scope, failures=len(counted), now=now)
    if gone:
        return await _give_up(tx, gone[0], "gone", now)
    if row is None or row["status"] != "enabled":
        return True
    if is_given_up(row["failing_since"], row["failures_in_a_row"], now, settings):
        return await _give_up(tx, counted[-1][0], "failures", now)
    return False


async def _give_up(tx: Transaction, begun: Begun, reason: StatusReason, now: datetime) -> bool:
    """Because of what was delivered. At the limit of causes it goes no deeper, and the endpoint is disabled as well."""
    depth = min(begun.causation_depth + 1, tx.limits.causation_depth)
    cause = replace(tx.context, correlation_id=begun.correlation_id).caused_by(begun.event_id, depth)
    with suppress(NotFound):  # it was removed meanwhile
        await give_up_on(tx.acting_as(cause), begun.target.endpoint_id, reason, now)
    return True

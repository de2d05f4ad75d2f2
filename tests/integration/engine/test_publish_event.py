"""One event by the verb for one is what it is by the verb for many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.integration.engine.lab import Lab, after

from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.errors import Forbidden, InvalidInput, LimitExceeded

DAY = 86_400.0
Said = tuple[str, dict[str, Any], str | None, str | None, float]
"""Type, payload, source event id, subject, and when it comes in seconds."""
Publish = Callable[[Transaction, Said], Awaitable[str]]

SAID: Sequence[Said] = (
    ("thing.happened", {}, None, None, 0),
    ("thing.happened", {"a": 1}, "a", "s1", 1),
    ("thing.happened", {"a": 2}, "a", "s1", 2),
    ("thing.happened", {"a": 3}, "b", "s2", 3),
    ("invoice.paid", {"invoice": 7}, "a", "s1", 4),
    ("invoice.paid", {"invoice": 8}, None, "s1", 5),
    ("webhook.received", {"headers": {}}, None, None, 6),
    ("thing.happened", {}, "a", None, 31 * DAY),
    ("thing.happened", {}, "a", None, 31 * DAY + 1),
)
SUBSCRIPTIONS = """
INSERT INTO datalane.subscriptions (workspace_id, event_type, kind, args, ordered, enabled, line) VALUES
    ($1, 'thing.happened', 'plain', '{"of": "one"}', false, true, NULL),
    ($1, 'thing.happened', 'plain', '{"of": "another"}', false, true, NULL),
    ($1, 'thing.happened', 'in_order', '{}', true, true, NULL),
    ($1, '*', 'everything', '{}', false, true, NULL),
    ($1, '*', 'everything_in_order', '{}', true, true, $1),
    ($1, 'webhook.received', 'everything_in_order', '{}', true, true, $1),
    ($1, 'invoice.paid', 'off', '{}', false, false, NULL)
"""
LEFT = {
    "events": """
        SELECT event_type, version, source_system, source_event_id = event_id::text AS own, subject_id, occurred_at,
               received_at, correlation_id, causation_id, causation_depth, payload, signature_verified
        FROM datalane.events ORDER BY received_at""",
    "ingestion": """
        SELECT i.event_type, i.source_system, i.source_event_id, i.ingestion_status, i.received_at, i.correlation_id,
               i.ingestion_id = i.event_id AS own, e.received_at AS first
        FROM datalane.event_ingestion i JOIN datalane.events e USING (workspace_id, event_id) ORDER BY i.received_at""",
    "jobs": """
        SELECT j.kind, j.subject_id, j.args - 'event_id' AS args, j.shelf, j.priority, j.max_attempts, j.queued_at,
               j.next_retry_at, j.order_key IS NULL AS plain, j.order_seq, j.correlation_id, j.causation_depth,
               e.received_at AS cause, j.idempotency_key IS NULL AS keyless, j.actor_id = e.actor_id AS by
        FROM datalane.jobs j
        JOIN datalane.events e ON e.workspace_id = j.workspace_id AND e.event_id = j.causation_id
            AND e.event_id::text = j.args->>'event_id'
        ORDER BY j.queued_at, j.kind, j.args->>'of'""",
}


async def by_one(tx: Transaction, said: Said) -> str:
    status = await tx.fetchval(
        "SELECT ingestion_status FROM datalane.publish_event($1, $2, 1, 'shop', $3, $4, NULL, causation_depth => 2, "
        "signature_verified => true, now => $5)",
        *_values(said),
    )
    return str(status)


async def by_many(tx: Transaction, said: Said) -> str:
    status = await tx.fetchval(
        "SELECT ingestion_status FROM datalane.publish_batch(ARRAY[$1], ARRAY[1], ARRAY[$2::jsonb], ARRAY['shop'], "
        "ARRAY[$3], ARRAY[$4], causation_depth => 2, signature_verified => true, now => $5)",
        *_values(said),
    )
    return str(status)


def _values(said: Said) -> tuple[str, dict[str, Any], str | None, str | None, datetime]:
    event_type, payload, source_event_id, subject_id, seconds = said
    return event_type, payload, source_event_id, subject_id, after(seconds)


async def published(lab: Lab, context: Context, publish: Publish) -> dict[str, Any]:
    """What each answered, and all that it left."""
    async with lab.database.transaction(context) as tx:
        await tx.execute(SUBSCRIPTIONS, context.workspace_id)
    statuses = []
    for said in SAID:
        async with lab.database.transaction(context) as tx:
            statuses.append(await publish(tx, said))
    left = {name: [dict(row) for row in await lab.rows(context, query)] for name, query in LEFT.items()}
    return {"statuses": statuses, **left}


async def test_it_leaves_what_the_verb_for_many_leaves(lab: Lab, context: Context, other_context: Context) -> None:
    await lab.handle("thing.happened", "on_thing")
    await lab.handle("invoice.paid", "on_paid_in_order", ordered=True)
    one = await published(lab, context, by_one)
    many = await published(lab, replace(other_context, correlation_id=context.correlation_id), by_many)
    accepted, duplicate = "accepted", "duplicate"
    assert one["statuses"] == [*(accepted, accepted, duplicate, accepted, duplicate), *[accepted] * 3, duplicate]
    assert {job["kind"] for job in one["jobs"]} == {
        *("plain", "in_order", "everything", "everything_in_order", "on_thing", "on_paid_in_order")
    }
    assert one == many


@pytest.mark.parametrize(
    ("role", "said", "error", "words"),
    [
        (Role.VIEWER, {}, Forbidden, "member or above"),
        (Role.MEMBER, {"event_type": "nobody.said"}, InvalidInput, "nobody.said version 1 is not registered"),
        (Role.MEMBER, {"version": 2}, InvalidInput, "thing.happened version 2 is not registered"),
        (Role.MEMBER, {"depth": 17}, LimitExceeded, "causation depth 17"),
        (Role.MEMBER, {"payload": {"a": "x" * 300_000}}, LimitExceeded, "limit of 262144 bytes"),
    ],
)
async def test_it_refuses_what_the_verb_for_many_refuses_and_leaves_nothing(
    lab: Lab, context: Context, role: Role, said: dict[str, Any], error: type[Exception], words: str
) -> None:
    event_type, version = said.get("event_type", "thing.happened"), said.get("version", 1)
    payload, depth = said.get("payload", {}), said.get("depth", 0)
    with pytest.raises(error, match=words):
        await lab.rows(
            replace(context, role=role),
            "SELECT event_id FROM datalane.publish_event($1, $2, $3, source_event_id => 'a', causation_depth => $4)",
            *(event_type, payload, version, depth),
        )
    assert await lab.count(context, "datalane.event_ingestion") == 0

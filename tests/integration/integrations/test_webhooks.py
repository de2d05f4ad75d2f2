"""Webhooks: what is published reaches the endpoints of the workspace, signed, and every attempt is on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.integration.engine.lab import Undone, eventually, somebody_waits, undo
from tests.integration.integrations.connecting import connect
from tests.integration.integrations.hooks import Hooks, register_types
from tests.integration.integrations.sink import Sink, Taken, answer, listening

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.engine.events import publish
from datalane.engine.jobs import cancel_jobs, replay_jobs
from datalane.integrations.webhooks.deliveries.schemas import DeliveryChoice
from datalane.integrations.webhooks.deliveries.service import replay
from datalane.integrations.webhooks.endpoints import service
from datalane.integrations.webhooks.endpoints.schemas import WebhookEndpointChange, WebhookSecretRotation
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.standard_webhooks import TIMESTAMP, read_verifier, verify


@pytest.fixture
async def hooks(database: Database, context: Context) -> Hooks:
    await register_types(database)
    return Hooks.of(database, context)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with listening() as opened:
        yield opened


async def test_an_event_is_delivered_signed_and_recorded(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    assert made.secret is not None
    sink.reply = answer(200, b"thanks\x00 \xff")
    [event_id] = await hooks.pay(7, subject="order 7")
    async with hooks.working():
        [delivery] = await hooks.until(1)
        await hooks.until_idle()
    [taken] = sink.taken
    assert Webhook(made.secret).verify(taken.body, taken.headers)["data"] == {"invoice": 7}
    assert taken.headers["content-type"] == "application/json"
    assert taken.message_id == delivery.message_id == str(event_id)
    message = taken.message
    assert (message["type"], message["event_id"], message["subject_id"]) == ("invoice.paid", str(event_id), "order 7")
    assert message["version"] == 1
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
    [attempt] = delivery.attempts
    assert (attempt.outcome, attempt.status_code, attempt.error_class) == ("delivered", 200, None)
    assert attempt.response_excerpt == "thanks\ufffd \ufffd"
    assert attempt.latency_ms is not None
    assert attempt.latency_ms > 0
    assert delivery.body == taken.body.decode()
    assert (await hooks.endpoint(made.endpoint.endpoint_id)).last_success_at is not None


async def test_every_attempt_sends_the_same_bytes_under_the_same_id_with_a_new_moment(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    replies = iter([answer(500, b"not now"), answer(503), answer(200)])
    sink.reply = lambda taken, writer: next(replies)(taken, writer)
    await hooks.pay(7)
    async with hooks.working():
        [delivery] = await hooks.until(1)
    assert len({taken.body for taken in sink.taken}) == len({taken.message_id for taken in sink.taken}) == 1
    assert [attempt.error_class for attempt in delivery.attempts] == ["server_error", "server_error", None]
    assert delivery.attempts[0].response_excerpt == "not now"
    assert (delivery.attempt_count, delivery.failure_count) == (3, 2)
    assert made.secret is not None
    for taken in sink.taken:
        assert Webhook(made.secret).verify(taken.body, taken.headers)
        assert int(taken.headers[TIMESTAMP]) > 0


async def test_a_delivery_that_fails_to_the_end_is_a_dead_letter_and_its_job_is_not(hooks: Hooks, sink: Sink) -> None:
    await hooks.create(sink.url, "*")
    sink.reply = answer(400)
    await hooks.pay(7)
    async with hooks.working():
        [delivery] = await hooks.until(1, "dead_letter")
        await hooks.until_idle()
    assert [attempt.error_class for attempt in delivery.attempts] == ["client_error"] * 4
    assert delivery.ended_at is not None
    assert delivery.next_attempt_at is None
    assert not await hooks.rows("SELECT FROM datalane.events WHERE event_type = 'job.dead_lettered'")


async def test_an_endpoint_gets_its_types_and_a_star_all_but_those_of_webhooks(hooks: Hooks, sink: Sink) -> None:
    paid = await hooks.create(sink.url + "/paid", "invoice.paid")
    await hooks.create(sink.url + "/all", "*")
    for ordered in (False, True):
        await hooks.create(sink.url + f"/all-{ordered}", "*", ordered=ordered)
    await hooks.pay(1)
    await hooks.pay(2, event_type="invoice.sent")
    await hooks.switch(paid.endpoint.endpoint_id, on=False)  # publishes webhook.endpoint_disabled
    async with hooks.working():
        await hooks.until_idle()
    got = sorted((taken.path, taken.message["type"]) for taken in sink.taken)
    everything = [(f"/hook/all{more}", kind) for more in ("", "-False", "-True") for kind in ("paid", "sent")]
    assert got == [(path, f"invoice.{kind}") for path, kind in everything]


async def test_what_becomes_of_an_endpoint_is_not_told_to_itself(hooks: Hooks, sink: Sink) -> None:
    watching = await hooks.create(sink.url + "/watching", "webhook.endpoint_disabled")
    other = await hooks.create(sink.url + "/other")
    await hooks.switch(other.endpoint.endpoint_id, on=False)
    await hooks.switch(watching.endpoint.endpoint_id, on=False)
    await hooks.switch(watching.endpoint.endpoint_id, on=True)
    async with hooks.working():
        await hooks.until_idle()
    assert [(taken.path, taken.message["data"]["endpoint_id"]) for taken in sink.taken] == [
        ("/hook/watching", str(other.endpoint.endpoint_id))
    ]


async def test_types_that_are_changed_are_those_of_the_next_event(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url, "invoice.paid")
    change = WebhookEndpointChange(endpoint_id=made.endpoint.endpoint_id, version=1, event_types=["invoice.sent"])
    async with hooks.database.transaction(hooks.admin) as tx:
        changed = await service.change_endpoint(tx, change)
    assert changed.event_types == ["invoice.sent"]
    assert changed.version == 2
    await hooks.pay(1)
    await hooks.pay(2, event_type="invoice.sent")
    async with hooks.working():
        await hooks.until(1)
        await hooks.until_idle()
    assert [taken.message["data"]["invoice"] for taken in sink.taken] == [2]


async def test_while_a_secret_is_changed_both_verify_and_then_the_new_one_alone(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    rotation = WebhookSecretRotation(endpoint_id=made.endpoint.endpoint_id)
    async with hooks.database.transaction(hooks.admin) as tx:
        rotated = await service.rotate_secret(tx, rotation, timedelta(hours=24))
    assert made.secret is not None
    assert rotated.secret is not None
    assert made.secret != rotated.secret
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1)
    for secret in (made.secret, rotated.secret):
        assert Webhook(secret).verify(sink.taken[0].body, sink.taken[0].headers)
    long_ago = utc_now() - timedelta(hours=25)
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute("UPDATE datalane.webhook_secrets SET ends_at = $1 WHERE ends_at IS NOT NULL", long_ago)
    await hooks.pay(2)
    async with hooks.working():
        await hooks.until(2)
    assert Webhook(rotated.secret).verify(sink.taken[1].body, sink.taken[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made.secret).verify(sink.taken[1].body, sink.taken[1].headers)


async def test_an_endpoint_of_ed25519_shows_its_public_key_and_no_secret(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url, signing="ed25519")
    assert made.secret is None
    [first] = made.endpoint.public_keys
    async with hooks.database.transaction(hooks.admin) as tx:
        rotation = WebhookSecretRotation(endpoint_id=made.endpoint.endpoint_id)
        rotated = await service.rotate_secret(tx, rotation, timedelta(hours=24))
    assert rotated.secret is None
    assert rotated.endpoint.public_keys[1] == first
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1)
    [taken] = sink.taken
    for key in rotated.endpoint.public_keys:
        assert verify(taken.headers, taken.body, [read_verifier(key)], datetime.now(UTC)) == taken.message_id


async def test_no_secret_is_in_the_database_in_the_clear(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    assert made.secret is not None
    [row] = await hooks.rows("SELECT sealed FROM datalane.webhook_secrets")
    assert made.secret.encode() not in row["sealed"]
    audit = await hooks.rows("SELECT after::text AS told FROM datalane.audit_details WHERE after IS NOT NULL")
    assert audit
    assert all(made.secret not in line["told"] for line in audit)


async def test_an_ordered_endpoint_gets_the_events_of_a_subject_one_after_the_other(hooks: Hooks, sink: Sink) -> None:
    """Over its types; one that fails holds back those behind it, and no other subject."""
    await hooks.create(sink.url, "invoice.paid", "invoice.sent", ordered=True)
    failed: set[str] = set()

    async def fail_once(taken: Taken, writer: asyncio.StreamWriter) -> None:
        fails = taken.message["subject_id"] == "a" and taken.message_id not in failed
        failed.add(taken.message_id)
        await answer(500 if fails else 200)(taken, writer)

    sink.reply = fail_once
    for invoice in range(6):
        await hooks.pay(invoice, subject="a", event_type=("invoice.paid", "invoice.sent")[invoice % 2])
        await hooks.pay(invoice, subject="b")
    async with hooks.working():
        await hooks.until(12)
    of_a = [each.message["data"]["invoice"] for each in sink.taken if each.message["subject_id"] == "a"]
    assert of_a == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [each.message["data"]["invoice"] for each in sink.taken if each.message["subject_id"] == "b"] == [*range(6)]


async def test_an_event_that_is_rolled_back_is_not_delivered(hooks: Hooks, sink: Sink) -> None:
    await hooks.create(sink.url)
    with pytest.raises(Undone):
        await undo(hooks.database, hooks.admin, lambda tx: publish(tx, "invoice.paid", {"invoice": 1}))
    await hooks.pay(2)
    async with hooks.working():
        await hooks.until(1)
    assert [taken.message["data"]["invoice"] for taken in sink.taken] == [2]


async def test_a_thousand_events_while_disabled_are_kept_and_recovered_in_order(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    endpoint_id = made.endpoint.endpoint_id
    await hooks.switch(endpoint_id, on=False)
    await hooks.pay(*range(1_000), subject=lambda invoice: f"order {invoice % 50}")
    async with hooks.working():
        await hooks.until_idle()
        kept = await hooks.rows(
            "SELECT status, held, attempt_count, count(*) FROM datalane.webhook_deliveries GROUP BY 1, 2, 3"
        )
        assert [tuple(row) for row in kept] == [("pending", True, 0, 1_000)]
        assert sink.taken == []
        await hooks.switch(endpoint_id, on=True)
        assert (await hooks.recover(endpoint_id, dry_run=True)).remaining == 1_000
        recovered = await hooks.recover(endpoint_id)
        assert (recovered.deliveries, recovered.remaining) == (1_000, 0)
        await sink.until(1_000, patience=120)
        await hooks.until_idle()
    states = await hooks.rows("SELECT status, attempt_count, count(*) FROM datalane.webhook_deliveries GROUP BY 1, 2")
    assert [tuple(row) for row in states] == [("delivered", 1, 1_000)]
    for order in range(50):
        got = [each.message["data"]["invoice"] for each in sink.taken if each.message["subject_id"] == f"order {order}"]
        assert got == list(range(order, 1_000, 50))
    assert (await hooks.recover(endpoint_id)).deliveries == 0


async def test_what_is_held_is_released_at_a_bounded_rate(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    await hooks.switch(made.endpoint.endpoint_id, on=False)
    await hooks.pay(*range(5))
    async with hooks.working():
        await hooks.until(5, "pending", held=True)
    await hooks.switch(made.endpoint.endpoint_id, on=True)
    slow = Hooks.of(hooks.database, hooks.admin, recovery_rate=2)
    assert (await slow.recover(made.endpoint.endpoint_id)).seconds == 2
    rows = await hooks.rows("SELECT next_retry_at FROM datalane.jobs ORDER BY next_retry_at")
    times = [row["next_retry_at"] for row in rows]
    assert [(each - times[0]).total_seconds() for each in times[1:]] == pytest.approx([0.5, 1, 1.5, 2], abs=0.02)


async def test_an_ordered_endpoint_that_is_back_gets_nothing_before_what_it_missed(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url, ordered=True)
    endpoint_id = made.endpoint.endpoint_id
    await hooks.switch(endpoint_id, on=False)
    await hooks.pay(1, 2, subject="a")
    async with hooks.working():
        await hooks.until(2, "pending", held=True)
        await hooks.switch(endpoint_id, on=True)
        await hooks.pay(3, subject="a")
        await hooks.pay(9, subject="b")
        await sink.until(1)
        await hooks.until_idle()
        assert [taken.message["data"]["invoice"] for taken in sink.taken] == [9]
        assert (await hooks.recover(endpoint_id)).deliveries == 3
        await hooks.until(4)
    assert [taken.message["data"]["invoice"] for taken in sink.taken] == [9, 1, 2, 3]


async def test_endpoints_of_a_revoked_connector_are_paused(hooks: Hooks, sink: Sink) -> None:
    connector_id = (await connect(hooks.database, hooks.admin)).connector_id
    made = await hooks.create(sink.url, connector_id=connector_id)
    other = await hooks.create(sink.url)
    async with hooks.database.transaction(hooks.admin) as tx:
        assert await service.pause_for_connector(tx, connector_id) == [made.endpoint.endpoint_id]
    paused = await hooks.endpoint(made.endpoint.endpoint_id)
    assert (paused.status, paused.status_reason) == ("paused", "connector_revoked")
    assert (await hooks.endpoint(other.endpoint.endpoint_id)).status == "enabled"


async def test_an_endpoint_that_is_disabled_meanwhile_does_not_keep_its_connector_from_being_revoked(
    hooks: Hooks, sink: Sink
) -> None:
    connector_id = (await connect(hooks.database, hooks.admin)).connector_id
    made = await hooks.create(sink.url, connector_id=connector_id)

    async def pause() -> list[UUID]:
        async with hooks.database.transaction(hooks.admin) as tx:
            return await service.pause_for_connector(tx, connector_id)

    async with hooks.database.transaction(hooks.admin) as tx:
        await service.disable_endpoint(tx, made.endpoint.endpoint_id)
        pausing = asyncio.create_task(pause())
        await somebody_waits(tx)
    assert await pausing == []
    assert (await hooks.endpoint(made.endpoint.endpoint_id)).status_reason == "admin"


async def test_a_delivery_whose_job_is_canceled_is_a_dead_letter_that_can_be_replayed(hooks: Hooks, sink: Sink) -> None:
    await hooks.create(sink.url)
    sink.reply = answer(500, retry_after="600")
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1, "failed")
        jobs = await cancel_waiting(hooks)
        [delivery] = await hooks.until(1, "dead_letter")
        assert (delivery.last_error_class, delivery.next_attempt_at) == ("canceled", None)
        sink.reply = answer(200)
        async with hooks.database.transaction(hooks.admin) as tx:
            assert await replay_jobs(tx, jobs)
            asked = DeliveryChoice(ids=[delivery.delivery_id])
            assert (await replay(tx, asked)).replayed == 1
        await sink.until(2)
        await hooks.until(2, "dead_letter", "delivered")
    assert len(sink.taken) == 2


async def test_what_is_said_of_a_job_that_goes_on_ends_no_delivery(hooks: Hooks, sink: Sink) -> None:
    """A member with SQL of their own can publish that a job is a dead letter."""
    await hooks.create(sink.url)
    sink.reply = answer(500, retry_after="600")
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1, "failed")
        [job] = await hooks.rows("SELECT id FROM datalane.jobs WHERE kind = 'webhook.deliver'")
        said = {"job_id": str(job["id"]), "kind": "webhook.deliver", "reason": "canceled", "attempt_count": 1}
        async with hooks.database.transaction(hooks.admin) as tx:
            await publish(tx, "job.dead_lettered", {**said, "error_class": None})

        async def settled() -> bool:
            return bool(await hooks.rows("SELECT FROM datalane.job_history WHERE kind = 'webhook.settle'"))

        await eventually(settled)
    [delivery] = await hooks.deliveries()
    assert (delivery.status, delivery.last_error_class, delivery.ended_at) == ("failed", "server_error", None)


async def test_a_canceled_delivery_has_its_end_at_the_limit_of_causes_too(hooks: Hooks, sink: Sink) -> None:
    await hooks.create(sink.url)
    sink.reply = answer(500, retry_after="600")
    async with hooks.database.transaction(hooks.admin.caused_by(uuid7(), hooks.settings.limits.causation_depth)) as tx:
        await publish(tx, "invoice.paid", {"invoice": 1})
    async with hooks.working():
        await hooks.until(1, "failed")
        await cancel_waiting(hooks)
        [delivery] = await hooks.until(1, "dead_letter")
    assert delivery.last_error_class == "canceled"
    depths = await hooks.rows("SELECT causation_depth FROM datalane.events WHERE event_type = 'job.dead_lettered'")
    assert [row["causation_depth"] for row in depths] == [17]


async def cancel_waiting(hooks: Hooks) -> list[UUID]:
    """Cancel the job that waits for the next attempt of its delivery."""

    async def waiting() -> list[UUID]:
        sql = "SELECT id FROM datalane.jobs WHERE kind = 'webhook.deliver' AND status = 'retrying'"
        return [row["id"] for row in await hooks.rows(sql)]

    jobs = await eventually(waiting)
    async with hooks.database.transaction(hooks.admin) as tx:
        assert await cancel_jobs(tx, jobs) == 1
    return jobs


async def test_what_came_of_an_attempt_is_written_though_its_endpoint_was_removed(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    answering = asyncio.Event()

    async def when_told(taken: Taken, writer: asyncio.StreamWriter) -> None:
        await answering.wait()
        await answer(200)(taken, writer)

    sink.reply = when_told
    await hooks.pay(1)
    async with hooks.working():
        await sink.until(1)
        async with hooks.database.transaction(hooks.admin) as tx:
            assert (await service.remove_endpoint(tx, made.endpoint.endpoint_id)).dead_letters == 1
        answering.set()
        await hooks.until_idle()
    [delivery] = await hooks.deliveries()
    assert (delivery.status, delivery.last_error_class) == ("dead_letter", "endpoint_removed")
    assert [(attempt.outcome, attempt.status_code) for attempt in delivery.attempts] == [("delivered", 200)]

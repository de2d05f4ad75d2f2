"""Who begins an attempt takes the delivery over, and who comes back late writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.engine.lab import LEASE, Lab
from tests.integration.integrations.hooks import Hooks, register_types

from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.actions import Actions
from datalane.engine.handlers import Handlers
from datalane.engine.jobs import cancel_jobs
from datalane.engine.registration import register
from datalane.integrations.runtime import Integrations, make_integrations
from datalane.integrations.webhooks.deliveries.attempts import (
    Begun,
    Ended,
    begin_known,
    end_attempts,
    queries,
    read_targets,
)
from datalane.integrations.webhooks.deliveries.decisions import Outcome
from datalane.integrations.webhooks.deliveries.schemas import NewWebhookDelivery, WebhookDelivery
from datalane.integrations.webhooks.deliveries.service import enqueue_delivery
from datalane.kit.clock import utc_now

NOBODY = "http://127.0.0.1:9/"
TAKEN, REFUSED = Outcome(None, 204), Outcome("server_error", 500)


@pytest.fixture
async def hooks(database: Database, context: Context) -> Hooks:
    await register_types(database)
    return Hooks.of(database, context)


@pytest.fixture
async def integrations(hooks: Hooks) -> AsyncIterator[Integrations]:
    made = make_integrations(hooks.settings, Actions())
    yield made
    await made.aclose()


@pytest.fixture
async def delivery(hooks: Hooks) -> WebhookDelivery:
    endpoint_id = (await hooks.create(NOBODY)).endpoint.endpoint_id
    new = NewWebhookDelivery(endpoint_id=endpoint_id, event_type="invoice.paid", payload={"invoice": 1})
    async with hooks.database.transaction(hooks.admin) as tx:
        return await enqueue_delivery(tx, new)


async def begin(hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery) -> Begun | None:
    """As a worker does that has the delivery's job."""
    async with hooks.database.transaction(hooks.admin) as tx:
        targets = await read_targets(tx, integrations.webhooks.sender, {delivery.endpoint_id}, utc_now())
        [row] = await queries.read_deliveries(
            tx.connection,
            workspace_id=tx.workspace_id,
            delivery_ids=[delivery.delivery_id],
            endpoint_ids=[],
            once_keys=[],
        )
        begun = await begin_known(tx, [(row, targets[delivery.endpoint_id])], utc_now())
        return begun.get(delivery.delivery_id)


async def end(hooks: Hooks, begun: Begun, outcome: Outcome) -> Ended:
    async with hooks.database.transaction(hooks.admin) as tx:
        ended = await end_attempts(tx, [(begun, outcome)], hooks.settings.webhooks, utc_now())
        return ended[begun.delivery_id]


@pytest.mark.parametrize(("late", "first"), [(REFUSED, TAKEN), (TAKEN, REFUSED), (REFUSED, REFUSED)])
async def test_a_worker_that_comes_back_late_writes_nothing(
    hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery, late: Outcome, first: Outcome
) -> None:
    stale = await begin(hooks, integrations, delivery)
    current = await begin(hooks, integrations, delivery)
    assert stale is not None
    assert current is not None
    assert (await end(hooks, current, first)).following is not None
    before = await hooks.deliveries()
    assert (await end(hooks, stale, late)).following is None
    assert await hooks.deliveries() == before
    assert [each.outcome for each in before[0].attempts] == ["lost", "delivered" if first.delivered else "failed"]
    assert before[0].failure_count == int(not first.delivered)


async def test_an_outcome_is_written_once(hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery) -> None:
    begun = await begin(hooks, integrations, delivery)
    assert begun is not None
    assert (await end(hooks, begun, TAKEN)).following is not None
    assert (await end(hooks, begun, REFUSED)).following is None
    assert await begin(hooks, integrations, delivery) is None
    [ended] = await hooks.deliveries()
    assert (ended.status, ended.attempt_count) == ("delivered", 1)


@pytest.mark.parametrize("back", [True, False])
async def test_what_a_recovery_released_while_it_was_tried_is_not_held_again_unless_its_endpoint_is_off(
    hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery, back: bool
) -> None:
    async with hooks.database.transaction(hooks.admin) as tx:
        held = [delivery.delivery_id]
        await queries.hold_deliveries(tx.connection, workspace_id=tx.workspace_id, delivery_ids=held, now=utc_now())
    begun = await begin(hooks, integrations, delivery)
    assert begun is not None
    assert (await hooks.recover(delivery.endpoint_id)).deliveries == 1
    if not back:
        await hooks.switch(delivery.endpoint_id, on=False)
    await end(hooks, begun, REFUSED)
    [after] = await hooks.deliveries()
    assert (after.status, after.held, after.next_attempt_at) == ("failed", not back, None)


async def test_a_changed_url_is_that_of_the_next_attempt(
    hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery
) -> None:
    first = await begin(hooks, integrations, delivery)
    assert first is not None
    assert first.target.url == NOBODY
    await end(hooks, first, REFUSED)
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute("UPDATE datalane.webhook_endpoints SET url = 'https://example.com/'")
    second = await begin(hooks, integrations, delivery)
    assert second is not None
    assert (second.target.url, second.body) == ("https://example.com/", first.body)


@pytest.mark.parametrize("how", ["canceled", "rescued_too_often"])
async def test_an_attempt_whose_worker_was_lost_is_lost_when_its_job_ends(
    hooks: Hooks, integrations: Integrations, delivery: WebhookDelivery, how: str
) -> None:
    assert await begin(hooks, integrations, delivery) is not None
    handlers = Handlers()
    integrations.register(handlers, hooks.database)
    await register(hooks.database, {}, handlers.events, list(EVENTS))
    async with Lab.opened(hooks.database) as lab:
        job = await lab.claim_one("webhook.deliver", now=None)
        if how == "canceled":
            async with hooks.database.transaction(hooks.admin) as tx:
                assert await cancel_jobs(tx, [job.id]) == 1
        else:
            await lab.extend(job, now=None)
            assert await lab.rescue(bound=0, now=utc_now() + 2 * LEASE) == 1
    async with hooks.working():
        [ended] = await hooks.until(1, "dead_letter")
    [attempt] = ended.attempts
    assert ended.last_error_class == ("canceled" if how == "canceled" else "lease_lost")
    assert (attempt.outcome, attempt.error_class, attempt.ended_at) == ("lost", "worker_lost", ended.ended_at)

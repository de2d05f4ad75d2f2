"""A lane that sends webhooks to itself stops at the depth of causes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from standardwebhooks import Webhook
from tests.integration.api.conftest import Person
from tests.integration.engine.lab import eventually
from tests.integration.integrations.hooks import HERE, Hooks
from tests.integration.integrations.sink import Sink, Taken, answer, listening
from tests.integration.integrations.test_inbound import LOG, OPEN, register

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.integrations.webhooks.deliveries.schemas import DeliveryChoice, NewWebhookDelivery
from datalane.integrations.webhooks.deliveries.service import enqueue_delivery, replay
from datalane.integrations.webhooks.endpoints import service
from datalane.integrations.webhooks.endpoints.schemas import WebhookEndpointChange
from datalane.kit.clock import utc_now
from datalane.settings import Pauses

MOST, FURTHER = 16, 6
"""Causes, by default; and how many more there may be after what begins here. Each turn also nests the message deeper,
which has a limit of its own and is not what is asked here."""


@pytest.fixture
async def lane_on_a_socket(client: httpx.AsyncClient) -> AsyncIterator[Sink]:
    """What comes to it comes to the lane."""
    async with listening() as sink:

        async def hand_on(taken: Taken, writer: asyncio.StreamWriter) -> None:
            said = await client.post(taken.path, content=taken.body, headers=taken.headers)
            await answer(said.status_code)(taken, writer)

        sink.reply = hand_on
        yield sink


async def test_an_endpoint_that_is_the_lanes_own_inbound_path_is_no_loop_without_end(
    client: httpx.AsyncClient, ada: Person, database: Database, lane_on_a_socket: Sink
) -> None:
    hooks = Hooks.of(
        database,
        Context(ada.workspace_id, ada.user_id, Role.OWNER),
        pauses=Pauses.read("3600"),
        timeout=timedelta(seconds=30),
    )
    made = await hooks.create(lane_on_a_socket.url, "webhook.received")
    assert made.secret is not None
    connector = await register(client, ada, "The lane", signing=made.secret)
    body = {"connector_id": connector["connector_id"], "preset": "standard_webhooks", "secrets": ["signing"]}
    path = (await client.post(OPEN, json=body, headers=ada.headers)).json()["path"]
    change = WebhookEndpointChange(
        endpoint_id=made.endpoint.endpoint_id, version=1, url=f"http://127.0.0.1:{lane_on_a_socket.port}{path}"
    )
    async with database.transaction(hooks.admin) as tx:
        await service.change_endpoint(tx, change, HERE)
    message, now = '{"type": "shop.opened"}', utc_now()
    signed = {
        "datalane-causation-depth": str(MOST - FURTHER),
        "webhook-id": "first",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(made.secret).sign("first", now, message),
    }
    assert (await client.post(path, content=message, headers=signed)).status_code == 202

    async def has_stopped() -> bool:
        return bool(await hooks.rows("SELECT FROM datalane.webhook_deliveries WHERE status = 'failed'"))

    async with hooks.working():
        await eventually(has_stopped)
    events = await hooks.rows(
        "SELECT causation_depth FROM datalane.events WHERE event_type = 'webhook.received' ORDER BY 1"
    )
    assert [event["causation_depth"] for event in events] == list(range(MOST - FURTHER + 1, MOST + 1))
    deliveries = await hooks.deliveries()
    assert [each.status for each in deliveries] == [*["delivered"] * (FURTHER - 1), "failed"]
    [refused] = deliveries[-1].attempts
    assert (refused.status_code, refused.error_class) == (413, "client_error")
    newest = (await client.get(LOG, headers=ada.headers)).json()["data"][0]
    assert (newest["ingestion_status"], "it causes itself" in newest["detail"]) == ("rejected_schema", True)


async def test_the_depth_of_an_event_goes_along_with_every_attempt_and_replay(
    database: Database, ada: Person, lane_on_a_socket: Sink
) -> None:
    lane_on_a_socket.reply = answer(500)
    deep = Context(ada.workspace_id, ada.user_id, Role.OWNER).caused_by(None, 3)
    hooks = Hooks.of(database, deep)
    await hooks.create(lane_on_a_socket.url)
    await hooks.pay(1)
    async with hooks.working():
        [dead] = await hooks.until(1, "dead_letter")
        async with database.transaction(hooks.admin) as tx:
            await replay(tx, DeliveryChoice(ids=[dead.delivery_id]))
        lane_on_a_socket.reply = answer(204)
        await hooks.until(2, "dead_letter", "delivered")
        await lane_on_a_socket.until(5)
        new = NewWebhookDelivery(endpoint_id=dead.endpoint_id, event_type="invoice.paid", payload={"invoice": 2})
        async with database.transaction(hooks.admin) as tx:
            await enqueue_delivery(tx, new)
        await hooks.until(3, "dead_letter", "delivered")
    assert {taken.headers["datalane-causation-depth"] for taken in lane_on_a_socket.taken} == {"3"}

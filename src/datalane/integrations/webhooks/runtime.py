"""What webhooks need while the process runs: the guarded way out, their handler and their action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.engine.handlers import Handlers
from datalane.integrations.permissions import DELIVER
from datalane.integrations.webhooks.deliveries.handlers import Deliveries
from datalane.integrations.webhooks.deliveries.schemas import NewWebhookDelivery
from datalane.integrations.webhooks.deliveries.sending import Sender
from datalane.integrations.webhooks.deliveries.service import enqueue_delivery
from datalane.kit.outbound import Outbound
from datalane.settings import WebhookSettings

DELIVER_ACTION = "webhook.deliver"


class DeliverArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID


class Webhooks:
    """It opens connections when the first message is sent."""

    def __init__(self, outbound: Outbound, settings: WebhookSettings, actions: Actions) -> None:
        self.sender = Sender(outbound, settings)
        self.settings = settings
        actions.add(
            Action(
                DELIVER_ACTION,
                "Delivers the event to a webhook endpoint, whichever types that takes otherwise.",
                DeliverArguments,
                DELIVER,
                deliver,
            )
        )

    def register(self, handlers: Handlers, database: Database) -> None:
        Deliveries(database, self.sender, self.settings).register(handlers)

    async def aclose(self) -> None:
        await self.sender.aclose()


async def deliver(tx: Transaction, arguments: DeliverArguments, call: ActionCall) -> Mapping[str, Any]:
    """One delivery for one call, however often the run is tried."""
    new = NewWebhookDelivery(endpoint_id=arguments.endpoint_id, event_id=call.event_id)
    made = await enqueue_delivery(tx, new, once_key=f"run:{call.idempotency_key}")
    return {"delivery_id": str(made.delivery_id)}

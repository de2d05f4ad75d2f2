"""A workspace that has webhooks delivered: its endpoints, what it publishes, workers, and what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import quick, working

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.actions import Actions
from datalane.engine.events import NewEvent, publish_batch
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register
from datalane.engine.worker import Worker, WorkerSettings
from datalane.integrations.runtime import make_integrations
from datalane.integrations.webhooks.deliveries.schemas import WebhookDeliveryDetail
from datalane.integrations.webhooks.deliveries.service import get_delivery
from datalane.integrations.webhooks.endpoints import service
from datalane.integrations.webhooks.endpoints.recovery import recover_endpoint
from datalane.integrations.webhooks.endpoints.schemas import (
    EndpointRecovery,
    NewWebhookEndpoint,
    RecoveredEndpoint,
    WebhookEndpoint,
    WebhookEndpointSecret,
)
from datalane.settings import OutboundSettings, Pauses, Settings, WebhookSettings

HERE = (ip_network("127.0.0.0/8"),)
PAID: dict[str, Any] = {"type": "object", "properties": {"invoice": {"type": "integer"}}, "required": ["invoice"]}
SOON = Pauses.read("0.05,0.05,0.05")
"""Three further attempts, one after the other."""


def settings_of(**said: Any) -> Settings:
    """Those of a lane that may reach this machine, and tries again at once."""
    told = {"pauses": SOON, "timeout": timedelta(seconds=15), "recovery_rate": 10_000, **said}
    return Settings(outbound=OutboundSettings(allowed=HERE), webhooks=WebhookSettings(**told))


async def register_types(database: Database) -> None:
    """Those of an application."""
    for name in ("invoice.paid", "invoice.sent"):
        EVENTS.register(name, PAID)
    await register(database, {}, [], list(EVENTS))


@dataclass(frozen=True)
class Hooks:
    database: Database
    admin: Context
    settings: Settings

    @classmethod
    def of(cls, database: Database, context: Context, **said: Any) -> Hooks:
        return cls(database, replace(context, role=Role.ADMIN), settings_of(**said))

    async def create(self, url: str, *types: str, **said: Any) -> WebhookEndpointSecret:
        new = NewWebhookEndpoint(url=url, event_types=list(types or ("invoice.paid",)), **said)
        async with self.database.transaction(self.admin) as tx:
            return await service.create_endpoint(tx, new, HERE)

    async def switch(self, endpoint_id: UUID, *, on: bool) -> WebhookEndpoint:
        async with self.database.transaction(self.admin) as tx:
            return await (service.enable_endpoint if on else service.disable_endpoint)(tx, endpoint_id)

    async def endpoint(self, endpoint_id: UUID) -> WebhookEndpoint:
        async with self.database.transaction(self.admin) as tx:
            return await service.get_endpoint(tx, endpoint_id)

    async def recover(self, endpoint_id: UUID, *, dry_run: bool = False) -> RecoveredEndpoint:
        asked = EndpointRecovery(endpoint_id=endpoint_id, dry_run=dry_run)
        async with self.database.transaction(self.admin) as tx:
            return await recover_endpoint(tx, asked, self.settings.webhooks.recovery_rate)

    async def pay(self, *invoices: int, subject: Any = None, event_type: str = "invoice.paid") -> list[UUID]:
        """One event for each; `subject` is what it is about, or a function of the invoice."""
        events = [
            NewEvent(event_type, {"invoice": each}, subject_id=subject(each) if callable(subject) else subject)
            for each in invoices
        ]
        async with self.database.transaction(self.admin) as tx:
            return [published.event_id for published in await publish_batch(tx, events)]

    async def rows(self, sql: str, *arguments: Any) -> Sequence[Any]:
        async with self.database.transaction(self.admin) as tx:
            return await tx.fetch(sql, *arguments)

    async def deliveries(self) -> list[WebhookDeliveryDetail]:
        """All of them, the first one first, with their attempts."""
        async with self.database.transaction(self.admin) as tx:
            rows = await tx.fetch("SELECT delivery_id FROM datalane.webhook_deliveries ORDER BY delivery_id")
            return [await get_delivery(tx, row["delivery_id"]) for row in rows]

    async def until(self, count: int, *statuses: str, held: bool = False) -> list[WebhookDeliveryDetail]:
        """Wait until there are so many deliveries and all are in one of `statuses` (default: delivered)."""
        wanted = list(statuses or ("delivered",))

        async def all_there() -> bool:
            [row] = await self.rows(
                "SELECT count(*) = $1 AND bool_and(status = ANY ($2::text[]) AND held = $3) "
                "FROM datalane.webhook_deliveries",
                *(count, wanted, held),
            )
            return bool(row[0])

        await eventually(all_there)
        return await self.deliveries()

    async def until_idle(self) -> None:
        """Wait until no job is left."""

        async def none_left() -> bool:
            return not await self.rows("SELECT FROM datalane.jobs LIMIT 1")

        await eventually(none_left)

    @asynccontextmanager
    async def working(self, settings: WorkerSettings | None = None) -> AsyncIterator[Worker]:
        """A worker that delivers, for the time of the block."""
        handlers, integrations = Handlers(), make_integrations(self.settings, Actions())
        integrations.register(handlers, self.database)
        try:
            async with working(self.database, handlers, settings or quick()) as worker:
                yield worker
        finally:
            await integrations.aclose()

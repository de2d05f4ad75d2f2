"""Routes of events that other systems publish."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datalane.contracts.http import Door, LateTransaction
from datalane.db.transaction import Transaction
from datalane.engine.permissions import PUBLISH, READ_EVENTS
from datalane.integrations.events import service
from datalane.integrations.events.schemas import (
    EventOutcomes,
    IncomingEvent,
    IncomingEvents,
    IngestionLog,
    PublishedEvent,
    Status,
)

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def add_routes(routes: APIRouter, door: Door) -> None:
    @routes.post("/publish", status_code=201)
    async def publish(body: IncomingEvent, late: LateTransaction = door.preparer(PUBLISH)) -> PublishedEvent:
        """Publish one event of a registered type. One whose `source_event_id` came before is a duplicate, and has no
        effect; one that its schema refuses is kept in the log as rejected."""
        try:
            event = service.check_incoming(body, door.settings.limits)
        except service.REFUSALS as error:
            async with door.transaction(late.context) as tx:
                await service.reject_event(tx, body, error)
            raise
        return await service.publish_event(await late.begin(), event)

    @routes.post("/publish-batch")
    async def publish_batch(body: IncomingEvents, tx: Transaction = door.writer(PUBLISH)) -> EventOutcomes:
        """Publish up to 1,000 events, each with its own result."""
        return await service.publish_events(tx, body.events)

    @routes.get("/ingestion")
    async def list_ingestion(
        ingestion_status: Status | None = None,
        event_type: Asked = None,
        source_system: Asked = None,
        page_size: int = Query(25, ge=1, le=100),
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_EVENTS),
    ) -> IngestionLog:
        """What became of each attempt to publish, the newest first."""
        asked = service.IngestionFilter(ingestion_status, event_type, source_system)
        return await service.list_ingestion(tx, asked, cursor, page_size)

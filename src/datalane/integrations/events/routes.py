"""Routes of events: what other systems publish, and what there is."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door, LateTransaction
from datalane.contracts.plans import Plans
from datalane.contracts.storable import Moment
from datalane.db.transaction import Transaction
from datalane.engine.permissions import PUBLISH, READ_EVENTS
from datalane.integrations.events import searching, service
from datalane.integrations.events.schemas import (
    EventDetail,
    EventOutcomes,
    EventPage,
    IncomingEvent,
    IncomingEvents,
    IngestionPage,
    PublishedEvent,
    Status,
)

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def add_routes(routes: APIRouter, door: Door) -> None:
    _add_publishing(routes, door)
    _add_reads(routes, door)


def _add_publishing(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits

    @routes.post("/publish", status_code=201)
    async def publish(body: IncomingEvent, late: LateTransaction = door.preparer(PUBLISH)) -> PublishedEvent:
        """Publish one event of a registered type. One whose `source_event_id` came before is a duplicate, and has no
        effect; one that its schema refuses is kept in the log as rejected."""
        try:
            event = service.check_incoming(body, limits)
            return await service.publish_event(await late.begin(), event)
        except service.REFUSALS as error:
            # when the refused transaction is over
            late.on_failure(partial(service.keep_refused, door.transaction(late.context), body, error))
            raise

    @routes.post("/publish-batch")
    async def publish_batch(body: IncomingEvents, tx: Transaction = door.writer(PUBLISH)) -> EventOutcomes:
        """Publish up to 1,000 events, each with its own result."""
        return await service.publish_events(tx, body.events)


def _add_reads(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/list")
    async def list_events(
        event_type: Asked = None,
        source_system: Asked = None,
        subject_id: Asked = None,
        correlation_id: Asked = None,
        since: Moment | None = None,
        until: Moment | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_EVENTS, plans=Plans.OWN),
    ) -> EventPage:
        """The workspace's events without their payloads, the newest first; those received from `since` and before
        `until`. A page may be short, or empty, and go on with `next_cursor`: a request looks at 20,000 at most."""
        asked = searching.EventFilter(event_type, source_system, subject_id, correlation_id, since, until)
        return await searching.list_events(tx, asked, cursor, page_size)

    @routes.get("/ingestion")
    async def list_ingestion(
        ingestion_status: Status | None = None,
        event_type: Asked = None,
        source_system: Asked = None,
        since: Moment | None = None,
        until: Moment | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_EVENTS, plans=Plans.OWN),
    ) -> IngestionPage:
        """What became of each attempt to publish, the newest first; paged as the list of events."""
        asked = searching.IngestionFilter(ingestion_status, event_type, source_system, since, until)
        return await searching.list_ingestion(tx, asked, cursor, page_size)

    @routes.get("/{event_id}")
    async def get_event(event_id: UUID, tx: Transaction = door.reader(READ_EVENTS)) -> EventDetail:
        """One event with its payload."""
        return await searching.get_event(tx, event_id)

"""Routes of the timeline: pages of it, and a stream of what comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from datalane.contracts.http import Door, Watcher
from datalane.db.transaction import Transaction
from datalane.kit import sse
from datalane.work.permissions import READ_TIMELINE
from datalane.work.timeline import service
from datalane.work.timeline.live import Pace, watch
from datalane.work.timeline.schemas import EntityType, LiveEntry, Thing, TimelinePage

_RETRY = timedelta(seconds=3)
_LONGEST_WAIT = timedelta(days=1)
_EVENT = {
    "type": "object",
    "description": "one event; a block without `event` and `data` only says where the stream has come",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "where to go on, as `Last-Event-ID` or `after`"},
        "event": {"type": "string", "enum": ["entry", "end"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "a `TimelineEntry`; of `end` an object with the `reason`",
        },
    },
}


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/timeline", tags=["timeline"])
    _add_list(routes, door)
    _add_live(routes, door)
    return routes


def _add_list(routes: APIRouter, door: Door) -> None:
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.get("/list")
    async def list_timeline(
        entity_type: EntityType | None = None,
        entity_id: UUID | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_TIMELINE),
    ) -> TimelinePage:
        """Changes in the workspace, or of one thing, the newest first. What was deleted has a timeline still."""
        return await service.list_timeline(tx, service.thing_of(entity_type, entity_id), cursor, page_size)


def _add_live(routes: APIRouter, door: Door) -> None:
    heartbeat = door.settings.api.live_heartbeat.total_seconds()

    @routes.get(
        "/live",
        response_class=Response,
        responses={200: {"content": {sse.MEDIA_TYPE: {"schema": _EVENT}}}, 429: {}},
    )
    async def follow_timeline(
        entity_type: EntityType | None = None,
        entity_id: UUID | None = None,
        after: Annotated[
            str | None, Query(description="the `id` of an event, or `beginning`; else from now on")
        ] = None,
        wait: Annotated[
            int | None,
            Query(
                ge=0,
                le=int(_LONGEST_WAIT.total_seconds()),
                description="end after so many seconds; 0 tells what is there",
            ),
        ] = None,
        last_event_id: Annotated[
            str | None, Header(description="what `after` says, and before it: browsers send it when they come again")
        ] = None,
        watcher: Watcher = door.watcher(READ_TIMELINE),
    ) -> Response:
        """Every change from now on, or after an event that was seen, as server-sent events: each once, in order.

        Events are `entry`, with the entry as JSON, and `end`, with a reason, when the stream ends from this side.
        """
        thing = service.thing_of(entity_type, entity_id)
        position, field = (after, "query.after") if last_event_id is None else (last_event_id, "header.last-event-id")
        async with watcher.database.transaction(watcher.context) as tx:
            place = await service.find_place(tx, position, field)
        return watcher.stream(_blocks(watcher, place, thing, wait, Pace(heartbeat=heartbeat)))


async def _blocks(
    watcher: Watcher, place: service.Place, thing: Thing | None, wait: int | None, pace: Pace
) -> AsyncGenerator[bytes, None]:
    database, here = watcher.database, watcher.context
    position = service.write_position(database.cursors, here.workspace_id, place)
    yield sse.place(position, round(_RETRY.total_seconds() * 1000))
    async with aclosing(watch(database, watcher.check, here, place, thing, seconds=wait, pace=pace)) as batches:
        async for batch in batches:
            position = batch.position
            if batch.entries or not batch.last:
                yield b"".join(map(_block, batch.entries)) or sse.heartbeat(position)
    yield sse.end("waited", position)


def _block(entry: LiveEntry) -> bytes:
    return sse.event("entry", entry.model_dump_json(exclude={"position"}), entry.position)

"""Looking through events and through the log of attempts, the newest first.

Both grow by millions and are written more often than they are searched, so that they have no index but that of their
ids, which are in the order of time. A request looks at `MOST_LOOKED` of them at most: its page may be short, or empty,
and goes on with `next_cursor` all the same. Where the time is narrowed, nothing outside it is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import events as engine
from datalane.engine.permissions import READ_EVENTS
from datalane.errors import NotFound
from datalane.integrations.events.schemas import (
    EventDetail,
    EventPage,
    EventRecord,
    IngestionPage,
    IngestionRecord,
    Status,
)
from datalane.kit.ids import first_uuid7

MOST_LOOKED = 20_000
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What the list of events is narrowed to; None is everything. `since` and `until` are when they were received."""

    event_type: str | None = None
    source_system: str | None = None
    subject_id: str | None = None
    correlation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class IngestionFilter:
    """What the log is narrowed to; None is everything."""

    status: Status | None = None
    event_type: str | None = None
    source_system: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_events(
    tx: Transaction, asked: EventFilter, cursor: str | None = None, page_size: int = 25, most: int = MOST_LOOKED
) -> EventPage:
    """Events without their payloads. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_EVENTS.check(tx.context)
    narrowed = {name: getattr(asked, name) for name in ("event_type", "source_system", "subject_id", "correlation_id")}
    search = _Search(f"events:{asked}", _queries.list_events, _queries.last_event_looked_at, narrowed)
    rows, following = await search.page(tx, asked.since, asked.until, cursor, page_size, most)
    return EventPage(data=[EventRecord(**row) for row in rows], page_size=page_size, next_cursor=following)


async def get_event(tx: Transaction, event_id: UUID) -> EventDetail:
    """One event with its payload. Raises `NotFound`."""
    found = await engine.get_event(tx, event_id)
    if found is None:
        raise NotFound("no such event")
    return EventDetail.model_validate(found, from_attributes=True)


async def list_ingestion(
    tx: Transaction, asked: IngestionFilter, cursor: str | None = None, page_size: int = 25, most: int = MOST_LOOKED
) -> IngestionPage:
    """Attempts to publish. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_EVENTS.check(tx.context)
    narrowed = {"event_type": asked.event_type, "source_system": asked.source_system}
    if asked.status in (None, "accepted"):
        narrowed["status"] = asked.status
        search = _Search(f"ingestion:{asked}", _queries.list_ingestion, _queries.last_attempt_looked_at, narrowed)
    else:  # those have an index of their own
        fixed = {"status": asked.status}
        search = _Search(f"ingestion:{asked}", _queries.list_refused, _queries.last_refusal_looked_at, narrowed, fixed)
    rows, following = await search.page(tx, asked.since, asked.until, cursor, page_size, most)
    return IngestionPage(data=[IngestionRecord(**row) for row in rows], page_size=page_size, next_cursor=following)


@dataclass(frozen=True, slots=True)
class _Search:
    """`find` answers what is `narrowed` among the next rows, whose ids come first; `last` the id of the last of these.
    `fixed` narrows both."""

    listing: str
    find: Callable[..., Awaitable[Sequence[Any]]]
    last: Callable[..., Awaitable[UUID | None]]
    narrowed: dict[str, Any]
    fixed: dict[str, Any] | None = None

    async def page(
        self,
        tx: Transaction,
        since: datetime | None,
        until: datetime | None,
        cursor: str | None,
        page_size: int,
        most: int,
    ) -> tuple[Sequence[Any], str | None]:
        """The rows, and the cursor if there may be more."""
        place = tx.read_cursor(self.listing, cursor)
        before = UUID(place[0]) if place else _LAST if until is None else first_uuid7(until)
        span = {
            "workspace_id": tx.workspace_id,
            "since": _FIRST if since is None else first_uuid7(since),
            "before": before,
            "most": max(most, page_size + 1),
            **(self.fixed or {}),
        }
        rows = await self.find(tx.connection, **span, **self.narrowed, page_size=page_size + 1)
        if len(rows) > page_size:
            return rows[:page_size], tx.make_cursor(self.listing, str(rows[page_size - 1][0]))
        if all(value is None for value in self.narrowed.values()):
            return rows, None
        last = await self.last(tx.connection, **span)
        return rows, None if last is None else tx.make_cursor(self.listing, str(last))

"""What `datalane events` looks up: across workspaces as the operator, inside one through its door as the lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.errors import Conflict, InvalidInput, NotFound
from datalane.integrations.events import searching
from datalane.integrations.events.searching import EventFilter, IngestionFilter
from datalane.kit.ids import first_uuid7

_queries = load_queries(__file__, "events.sql")

Rows = list[dict[str, Any]]


class EventsOffice(Office):
    name = "datalane events"

    async def list_events(self, workspace_id: UUID | None, asked: EventFilter, limit: int) -> Rows:
        """The newest first. Raises `InvalidInput` for a subject across workspaces, which the operator does not see."""
        if workspace_id is not None:
            return await self._inside(workspace_id, searching.list_events, asked, limit)
        if asked.subject_id is not None:
            raise InvalidInput("the operator login sees no subjects; name one workspace with --workspace")
        return await self._across(_queries.list_events, asked, limit, {"subject_id"})

    async def list_ingestion(self, workspace_id: UUID | None, asked: IngestionFilter, limit: int) -> Rows:
        """The newest first."""
        if workspace_id is not None:
            return await self._inside(workspace_id, searching.list_ingestion, asked, limit)
        return await self._across(_queries.list_ingestion, asked, limit, set())

    async def get_event(self, workspace_id: UUID | None, event_id: UUID) -> dict[str, Any]:
        """With its payload. Raises `NotFound`, and `Conflict` for an id that two workspaces have."""
        home = workspace_id or await self._locate(event_id)
        async with self.database() as database, database.transaction(Context.system(home)) as tx:
            found = await searching.get_event(tx, event_id)
        return {"workspace_id": home, **found.model_dump()}

    async def _inside(
        self,
        workspace_id: UUID,
        search: Callable[..., Awaitable[Any]],
        asked: EventFilter | IngestionFilter,
        limit: int,
    ) -> Rows:
        found: Rows = []
        async with self.database() as database:
            cursor = None
            while True:
                async with database.transaction(Context.system(workspace_id)) as tx:
                    page = await search(tx, asked, cursor, limit - len(found))
                found += [{"workspace_id": workspace_id, **row.model_dump()} for row in page.data]
                cursor = page.next_cursor
                if cursor is None or len(found) >= limit:
                    return found

    async def _across(
        self, query: Callable[..., Any], asked: EventFilter | IngestionFilter, limit: int, unseen: set[str]
    ) -> Rows:
        said = {name: value for name, value in asdict(asked).items() if name not in {"since", "until", *unseen}}
        span = {
            "since": UUID(int=0) if asked.since is None else first_uuid7(asked.since),
            "until": first_uuid7(asked.until) if asked.until is not None else UUID(int=2**128 - 1),
        }
        async with self.operator() as connection:
            with translated():
                rows = await query(connection, **span, **said, most=limit)
        return [dict(row) for row in rows]

    async def _locate(self, event_id: UUID) -> UUID:
        async with self.operator() as connection:
            with translated():
                homes = [row["workspace_id"] for row in await _queries.locate_event(connection, event_id=event_id)]
        if not homes:
            raise NotFound(f"there is no event {event_id}")
        if len(homes) > 1:
            known = " and ".join(str(home) for home in homes)
            raise Conflict(f"the event id {event_id} is ambiguous: {known} have one; name one with --workspace")
        found: UUID = homes[0]
        return found

"""Writing the timeline and reading it: what others changed, pages of it, and what is settled of it.

An entry's place is (recorded_xid, entry_id). An entry can be seen as soon as its transaction committed, but is settled
when no transaction is under way that may still commit into a place before it: below the snapshot's xmin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput
from datalane.kit.cursors import Cursors
from datalane.kit.ids import rising_uuid7
from datalane.work.permissions import READ_TIMELINE
from datalane.work.timeline.schemas import EntityType, LiveEntry, Thing, TimelineEntry, TimelinePage

_queries = load_queries(__file__)
_LIVE = "timeline:live"
_HIGHEST = 2**63 - 1
_LEAST_ID, _GREATEST_ID = UUID(int=0), UUID(int=2**128 - 1)

BEGINNING: Final = "beginning"
"""Says, in the place of a position, that everything is wanted."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What is told of one version of a thing. `changes` are JSON values without anything sensitive."""

    entity_type: str
    entity_id: UUID
    entity_version: int
    action: str
    summary: str
    changes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where somebody who follows has come: everything up to here was told."""

    xid: int
    entry_id: UUID = _LEAST_ID


@dataclass(frozen=True, slots=True)
class Settled:
    """What a look found. Without `more`, everything that is settled was found, and `place` is where that ends.

    `unsettled` says that there are entries which must wait for a transaction that began before them.
    """

    entries: Sequence[LiveEntry]
    place: Place
    more: bool
    unsettled: bool


async def add_entries(tx: Transaction, entries: Sequence[NewEntry], now: datetime) -> None:
    """Add entries of the context's actor, in order. A second one of the same version is refused with `Conflict`."""
    await _queries.add_entries(
        tx.connection,
        workspace_id=tx.workspace_id,
        entries=[{"entry_id": rising_uuid7()} | asdict(entry) for entry in entries],
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
        now=now,
    )
    tx.wake_streams()


async def list_changed_fields(tx: Transaction, entity_type: str, since: Mapping[UUID, int]) -> dict[UUID, list[str]]:
    """The fields that were changed in the versions after the one given for each thing."""
    if not since:
        return {}
    rows = await _queries.list_changed_fields(
        tx.connection,
        workspace_id=tx.workspace_id,
        entity_type=entity_type,
        entity_ids=list(since),
        versions=list(since.values()),
    )
    return {row["entity_id"]: row["fields"] for row in rows}


def thing_of(entity_type: EntityType | None, entity_id: UUID | None) -> Thing | None:
    """Raises `InvalidInput` for one of the two without the other."""
    if entity_type is not None and entity_id is not None:
        return Thing(entity_type, entity_id)
    if entity_type is None and entity_id is None:
        return None
    missing = "entity_id" if entity_id is None else "entity_type"
    message = "a thing is named by its entity_type and its entity_id: send both, or neither for the whole workspace"
    raise InvalidInput(message, [{"field": f"query.{missing}", "message": message, "code": "missing"}])


async def list_timeline(
    tx: Transaction, thing: Thing | None = None, cursor: str | None = None, page_size: int = 25
) -> TimelinePage:
    """The workspace's entries, those of the newest transactions first, or the newest versions of one thing first.

    What was deleted has its entries still, what never was has none. Raises `InvalidInput` for another list's cursor.
    """
    READ_TIMELINE.check(tx.context)
    listing = "timeline" if thing is None else f"timeline:{thing.entity_type}:{thing.entity_id}"
    after = tx.read_cursor(listing, cursor)
    if thing is None:
        rows = await _queries.list_entries(
            tx.connection,
            workspace_id=tx.workspace_id,
            below_xid=after[0] if after else _HIGHEST,
            below_id=UUID(after[1]) if after else _GREATEST_ID,
            page_size=page_size + 1,
        )
    else:
        rows = await _queries.list_entries_of_thing(
            tx.connection,
            workspace_id=tx.workspace_id,
            entity_type=thing.entity_type,
            entity_id=thing.entity_id,
            below_version=after[0] if after else _HIGHEST,
            page_size=page_size + 1,
        )
    placed_by = ("recorded_xid", "entry_id") if thing is None else ("entity_version",)
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row[name] for name in placed_by])
    return TimelinePage(data=[TimelineEntry(**row) for row in page], page_size=page_size, next_cursor=following)


def write_position(cursors: Cursors, workspace_id: UUID, place: Place) -> str:
    """As callers get it: opaque, and good for this workspace only."""
    return cursors.make(_LIVE, workspace_id, place.xid, str(place.entry_id))


async def find_place(tx: Transaction, position: str | None, field: str = "query.after") -> Place:
    """Where a position is, or the beginning. None is now: from the oldest transaction that is under way.

    Raises `InvalidInput` naming `field` for a position that is damaged, forged or of another workspace.
    """
    READ_TIMELINE.check(tx.context)
    if position == BEGINNING:
        return Place(0)
    try:
        known = tx.read_cursor(_LIVE, position)
    except InvalidInput as error:
        message = (
            "the position is damaged or of another workspace's stream; send the id of an event, or none to begin now"
        )
        raise InvalidInput(message, [{"field": field, "message": message, "code": "invalid_cursor"}]) from error
    if known is not None:
        return Place(known[0], UUID(known[1]))
    now = await _queries.get_settled(tx.connection, workspace_id=tx.workspace_id)
    return Place(now["settled"])


async def find_settled(tx: Transaction, place: Place, thing: Thing | None, most: int) -> Settled:
    """Up to `most` settled entries after `place`, in the order of their places.

    The bound is found first: whatever is below it has ended, so the second statement sees all of it.
    """
    READ_TIMELINE.check(tx.context)
    now = await _queries.get_settled(tx.connection, workspace_id=tx.workspace_id)
    wanted = {
        "workspace_id": tx.workspace_id,
        "after_xid": place.xid,
        "after_id": place.entry_id,
        "settled": now["settled"],
        "page_size": most,
    }
    if thing is None:
        rows = await _queries.list_settled(tx.connection, **wanted)
    else:
        rows = await _queries.list_settled_of_thing(tx.connection, **wanted, **thing._asdict())
    places = [Place(row["recorded_xid"], row["entry_id"]) for row in rows]
    entries = [
        LiveEntry(**row, position=write_position(tx.cursors, tx.workspace_id, each))
        for row, each in zip(rows, places, strict=True)
    ]
    more = len(rows) == most
    ended = places[-1] if more else max(place, Place(now["settled"]))
    return Settled(entries, ended, more, unsettled=now["last"] is not None and now["last"] >= now["settled"])

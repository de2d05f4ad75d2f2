"""Every change leaves one entry in the timeline and one event, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, publish_batch
from datalane.work.changes import Change, name_fields
from datalane.work.timeline.schemas import EntityType
from datalane.work.timeline.service import NewEntry, add_entries

_NAMED = 6
"""Most fields that a summary names."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """What happened to a thing, which is at `version` now. `said` is added to the event's payload."""

    entity: EntityType
    entity_id: UUID
    version: int
    action: str
    changes: Sequence[Change] = ()
    said: Mapping[str, Any] = field(default_factory=dict)


async def write_journal(tx: Transaction, mutations: Sequence[Mutation], now: datetime) -> None:
    """Leave entry and event of each mutation."""
    if not mutations:
        return
    entries = [
        NewEntry(
            entity_type=mutation.entity,
            entity_id=mutation.entity_id,
            entity_version=mutation.version,
            action=mutation.action,
            summary=summarise(mutation),
            changes=[change.as_json() for change in mutation.changes],
        )
        for mutation in mutations
    ]
    await add_entries(tx, entries, now)
    await publish_batch(tx.following(), [_event(mutation) for mutation in mutations])


def summarise(mutation: Mutation) -> str:
    """One line for people. It names fields and states, never values."""
    fields = name_fields(mutation.changes)
    match mutation.action:
        case "updated":
            more = f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else ""
            return f"changed {', '.join(fields[:_NAMED])}{more}"
        case "transitioned":
            return f"moved from {mutation.said['from']} to {mutation.said['to']}"
        case _:
            return mutation.action


def _event(mutation: Mutation) -> NewEvent:
    payload: dict[str, Any] = {f"{mutation.entity}_id": str(mutation.entity_id), "version": mutation.version}
    if mutation.action != "created":
        payload["fields"] = name_fields(mutation.changes)
    return NewEvent(
        f"{mutation.entity}.{mutation.action}", payload | dict(mutation.said), subject_id=str(mutation.entity_id)
    )

"""Writing the timeline, and asking it what others changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.kit.ids import uuid7

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What is told of one version of a thing. `changes` are JSON values without anything sensitive."""

    entity_type: str
    entity_id: UUID
    entity_version: int
    action: str
    summary: str
    changes: Sequence[Mapping[str, Any]]


async def add_entries(tx: Transaction, entries: Sequence[NewEntry], now: datetime) -> None:
    """Add entries of the context's actor, in order. A second one of the same version is refused with `Conflict`."""
    await _queries.add_entries(
        tx.connection,
        workspace_id=tx.workspace_id,
        entries=[{"entry_id": uuid7()} | asdict(entry) for entry in entries],
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
        now=now,
    )


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

"""What stops when a connector is revoked, in the same transaction. Each slice that has such things adds its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError

Pause = Callable[[Transaction, UUID, datetime], Awaitable[Sequence[UUID]]]
"""`pause(tx, connector_id, now)` stops what depends on the connector and answers the ids of what it stopped."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What was stopped, of one kind."""

    kind: str
    ids: Sequence[UUID]


class Dependents:
    """The kinds of things that depend on connectors, in the order in which they were added."""

    def __init__(self) -> None:
        self._pauses: dict[str, Pause] = {}

    def add(self, kind: str, pause: Pause) -> None:
        """Raises `ConfigurationError` for a kind that is there."""
        if kind in self._pauses:
            raise ConfigurationError(f"two slices pause {kind} of a connector")
        self._pauses[kind] = pause

    async def pause(self, tx: Transaction, connector_id: UUID, now: datetime) -> list[Paused]:
        """Stop everything that depends on the connector; kinds of which there was nothing are left out."""
        paused = [Paused(kind, list(await pause(tx, connector_id, now))) for kind, pause in self._pauses.items()]
        return [one for one in paused if one.ids]

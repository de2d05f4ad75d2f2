"""What `datalane keys` does: which data key is under which master key, and wrapping them anew one by one.

The operator login sees the names of the keys and never a key. Each workspace is done in a transaction of its own,
through its door as the lane itself: whatever ends the command half-way, what was done stays, and the next run goes on
with what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.engine import vault
from datalane.kit.envelope import MasterKeyMissing, MasterKeys, SealBroken
from datalane.lane import master_keys_of

_queries = load_queries(__file__, "keys.sql")

KeyState = Literal["current", "older", "missing"]


@dataclass(frozen=True, slots=True)
class DataKey:
    """`state`: wrapped by the master key that is set, by one before it that is set too, or by one that is not set."""

    workspace_id: UUID
    master_key_id: str
    state: KeyState
    created_at: datetime
    wrapped_at: datetime


@dataclass(frozen=True, slots=True)
class KeyFault:
    """Why a data key stays as it is."""

    workspace_id: UUID
    master_key_id: str
    code: str
    message: str


@dataclass(slots=True)
class Rewrapped:
    """What became of the data keys. `current` were wrapped by the master key already."""

    master_key_id: str
    rewrapped: int = 0
    current: int = 0
    failed: list[KeyFault] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        told = {"ok": not self.failed, "master_key_id": self.master_key_id}
        return told | {"rewrapped": self.rewrapped, "current": self.current, "failed": self.failed}


class KeysOffice(Office):
    name = "datalane keys"

    async def list_keys(self, workspace_id: UUID | None = None) -> list[DataKey]:
        """Of every workspace that has a data key, or of one. Raises `ConfigurationError` without the operator login."""
        keys = master_keys_of(self._settings)()
        if workspace_id is None:
            async with self.operator() as connection:
                rows = await _queries.list_data_keys(connection)
        else:
            async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
                rows = await _queries.list_data_keys_here(tx.connection, workspace_id=workspace_id)
        return [DataKey(**row, state=_state(keys, row["master_key_id"])) for row in rows]

    async def rewrap(self, told: Callable[[int, int], object], workspace_id: UUID | None = None) -> Rewrapped:
        """Have every data key, or that of one workspace, under the master key that is set. `told(done, total)` hears
        how far it is.

        Raises `MasterKeyMissing` where none is set.
        """
        keys = master_keys_of(self._settings)()
        if keys is None:
            raise MasterKeyMissing("no master key is set; set DATALANE_MASTER_KEY")
        listed = await self.list_keys(workspace_id)
        outcome = Rewrapped(keys.current_id, current=sum(1 for key in listed if key.state == "current"))
        waiting = [key for key in listed if key.state != "current"]
        async with self.database() as database:
            for done, key in enumerate(waiting, 1):
                await _rewrap_one(database, key, outcome)
                told(done, len(waiting))
        return outcome


async def _rewrap_one(database: Database, key: DataKey, outcome: Rewrapped) -> None:
    try:
        async with database.transaction(Context.system(key.workspace_id)) as tx:
            done = await vault.rewrap(tx)
    except (MasterKeyMissing, SealBroken) as error:
        outcome.failed.append(KeyFault(key.workspace_id, key.master_key_id, error.code, str(error)))
        return
    outcome.rewrapped += done
    outcome.current += not done


def count_by_master_key(keys: Sequence[DataKey]) -> list[dict[str, Any]]:
    """How many data keys are under each master key, the current one first."""
    order: tuple[KeyState, ...] = ("current", "older", "missing")
    counts: dict[tuple[int, str], int] = {}
    for key in keys:
        place = (order.index(key.state), key.master_key_id)
        counts[place] = counts.get(place, 0) + 1
    return [
        {"master_key_id": name, "state": order[rank], "data_keys": count}
        for (rank, name), count in sorted(counts.items())
    ]


def _state(keys: MasterKeys | None, master_key_id: str) -> KeyState:
    if keys is None or not keys.has(master_key_id):
        return "missing"
    return "current" if master_key_id == keys.current_id else "older"

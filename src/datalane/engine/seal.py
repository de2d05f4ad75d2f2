"""Sealing: the maintenance process chains new audit rows by their hashes, a batch at a time.

The verb takes rows whose transactions have all ended, so it never passes a row that commits late, and writers never
wait for it. A transaction that stays open holds the seals back: rows written since it began wait until it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg

from datalane.db.faults import translated

PERIOD = timedelta(minutes=1)
ROWS_A_SEAL = 1_000
SEALS_A_RUN = 1_000
_SEALS_A_VISIT = 10
_WORKSPACES_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one run did."""

    seals: int
    rows: int


async def seal_once(
    connection: asyncpg.Connection, *, rows_a_seal: int = ROWS_A_SEAL, seals_a_run: int = SEALS_A_RUN
) -> Sealed:
    """Seal what can be sealed, at most about `seals_a_run` seals. `connection` is the maintenance login's.

    A second sealer at the same time does no harm: of two seals with one number, one is kept.
    """
    seals = rows = 0
    with translated():
        async for workspace_id in _unsealed(connection):
            for _ in range(_SEALS_A_VISIT):
                sealed = await connection.fetchval("SELECT datalane.seal_audit($1, $2)", workspace_id, rows_a_seal)
                seals, rows = seals + (sealed > 0), rows + sealed
                if sealed < rows_a_seal:
                    break
            if seals >= seals_a_run:
                break
    return Sealed(seals, rows)


async def _unsealed(connection: asyncpg.Connection) -> AsyncIterator[UUID]:
    """The workspaces with rows to seal, each once, from a random one on, so that none is always the last."""
    start = uuid4()
    after: UUID | None = start
    wrapped = False
    while True:
        page = await connection.fetch("SELECT datalane.unsealed_workspaces($1, $2)", after, _WORKSPACES_A_PAGE)
        for row in page:
            if wrapped and row[0] > start:
                return
            yield row[0]
        if len(page) == _WORKSPACES_A_PAGE:
            after = page[-1][0]
        elif wrapped:
            return
        else:
            wrapped, after = True, None

"""100 writers on one item: with one version all but one are told; when they try again, no edit is lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

from bench.work.ground import Ground
from datalane.contracts.context import Context
from datalane.errors import StaleVersion
from datalane.lane import Lane
from datalane.settings import Settings
from datalane.work.items.schemas import ItemChanges, ItemUpdate, NewItem
from datalane.work.items.service import create_item, get_item, update_item

WRITERS = 100
_CONNECTIONS = 20


@dataclass(frozen=True)
class Contest:
    """`told` losers of the first round; `counted` is what the item's counter says after everybody counted once."""

    writers: int
    winners: int
    told: int
    counted: int
    versions: int
    conflicts: int
    seconds: float

    @property
    def is_right(self) -> bool:
        return self.winners == 1 and self.told == self.writers - 1 and self.counted == self.writers == self.versions


async def contend(ground: Ground) -> Contest:
    lane = Lane()
    async with lane.open(Settings(pool_size=_CONNECTIONS), ground.prepared.database_url):
        context = Context.system(ground.workspace_id)
        async with lane.transaction(context) as tx:
            item = await create_item(tx, NewItem(title="Contended", metadata={"count": 0}))
        outcomes = await asyncio.gather(*(_write(lane, context, item.item_id, item.version, n) for n in range(WRITERS)))
        began = time.perf_counter()
        first = (await _read(lane, context, item.item_id))[0]
        conflicts = sum(await asyncio.gather(*(_count(lane, context, item.item_id) for _ in range(WRITERS))))
        seconds = time.perf_counter() - began
        version, count = await _read(lane, context, item.item_id)
    told = sum(outcome == "told" for outcome in outcomes)
    return Contest(WRITERS, outcomes.count("won"), told, count, version - first, conflicts, seconds)


async def _write(lane: Lane, context: Context, item_id: UUID, version: int, number: int) -> str:
    """Everybody saw the same version."""
    update = ItemUpdate(item_id=item_id, version=version, changes=ItemChanges(title=f"Writer {number} was here"))
    async with lane.transaction(context) as tx:
        try:
            await update_item(tx, update)
        except StaleVersion as error:
            return "told" if "changed_fields" in error.told or error.told else "not told"
        return "won"


async def _count(lane: Lane, context: Context, item_id: UUID) -> int:
    """Read, add one, write, and again when somebody was faster. Answers how often that was."""
    conflicts = 0
    while True:
        version, count = await _read(lane, context, item_id)
        changes = ItemChanges(metadata={"count": count + 1})
        async with lane.transaction(context) as tx:
            try:
                await update_item(tx, ItemUpdate(item_id=item_id, version=version, changes=changes))
            except StaleVersion:
                conflicts += 1
            else:
                return conflicts


async def _read(lane: Lane, context: Context, item_id: UUID) -> tuple[int, int]:
    async with lane.transaction(context) as tx:
        item = await get_item(tx, item_id)
    return item.version, int(item.metadata["count"])

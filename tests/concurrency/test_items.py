"""A hundred people edit one item at once, on connections of their own: no edit is lost, and every loser is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.integration.work.conftest import Desk, open_desk

from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import StaleVersion
from datalane.work.items.schemas import Item

WRITERS, CROWD = 100, 20


@pytest.fixture
async def desk(urls: Prepared) -> AsyncIterator[Desk]:
    database = await Database.connect(urls.database_url, size=50)
    yield await open_desk(database, "crowd")
    await database.close()


async def test_of_a_hundred_edits_of_one_version_one_wins_and_the_others_see_it(desk: Desk) -> None:
    seen = await desk.create()
    outcomes = await asyncio.gather(
        *(desk.update(seen, title=f"Edit {number}") for number in range(WRITERS)), return_exceptions=True
    )
    won = [each for each in outcomes if isinstance(each, Item)]
    lost = [each for each in outcomes if isinstance(each, StaleVersion)]
    assert (len(won), len(lost)) == (1, WRITERS - 1)
    assert all(each.told["current"]["title"] == won[0].title for each in lost)
    assert await desk.get(seen.item_id) == won[0]
    assert await desk.faults() == []


@pytest.mark.soak
async def test_a_counter_that_many_people_raise_counts_every_one(desk: Desk) -> None:
    item = await desk.create(metadata={"count": 0})

    async def raise_it() -> int:
        tries = 0
        while True:
            tries += 1
            now = await desk.get(item.item_id)
            try:
                await desk.update(now, metadata={"count": now.metadata["count"] + 1})
            except StaleVersion:
                continue
            return tries

    tries = await asyncio.gather(*(raise_it() for _ in range(CROWD)))
    newest = await desk.get(item.item_id)
    assert (newest.metadata["count"], newest.version) == (CROWD, CROWD + 1)
    assert sum(tries) > CROWD, "nobody met anybody"
    assert await desk.faults() == []


async def test_a_hundred_edits_of_different_fields_are_all_merged(desk: Desk) -> None:
    seen = await desk.create(metadata={"shared": True})
    await asyncio.gather(
        *(desk.update(seen, on_conflict="merge", metadata={f"of_{number}": number}) for number in range(WRITERS))
    )
    newest = await desk.get(seen.item_id)
    assert newest.metadata == {"shared": True} | {f"of_{number}": number for number in range(WRITERS)}
    assert newest.version == WRITERS + 1
    assert await desk.faults() == []


@pytest.mark.soak
async def test_of_edits_to_one_field_and_to_others_each_is_merged_or_told(desk: Desk) -> None:
    """Half of the people change the title, half a key of their own; of the former one wins."""
    seen = await desk.create()
    outcomes = await asyncio.gather(
        *(
            desk.update(seen, on_conflict="merge", **({"title": f"T{n}"} if n % 2 else {"metadata": {f"k{n}": n}}))
            for n in range(WRITERS)
        ),
        return_exceptions=True,
    )
    won = [each for each in outcomes if isinstance(each, Item)]
    lost = [each for each in outcomes if isinstance(each, StaleVersion)]
    assert (len(won), len(lost)) == (WRITERS // 2 + 1, WRITERS // 2 - 1)
    assert all(each.told["conflicting_fields"] == ["title"] for each in lost)
    assert (await desk.get(seen.item_id)).version == len(won) + 1
    assert await desk.faults() == []

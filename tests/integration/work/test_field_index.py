"""The index of a field over items that are there: built and taken down by jobs, in step with whoever edits."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.integration.engine.lab import Undone, undo
from tests.integration.engine.workers import working
from tests.integration.work.conftest import Desk
from tests.integration.work.fielding import change, define, fields_of, indexed, remove, rename, work_off

from datalane.contracts.context import Context
from datalane.engine.handlers import Handlers
from datalane.engine.jobs import cancel_jobs, list_jobs, replay_jobs
from datalane.errors import DatalaneError
from datalane.work.fields import handlers
from datalane.work.fields.building import BATCH, DROP_INDEX, INDEX_FIELD, drop_batch, index_batch
from datalane.work.items import service as items
from datalane.work.items.schemas import Item, NewItem

MANY = 2 * BATCH + 500


async def fill(desk: Desk, count: int, key: str = "cost") -> list[Item]:
    """Items whose metadata counts them."""
    made: list[Item] = []
    for start in range(0, count, 1_000):
        new = [NewItem(title=f"Item {n}", metadata={key: n}) for n in range(start, min(start + 1_000, count))]
        async with desk.database.transaction(desk.context) as tx:
            made += [each for each in await items.create_items(tx, new) if not isinstance(each, DatalaneError)]
    return made


async def waiting(desk: Desk, kind: str) -> list[dict[str, Any]]:
    async with desk.database.transaction(desk.context) as tx:
        return [job.args for job in await list_jobs(tx, kind=kind)]


async def run(desk: Desk, args: dict[str, Any]) -> None:
    """One batch of a building, as the lane."""
    async with desk.database.transaction(Context.system(desk.context.workspace_id)) as tx:
        await index_batch(tx, args)


async def test_the_items_that_are_there_are_indexed_by_jobs_deleted_ones_too(desk: Desk) -> None:
    made = await fill(desk, MANY)
    await desk.delete(made[7])
    field = await define(desk, "cost", "number", indexed=True)
    assert (field.indexed, field.index_state) == (True, "building")
    await work_off(desk)
    assert (await fields_of(desk))["cost"].index_state == "ready"
    assert await indexed(desk, field) == list(range(MANY))
    assert await desk.faults() == []


async def test_values_of_another_type_are_passed_over_and_stay(desk: Desk) -> None:
    values: dict[str, list[Any]] = {
        "text": ["short", "x" * 500, "x" * 501, 1, True, ["a"], {"a": 1}],
        "number": [1, 2.5, "3", True, 2**53 + 1, [1]],
        "boolean": [True, False, "true", 1, 0],
        "date": ["2026-03-01", "2026-03-01T09:30:00Z", "2026-03-01T09:30:00", "soon", 20260301, True],
    }
    kept: dict[str, list[Any]] = {
        "text": ["short", "x" * 500],
        "number": [1, 2.5],
        "boolean": ["false", "true"],
        "date": ["2026-03-01T00:00:00+00:00", "2026-03-01T09:30:00+00:00"],
    }
    made = {name: [await desk.create(metadata={name: value}) for value in each] for name, each in values.items()}
    fields = {name: await define(desk, name, name, indexed=True) for name in values}
    await work_off(desk)
    assert {name: await indexed(desk, field) for name, field in fields.items()} == kept
    for name, each in made.items():
        assert [(await desk.get(item.item_id)).metadata[name] for item in each] == values[name]
    odd = made["number"][2]
    assert (await desk.update(odd, title="Touched", metadata={"free": 1})).metadata == {"number": "3", "free": 1}
    assert await desk.faults() == []


async def test_edits_during_a_building_are_in_the_index(desk: Desk) -> None:
    made = await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    before, gone, odd = [await desk.get(made[place].item_id) for place in (5, 6, 1_500)]
    await desk.update(before, metadata={"cost": -5})
    await desk.update(gone, metadata={"cost": None})
    new = await desk.create(metadata={"cost": 9_999})
    await run(desk, first)
    await desk.update(odd, metadata={"cost": -1_500})
    await desk.update(await desk.get(made[7].item_id), metadata={"cost": -7})
    await work_off(desk)
    untouched = [n for n in range(MANY) if n not in {5, 6, 7, 1_500}]
    assert await indexed(desk, field) == [-1_500, -7, -5, *untouched, 9_999]
    assert (await desk.get(new.item_id)).metadata == {"cost": 9_999}
    assert await desk.faults() == []


async def test_a_building_and_editors_at_once_end_in_step(desk: Desk) -> None:
    made = await fill(desk, MANY)
    known = Handlers()
    handlers.register(known)
    field = await define(desk, "cost", "number", indexed=True)

    async def edit(share: int) -> int:
        done = 0
        for place in range(share, MANY, 97):
            value = None if place % 3 == 0 else -place
            await desk.update(made[place], metadata={"cost": value})
            done += 1
        return done

    async with working(desk.database, known):
        edited = await asyncio.gather(*(edit(share) for share in range(4)))
    await work_off(desk)
    assert sum(edited) > 90
    assert (await fields_of(desk))["cost"].index_state == "ready"
    assert len(await indexed(desk, field)) == MANY - sum(
        place % 3 == 0 for share in range(4) for place in range(share, MANY, 97)
    )
    assert await desk.faults() == []


async def test_a_batch_that_is_done_again_does_nothing_new(desk: Desk) -> None:
    await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    for _ in range(2):
        await run(desk, first)
    assert len(await waiting(desk, INDEX_FIELD)) == 2
    assert len(await indexed(desk, field)) == BATCH
    await work_off(desk)
    await run(desk, first)
    assert await waiting(desk, INDEX_FIELD) == []
    assert await indexed(desk, field) == list(range(MANY))
    assert await desk.faults() == []


async def test_a_batch_that_breaks_off_leaves_nothing(desk: Desk) -> None:
    await fill(desk, 10)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    with pytest.raises(Undone):
        await undo(desk.database, Context.system(desk.context.workspace_id), lambda tx: index_batch(tx, first))
    assert await indexed(desk, field) == []
    assert (await fields_of(desk))["cost"].index_state == "building"
    await work_off(desk)
    assert await indexed(desk, field) == list(range(10))


async def test_a_field_renamed_during_its_building_is_indexed_under_both_keys(desk: Desk) -> None:
    await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    await run(desk, first)
    await rename(desk, "cost", "price")
    await work_off(desk)
    assert (await fields_of(desk))["price"].index_state == "ready"
    assert await indexed(desk, field) == list(range(MANY))
    assert await desk.faults() == []


async def test_a_building_stops_when_its_field_is_removed(desk: Desk) -> None:
    await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    await run(desk, first)
    await remove(desk, "cost")
    await work_off(desk)
    assert await indexed(desk, field) == []
    assert await desk.faults() == []


async def test_a_field_switched_off_and_on_again_has_a_new_building_and_the_old_one_changes_nothing(desk: Desk) -> None:
    made = await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (old,) = await waiting(desk, INDEX_FIELD)
    await work_off(desk)
    off = await change(desk, (await fields_of(desk))["cost"], indexed=False)
    assert (off.index_state, len(await indexed(desk, field))) == ("none", MANY - BATCH)
    (dropping,) = await waiting(desk, DROP_INDEX)
    await desk.update(made[-1], metadata={"cost": None})
    await desk.update(made[-2], metadata={"cost": -2})
    on = await change(desk, off, indexed=True)
    await desk.update(made[-3], metadata={"cost": -3})
    await desk.update(await desk.get(made[-1].item_id), metadata={"cost": -1})
    await run(desk, old)
    async with desk.database.transaction(Context.system(desk.context.workspace_id)) as tx:
        await drop_batch(tx, dropping)
    assert (await fields_of(desk))["cost"] == on
    assert on.index_state == "building"
    await work_off(desk)
    assert await indexed(desk, field) == [-3, -2, -1, *range(MANY - 3)]
    assert await desk.faults() == []


async def test_a_field_switched_off_is_not_found_by_and_its_values_go(desk: Desk) -> None:
    made = await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    await work_off(desk)
    await change(desk, (await fields_of(desk))["cost"], indexed=False)
    await desk.update(made[0], metadata={"cost": -1})
    await work_off(desk)
    assert await indexed(desk, field) == []
    assert await desk.faults() == []


async def test_a_building_that_was_given_up_is_shown_and_goes_on_when_it_is_replayed(desk: Desk) -> None:
    await fill(desk, MANY)
    field = await define(desk, "cost", "number", indexed=True)
    (first,) = await waiting(desk, INDEX_FIELD)
    await run(desk, first)
    async with desk.database.transaction(desk.context) as tx:
        ids: list[UUID] = [job.id for job in await list_jobs(tx, kind=INDEX_FIELD)]
        await cancel_jobs(tx, ids)
    assert (await fields_of(desk))["cost"].index_state == "building"
    async with desk.database.transaction(desk.context) as tx:
        assert len(await replay_jobs(tx, ids)) == 2
    known = Handlers()
    handlers.register(known)
    async with working(desk.database, known):
        await until_ready(desk)
    assert await indexed(desk, field) == list(range(MANY))
    assert await desk.faults() == []


async def until_ready(desk: Desk) -> None:
    async with asyncio.timeout(20):
        while (await fields_of(desk))["cost"].index_state != "ready":
            await asyncio.sleep(0)


async def test_a_long_building_is_no_chain_of_causes(desk: Desk) -> None:
    await fill(desk, MANY)
    context = desk.context.caused_by(None, 15)
    await define(Desk(desk.database, context), "cost", "number", indexed=True)
    await work_off(desk)
    assert (await fields_of(desk))["cost"].index_state == "ready"


async def test_buildings_of_two_workspaces_keep_apart(desk: Desk, other_desk: Desk) -> None:
    await fill(desk, 3)
    await fill(other_desk, 5)
    mine, theirs = [await define(each, "cost", "number", indexed=True) for each in (desk, other_desk)]
    await work_off(desk)
    await work_off(other_desk)
    assert (await indexed(desk, mine), await indexed(other_desk, theirs)) == ([0, 1, 2], [0, 1, 2, 3, 4])
    assert await indexed(desk, theirs) == []

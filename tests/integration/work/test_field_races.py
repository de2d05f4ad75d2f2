"""Fields change while items are written: each item is in step with the fields, whoever came first."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.integration.engine.lab import Undone, eventually, undo
from tests.integration.engine.workers import working
from tests.integration.work.conftest import Desk
from tests.integration.work.fielding import (
    change,
    define,
    fields_of,
    indexed,
    remove,
    rename,
    somebody_waits,
    work_off,
)

from datalane.engine.handlers import Handlers
from datalane.engine.jobs import list_jobs
from datalane.errors import Conflict, InvalidInput, NotFound, StaleVersion
from datalane.work.fields import handlers
from datalane.work.items import service as items
from datalane.work.items.schemas import NewItem


async def test_an_item_written_by_the_fields_of_before_is_found_by_an_index_switched_on_meanwhile(desk: Desk) -> None:
    async with desk.database.transaction(desk.context) as tx:
        await items.create_item(tx, NewItem(title="Slow", metadata={"cost": 7}))
        defining = asyncio.create_task(define(desk, "cost", "number", indexed=True))
        assert await somebody_waits(desk)
    field = await defining
    assert field.index_state == "building"
    await work_off(desk)
    assert (await fields_of(desk))["cost"].index_state == "ready"
    assert await indexed(desk, field) == [7]
    assert await desk.faults() == []


async def test_an_item_that_waits_for_an_index_to_be_switched_on_is_written_by_the_fields_of_after(desk: Desk) -> None:
    field = await define(desk, "cost", "number")
    async with desk.database.transaction(desk.context) as tx:
        await define(desk, "other", indexed=True)
        await change(desk, field, indexed=True)
        writing = asyncio.create_task(desk.create(metadata={"cost": 7, "other": "x"}))
        assert await somebody_waits(desk)
        assert await tx.fetchval("SELECT count(*) FROM datalane.items") == 0
    await writing
    assert await indexed(desk, field) == [7]
    assert [each.index_state for each in (await fields_of(desk)).values()] == ["ready", "ready"]
    assert await desk.faults() == []


async def test_a_writer_that_waits_for_a_rename_is_told_the_new_key(desk: Desk) -> None:
    await define(desk, "cost", "number", indexed=True)
    async with desk.database.transaction(desk.context):
        await rename(desk, "cost", "price")
        old, new = [asyncio.create_task(desk.create(metadata={key: 1})) for key in ("cost", "price")]
        assert await somebody_waits(desk, 2)
    with pytest.raises(InvalidInput, match="was renamed to price"):
        await old
    assert (await new).metadata == {"price": 1}
    assert await desk.faults() == []


async def test_writers_do_not_wait_for_one_another(desk: Desk) -> None:
    await define(desk, "cost", "number", indexed=True)
    async with desk.database.transaction(desk.context) as tx:
        await items.create_item(tx, NewItem(title="Slow", metadata={"cost": 1}))
        quick = await asyncio.create_task(desk.create(metadata={"cost": 2}))
        assert await asyncio.create_task(desk.get(quick.item_id)) == quick


async def test_a_definition_that_is_rolled_back_leaves_nothing(desk: Desk) -> None:
    await desk.create(metadata={"cost": 1})
    with pytest.raises(Undone):
        await undo(desk.database, desk.context, lambda tx: define(desk, "cost", "number", indexed=True))
    assert await fields_of(desk) == {}
    async with desk.database.transaction(desk.context) as tx:
        assert await list_jobs(tx) == []


async def test_of_racing_definitions_of_one_key_one_wins(desk: Desk) -> None:
    outcomes = await asyncio.gather(*(define(desk, "cost", "number") for _ in range(8)), return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(lost) == 7
    assert {str(each) for each in lost} == {"there is a field cost already; change it, or choose another key"}
    assert list(await fields_of(desk)) == ["cost"]


async def test_of_racing_renames_of_one_key_one_wins(desk: Desk) -> None:
    await define(desk, "cost", "number")
    outcomes = await asyncio.gather(*(rename(desk, "cost", f"k{n}") for n in range(8)), return_exceptions=True)
    (winner,) = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {(type(each), str(each)) for each in lost} == {
        (Conflict, f"cost is an old key of the field {winner.key}; say its id or the key that it has now")
    }
    assert list(await fields_of(desk)) == [winner.key]


async def test_of_racing_changes_of_one_version_one_wins(desk: Desk) -> None:
    field = await define(desk, "cost", "number")
    outcomes = await asyncio.gather(
        *(change(desk, field, **{name: True}) for name in ("required", "sensitive", "indexed")), return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, StaleVersion)]
    assert len(lost) == 2
    current = (await fields_of(desk))["cost"]
    assert [each.told["current"] for each in lost] == [current.model_dump(mode="json")] * 2


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_at_once_items_and_index_agree_in_the_end(desk: Desk, seed: int) -> None:
    draw = random.Random(seed)
    keys, known = [f"k{n}" for n in range(4)], Handlers()
    handlers.register(known)
    made = [await desk.create(metadata={draw.choice(keys): n}) for n in range(20)]

    async def write(turns: int) -> int:
        done = 0
        for _ in range(turns):
            said = {draw.choice(keys): draw.choice([draw.randint(0, 9), None])}
            try:
                if draw.random() < 0.4:
                    made.append(await desk.create(metadata=said))
                else:
                    item = await desk.get(draw.choice(made).item_id)
                    await desk.update(item, on_conflict="merge", metadata=said)
                done += 1
            except (InvalidInput, StaleVersion):
                pass
        return done

    async def administer(turns: int) -> int:
        done = 0
        for _ in range(turns):
            key, other = draw.sample(keys, 2)
            try:
                there = (await fields_of(desk)).get(key)
                if there is None:
                    await define(desk, key, "number", indexed=draw.random() < 0.7)
                elif draw.random() < 0.5:
                    await change(desk, there, indexed=not there.indexed)
                elif draw.random() < 0.6:
                    await rename(desk, key, other)
                else:
                    await remove(desk, key)
                done += 1
            except (Conflict, NotFound):
                pass
        return done

    async def is_done() -> bool:
        async with desk.database.transaction(desk.context) as tx:
            return await list_jobs(tx) == []

    async with working(desk.database, known):
        counts = await asyncio.gather(*(write(30) for _ in range(4)), administer(25), administer(25))
        assert await eventually(is_done)
    assert min(counts) > 0
    assert {each.index_state for each in (await fields_of(desk)).values()} <= {"none", "ready"}
    assert await desk.faults() == []


async def test_a_merge_does_not_overwrite_what_was_changed_under_the_old_key(desk: Desk) -> None:
    await define(desk, "cost", "number")
    seen = await desk.create(metadata={"cost": 1})
    newest = await desk.update(seen, metadata={"cost": 2})
    await rename(desk, "cost", "price")
    with pytest.raises(StaleVersion) as late:
        await desk.update(seen, on_conflict="merge", metadata={"price": 3})
    assert late.value.told["conflicting_fields"] == ["metadata.price"]
    assert (await desk.get(newest.item_id)).metadata == {"price": 2}

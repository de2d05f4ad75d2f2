"""Two people edit the same item: no edit is lost, and who comes late learns what happened."""

from __future__ import annotations

import pytest
from tests.integration.work.conftest import Desk

from datalane.errors import InvalidInput, StaleVersion
from datalane.work.items.schemas import ItemChanges, ItemUpdate
from datalane.work.items.service import update_item

pytestmark = pytest.mark.one_database


async def test_a_stale_edit_is_told_the_current_row_and_the_fields_that_differ(desk: Desk) -> None:
    seen = await desk.create(metadata={"a": 1, "b": 1})
    newest = await desk.update(seen, title="Mend the fence", metadata={"a": 2})
    newest = await desk.update(newest, priority=4)
    with pytest.raises(StaleVersion, match="changed since version 1, and is at version 3; read it again") as late:
        await desk.update(seen, title="Burn the fence", description="No more of it.")
    assert late.value.told == {
        "current": newest.model_dump(mode="json"),
        "changed_fields": ["metadata.a", "priority", "title"],
        "conflicting_fields": ["title"],
    }
    assert await desk.get(seen.item_id) == newest


async def test_edits_of_different_fields_are_merged_when_asked_to(desk: Desk) -> None:
    seen = await desk.create(metadata={"a": 1, "b": 1}, tags=["x"])
    await desk.update(seen, title="Mend the fence", metadata={"a": 2})
    merged = await desk.update(seen, on_conflict="merge", priority=2, metadata={"b": 2})
    assert (merged.title, merged.priority, merged.metadata, merged.version) == (
        "Mend the fence",
        2,
        {"a": 2, "b": 2},
        3,
    )
    assert await desk.faults() == []


@pytest.mark.parametrize("mine", [{"title": "Burn the fence"}, {"metadata": {"a": 3}}, {"priority": 1, "tags": []}])
async def test_edits_of_the_same_field_are_never_merged(desk: Desk, mine: dict[str, object]) -> None:
    seen = await desk.create(metadata={"a": 1}, tags=["x"])
    newest = await desk.update(seen, title="Mend the fence", metadata={"a": 2}, tags=["y"])
    with pytest.raises(StaleVersion) as late:
        await desk.update(seen, on_conflict="merge", **mine)
    assert late.value.told["conflicting_fields"]
    assert await desk.get(seen.item_id) == newest


async def test_a_merge_is_checked_like_any_edit(desk: Desk) -> None:
    seen = await desk.create()
    await desk.update(seen, title="Mend the fence")
    with pytest.raises(InvalidInput):
        await desk.update(seen, on_conflict="merge", description="\0")


async def test_a_stale_step_through_the_lifecycle_is_refused(desk: Desk) -> None:
    seen = await desk.create()
    await desk.update(seen, priority=1)
    with pytest.raises(StaleVersion):
        await desk.move(seen, "active")
    with pytest.raises(StaleVersion):
        await desk.delete(seen)


async def test_an_edit_without_a_version_is_refused(desk: Desk) -> None:
    item = await desk.create()
    ask = ItemUpdate(item_id=item.item_id, changes=ItemChanges(title="Blind"))
    with pytest.raises(InvalidInput, match="say which version you saw"):
        async with desk.database.transaction(desk.context) as tx:
            await update_item(tx, ask)

"""Items are created, changed, moved, deleted and restored; each change is told once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.work.conftest import Desk

from datalane.contracts.context import Role
from datalane.errors import Conflict, DatalaneError, Forbidden, IllegalTransition, InvalidInput, LimitExceeded, NotFound
from datalane.kit.ids import uuid7
from datalane.work.items import service
from datalane.work.items.schemas import ItemChanges, ItemUpdate, NewItem

pytestmark = pytest.mark.one_database


async def test_an_item_is_kept_as_it_was_said(desk: Desk) -> None:
    made = await desk.create(
        "  Paint the fence ", description="Green.\r\nTwice.", tags=["b", "a", "b"], metadata={"cost": 3.5, "none": None}
    )
    assert (made.title, made.description, made.tags, made.metadata) == (
        "Paint the fence",
        "Green.\r\nTwice.",
        ["a", "b"],
        {"cost": 3.5},
    )
    assert (made.status, made.priority, made.version, made.created_by_actor_id) == (
        "draft",
        0,
        1,
        desk.context.actor_id,
    )
    assert await desk.get(made.item_id) == made
    assert await desk.faults() == []


async def test_an_edit_changes_what_it_names_and_nothing_else(desk: Desk) -> None:
    made = await desk.create(tags=["old", "kept"], metadata={"a": 1, "b": [1, {"c": None}]}, description="x")
    changed = await desk.update(made, title="Mend the fence", tags=["kept", "new"], metadata={"a": None, "d": "e"})
    assert changed.model_dump(exclude={"updated_at"}) == made.model_copy(
        update={
            "title": "Mend the fence",
            "tags": ["kept", "new"],
            "metadata": {"b": [1, {"c": None}], "d": "e"},
            "version": 2,
        }
    ).model_dump(exclude={"updated_at"})
    assert changed.updated_at > made.updated_at
    assert await desk.faults() == []


async def test_an_edit_of_nothing_leaves_no_trace(desk: Desk) -> None:
    made = await desk.create(tags=["a"], metadata={"a": 1})
    same = await desk.update(made, title=" Paint the fence ", tags=["a", "a"], metadata={"a": 1, "gone": None})
    assert same == made
    assert await desk.rows("SELECT action FROM datalane.timeline") == [("created",)]


async def test_a_number_and_a_truth_are_not_the_same_value(desk: Desk) -> None:
    """To Python 1 == True; to whoever reads the JSON they differ."""
    made = await desk.create(metadata={"a": 1, "b": [0, {"c": True}]})
    changed = await desk.update(made, metadata={"a": True, "b": [False, {"c": 1}]})
    assert changed.version == 2
    assert str((await desk.get(made.item_id)).metadata) == str({"a": True, "b": [False, {"c": 1}]})
    told = await desk.rows("SELECT changes FROM datalane.timeline WHERE entity_version = 2")
    assert [change["field"] for change in told[0][0]] == ["metadata.a", "metadata.b"]


async def test_an_item_goes_from_draft_to_active_to_archived_and_back(desk: Desk) -> None:
    made = await desk.create()
    active = await desk.move(made, "active")
    archived = await desk.move(active, "archived")
    assert archived.archived_at == archived.updated_at
    again = await desk.move(archived, "active")
    assert (again.status, again.archived_at, again.version) == ("active", None, 4)
    steps = await desk.rows("SELECT summary FROM datalane.timeline ORDER BY entity_version")
    assert [step for (step,) in steps] == [
        "created",
        "moved from draft to active",
        "moved from active to archived",
        "moved from archived to active",
    ]
    payloads = await desk.rows(
        "SELECT payload -> 'from', payload -> 'to' FROM datalane.events"
        " WHERE event_type = 'item.transitioned' ORDER BY event_id"
    )
    assert payloads == [("draft", "active"), ("active", "archived"), ("archived", "active")]
    assert await desk.faults() == []


@pytest.mark.parametrize(
    ("path", "to"), [([], "archived"), ([], "draft"), (["active"], "draft"), (["active"], "active")]
)
async def test_a_step_that_does_not_exist_is_refused_with_the_states(desk: Desk, path: list[str], to: str) -> None:
    item = await desk.create()
    for status in path:
        item = await desk.move(item, status)
    with pytest.raises(IllegalTransition, match=f"item cannot go from {item.status} to {to}; allowed: "):
        await desk.move(item, to)
    assert await desk.get(item.item_id) == item


async def test_a_deleted_item_is_not_there_until_it_is_restored(desk: Desk) -> None:
    made = await desk.create(tags=["a"])
    deleted = await desk.delete(made)
    with pytest.raises(NotFound, match="no such item"):
        await desk.get(made.item_id)
    with pytest.raises(NotFound, match="no such item"):
        await desk.update(deleted, title="Late")
    with pytest.raises(NotFound):
        await desk.delete(deleted)
    restored = await desk.restore(deleted)
    assert restored.model_dump(exclude={"updated_at", "version"}) == made.model_dump(exclude={"updated_at", "version"})
    with pytest.raises(NotFound, match="no such deleted item"):
        await desk.restore(restored)
    assert await desk.faults() == []


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 1_000_000}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "safe\u202egnp.exe"}, "title"),
        ({"description": "\u2066hidden"}, "description"),
        ({"description": "x" * 20_001}, "description"),
        ({"tags": ["fine", "a\0"]}, "tags.1"),
        ({"tags": ["x" * 65]}, "tags.0"),
        ({"tags": [" "]}, "tags.0"),
        ({"assignee_id": uuid7()}, "assignee_id"),
        ({"project_id": uuid7()}, "project_id"),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_its_field(desk: Desk, said: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.create(**{"title": "Fine", **said})
    assert refused.value.errors[0]["field"] == field
    item = await desk.create()
    with pytest.raises(InvalidInput) as refused:
        await desk.update(item, **said)
    assert refused.value.errors[0]["field"] == field
    assert await desk.get(item.item_id) == item


@pytest.mark.parametrize(
    "said",
    [
        {"tags": [str(number) for number in range(10_000)]},
        {"metadata": {"text": "x" * 70_000}},
        {"metadata": {"a": [[[[[[[[1]]]]]]]]}},
    ],
)
async def test_what_is_too_large_names_its_limit(desk: Desk, said: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded, match="the limit"):
        await desk.create(**said)
    assert await desk.rows("SELECT count(*) FROM datalane.items") == [(0,)]


async def test_metadata_that_json_cannot_hold_is_refused(desk: Desk) -> None:
    for metadata in ({"a": "\0"}, {"a": float("nan")}, {"a": 2**70}, {"": 1}, {"k" * 101: 1}, {" a": 1}, {"a\0": 1}):
        with pytest.raises(InvalidInput):
            await desk.create(metadata=metadata)


async def test_a_viewer_reads_and_changes_nothing(desk: Desk) -> None:
    item, viewer = await desk.create(), desk.acting(Role.VIEWER)
    assert await viewer.get(item.item_id) == item
    for attempt in (
        viewer.create(),
        viewer.update(item, title="Mine"),
        viewer.move(item, "active"),
        viewer.delete(item),
    ):
        with pytest.raises(Forbidden):
            await attempt


async def test_an_item_of_another_workspace_is_not_there(desk: Desk, other_desk: Desk) -> None:
    theirs = await other_desk.create(tags=["a"])
    for attempt in (desk.get(theirs.item_id), desk.update(theirs, title="Mine"), desk.delete(theirs)):
        with pytest.raises(NotFound, match="no such item"):
            await attempt
    assert await other_desk.get(theirs.item_id) == theirs


async def test_an_assignee_is_an_active_member_of_the_workspace(desk: Desk, other_desk: Desk) -> None:
    made = await desk.create(assignee_id=desk.context.actor_id)
    assert made.assignee_id == desk.context.actor_id
    with pytest.raises(InvalidInput, match="no active member"):
        await desk.update(made, assignee_id=other_desk.context.actor_id)
    assert (await desk.update(made, assignee_id=None)).assignee_id is None


async def test_a_batch_gives_each_row_its_own_outcome_and_stores_the_good_ones(desk: Desk) -> None:
    async with desk.database.transaction(desk.context) as tx:
        made = await service.create_items(tx, [NewItem(title=title) for title in ("One", "", "Three")])
    good, bad, last = made
    assert isinstance(bad, InvalidInput)
    assert not isinstance(good, DatalaneError)
    assert not isinstance(last, DatalaneError)
    asks = [
        ItemUpdate(item_id=good.item_id, version=1, changes=ItemChanges(title="Uno")),
        ItemUpdate(item_id=uuid7(), version=1, changes=ItemChanges(title="Nobody")),
        ItemUpdate(item_id=last.item_id, version=7, changes=ItemChanges(title="Tre")),
        ItemUpdate(item_id=good.item_id, version=2, changes=ItemChanges(title="Twice")),
        ItemUpdate(item_id=last.item_id, changes=ItemChanges(title="No version")),
    ]
    async with desk.database.transaction(desk.context) as tx:
        outcomes = await service.update_items(tx, asks)
    assert [type(each).__name__ for each in outcomes] == ["Item", "NotFound", "Conflict", "Conflict", "Conflict"]
    assert "stands twice" in str(outcomes[3])
    assert (await desk.get(good.item_id)).title == "Uno"
    assert (await desk.get(last.item_id)).title == "Three"
    assert await desk.faults() == []


async def test_a_thousand_items_are_made_changed_and_moved_in_three_transactions(desk: Desk) -> None:
    async with desk.database.transaction(desk.context) as tx:
        made = await service.create_items(tx, [NewItem(title=f"Item {n}", tags=[f"t{n % 7}"]) for n in range(1_000)])
    ids = [each.item_id for each in made if not isinstance(each, DatalaneError)]
    assert len(ids) == 1_000
    async with desk.database.transaction(desk.context) as tx:
        asks = [ItemUpdate(item_id=i, version=1, changes=ItemChanges(priority=3, tags=["x"])) for i in ids]
        changed = await service.update_items(tx, asks)
    assert {(each.version, each.priority) for each in changed if not isinstance(each, DatalaneError)} == {(2, 3)}
    with pytest.raises(LimitExceeded, match="1,001 items in one batch"):
        async with desk.database.transaction(desk.context) as tx:
            await service.create_items(tx, [NewItem(title="One too many")] * 1_001)
    assert await desk.faults() == []


async def test_who_claims_a_version_that_never_was_is_told(desk: Desk) -> None:
    item = await desk.create()
    with pytest.raises(Conflict, match="at version 1; nobody can have seen 9"):
        await desk.update(item.model_copy(update={"version": 9}), title="Future")

"""Fields are defined, changed, renamed and removed; items follow without being touched."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from tests.integration.work.conftest import Desk
from tests.integration.work.fielding import change, define, fields_of, indexed, remove, rename, work_off

from datalane.contracts.context import Role
from datalane.engine.audit import list_records
from datalane.errors import Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.kit.ids import uuid7
from datalane.settings import Limits
from datalane.work.fields import service
from datalane.work.fields.schemas import FieldChanges, FieldRename, FieldTarget, FieldUpdate, NewField
from datalane.work.query.schemas import read_query
from datalane.work.query.service import list_items

pytestmark = pytest.mark.one_database


async def test_a_field_is_kept_as_it_was_said(desk: Desk) -> None:
    made = await define(desk, "cost", "number", required=True, indexed=True, sensitive=True)
    assert made.model_dump(exclude={"field_id", "created_at", "updated_at"}) == {
        "key": "cost",
        "type": "number",
        "required": True,
        "indexed": True,
        "index_state": "ready",
        "sensitive": True,
        "old_keys": [],
        "version": 1,
        "created_by_actor_id": desk.context.actor_id,
        "updated_by_actor_id": desk.context.actor_id,
    }
    assert await fields_of(desk) == {"cost": made}


async def test_every_change_of_a_field_leaves_an_audit_record_with_what_was_and_what_is(desk: Desk) -> None:
    field = await define(desk, "cost", "number")
    await change(desk, field, required=True, indexed=True)
    await rename(desk, "cost", "price")
    await remove(desk, "price")
    async with desk.database.transaction(desk.context) as tx:
        records = await list_records(tx, resource_type="field", resource_id=str(field.field_id))
    said = {"key": "cost", "type": "number", "required": False, "indexed": False, "sensitive": False}
    changed = said | {"required": True, "indexed": True}
    renamed = changed | {"key": "price"}
    assert [(each.action, each.before, each.after) for each in reversed(records)] == [
        ("field.defined", None, said),
        ("field.changed", said, changed),
        ("field.renamed", changed, renamed),
        ("field.removed", renamed, None),
    ]


async def test_a_change_of_nothing_leaves_no_trace(desk: Desk) -> None:
    field = await define(desk, "cost", "number", indexed=True)
    assert await change(desk, field, indexed=True, required=False) == field
    assert await rename(desk, "cost", "cost") == field
    async with desk.database.transaction(desk.context) as tx:
        assert len(await list_records(tx, resource_type="field")) == 1


async def test_a_stale_change_is_told_the_current_field(desk: Desk) -> None:
    seen = await define(desk, "cost", "number")
    newest = await change(desk, seen, required=True)
    with pytest.raises(StaleVersion, match="changed since version 1, and is at version 2") as late:
        await change(desk, seen, sensitive=True)
    assert late.value.told == {"current": newest.model_dump(mode="json")}


async def test_renaming_and_removing_mind_a_version_that_is_said(desk: Desk) -> None:
    seen = await define(desk, "cost", "number")
    newest = await change(desk, seen, required=True)
    async with desk.database.transaction(desk.context) as tx:
        with pytest.raises(StaleVersion):
            await service.rename_field(tx, FieldRename(field_id=seen.field_id, version=1, new_key="price"))
        with pytest.raises(StaleVersion):
            await service.remove_field(tx, FieldTarget(field_id=seen.field_id, version=1))
        with pytest.raises(Conflict, match="nobody can have seen 9"):
            await service.remove_field(tx, FieldTarget(field_id=seen.field_id, version=9))
    assert await fields_of(desk) == {"cost": newest}


async def test_a_change_without_a_version_is_refused(desk: Desk) -> None:
    field = await define(desk, "cost", "number")
    async with desk.database.transaction(desk.context) as tx:
        with pytest.raises(InvalidInput, match="say which version you saw"):
            await service.change_field(tx, FieldUpdate(field_id=field.field_id, changes=FieldChanges(required=True)))


async def test_a_renamed_field_shows_under_its_new_key_on_old_items_and_is_found_by(desk: Desk) -> None:
    field = await define(desk, "cost", "number", indexed=True)
    old = await desk.create(metadata={"cost": 1, "free": "x"})
    renamed = await rename(desk, "cost", "price")
    assert (renamed.key, renamed.old_keys, renamed.index_state) == ("price", ["cost"], "ready")
    new = await desk.create(metadata={"price": 2})
    assert (await desk.get(old.item_id)).metadata == {"price": 1, "free": "x"}
    assert await indexed(desk, field) == [1, 2]
    with pytest.raises(InvalidInput, match="cost was renamed to price"):
        await desk.update(old, metadata={"cost": 3})
    assert await desk.rows("SELECT metadata FROM datalane.items WHERE item_id = $1", old.item_id) == [
        ({"cost": 1, "free": "x"},)
    ]
    changed = await desk.update(old, metadata={"free": "y"})
    assert changed.metadata == {"price": 1, "free": "y"}
    assert await desk.rows("SELECT metadata FROM datalane.items WHERE item_id = $1", old.item_id) == [
        ({"price": 1, "free": "y"},)
    ]
    assert (await desk.update(new, metadata={"price": None})).metadata == {}
    assert await indexed(desk, field) == [1]
    assert await desk.faults() == []


async def test_items_are_found_by_a_field_that_is_ready_under_the_key_of_now(desk: Desk) -> None:
    old = await desk.create(metadata={"cost": 1})
    await define(desk, "cost", "number", indexed=True)
    with pytest.raises(InvalidInput, match="is being indexed; try again"):
        await found(desk, cost=1)
    await work_off(desk)
    assert await found(desk, cost=1) == {old.item_id}
    await rename(desk, "cost", "price")
    new = await desk.create(metadata={"price": 1})
    assert await found(desk, price=1) == {old.item_id, new.item_id}
    with pytest.raises(InvalidInput, match="was renamed to price"):
        await found(desk, cost=1)
    await change(desk, (await fields_of(desk))["price"], indexed=False)
    with pytest.raises(InvalidInput, match="is not indexed"):
        await found(desk, price=1)


async def found(desk: Desk, **metadata: Any) -> set[UUID]:
    async with desk.database.transaction(desk.context) as tx:
        page = await list_items(tx, read_query({"filters": {"metadata": metadata}}))
        return {item.item_id for item in page.data}


async def test_a_field_may_have_one_of_its_old_keys_again(desk: Desk) -> None:
    field = await define(desk, "a", "number", indexed=True)
    first = await desk.create(metadata={"a": 1})
    await rename(desk, "a", "b")
    second = await desk.create(metadata={"b": 2})
    await rename(desk, "b", "c")
    again = await rename(desk, "c", "a")
    assert (again.key, again.old_keys, again.version) == ("a", ["b", "c"], 4)
    assert [(await desk.get(each.item_id)).metadata for each in (first, second)] == [{"a": 1}, {"a": 2}]
    assert await indexed(desk, field) == [1, 2]
    assert await desk.faults() == []


async def test_a_key_that_somebody_has_or_had_is_no_others(desk: Desk) -> None:
    await define(desk, "a")
    await define(desk, "b")
    await rename(desk, "b", "c")
    for attempt, said in (
        (define(desk, "a"), "there is a field a already"),
        (define(desk, "b"), "b is an old key of the field c"),
        (rename(desk, "a", "c"), "there is a field c already"),
        (rename(desk, "a", "b"), "b is an old key of the field c"),
        (rename(desk, "b", "d"), "b is an old key of the field c; say its id"),
    ):
        with pytest.raises(Conflict, match=said):
            await attempt
    assert list(await fields_of(desk)) == ["a", "c"]


async def test_a_field_takes_no_key_under_which_items_have_something_else(desk: Desk) -> None:
    await define(desk, "cost", "number", indexed=True)
    item = await desk.create(metadata={"cost": 1, "price": "about two"})
    gone = await desk.delete(item)
    with pytest.raises(Conflict, match="items have free metadata under price"):
        await rename(desk, "cost", "price")
    back = await desk.restore(gone)
    await desk.update(back, metadata={"price": None})
    await rename(desk, "cost", "price")
    assert (await desk.get(item.item_id)).metadata == {"price": 1}
    assert await desk.faults() == []


async def test_a_field_has_so_many_old_keys_and_no_more(desk: Desk) -> None:
    await define(desk, "k0")
    for number in range(service.OLD_KEYS):
        await rename(desk, f"k{number}", f"k{number + 1}")
    with pytest.raises(LimitExceeded, match="had 20 other keys"):
        await rename(desk, f"k{service.OLD_KEYS}", "one_more")
    assert (await rename(desk, f"k{service.OLD_KEYS}", "k0")).key == "k0"


async def test_a_removed_field_leaves_the_metadata_and_nothing_else(desk: Desk) -> None:
    field = await define(desk, "cost", "number", indexed=True, required=True)
    await rename(desk, "cost", "price")
    item = await desk.create(metadata={"price": 1})
    assert (await remove(desk, "price")).field_id == field.field_id
    assert await indexed(desk, field) == []
    assert await desk.rows("SELECT key FROM datalane.field_aliases") == []
    assert (await desk.get(item.item_id)).metadata == {"price": 1}
    assert (await desk.update(item, metadata={"price": "free", "cost": True})).metadata == {
        "price": "free",
        "cost": True,
    }
    again = await define(desk, "price", "text", indexed=True)
    await work_off(desk)
    assert await indexed(desk, again) == ["free"]
    assert await desk.faults() == []


async def test_a_field_that_becomes_required_asks_at_the_next_edit_of_the_metadata(desk: Desk) -> None:
    item = await desk.create(metadata={"free": 1})
    field = await define(desk, "cost", "number")
    await change(desk, field, required=True)
    assert await desk.get(item.item_id) == item
    renamed = await desk.update(item, title="Mend the fence")
    with pytest.raises(InvalidInput, match="cost is required"):
        await desk.update(renamed, metadata={"free": 2})
    assert (await desk.update(renamed, metadata={"cost": 2})).metadata == {"free": 1, "cost": 2}
    with pytest.raises(InvalidInput, match="cost is required"):
        await desk.create()


async def test_changes_of_a_field_that_became_sensitive_are_told_without_values(desk: Desk) -> None:
    item = await desk.create(metadata={"salary": 1})
    await change(desk, await define(desk, "salary", "number"), sensitive=True)
    item = await desk.update(item, metadata={"salary": 2})
    await rename(desk, "salary", "pay")
    await desk.update(item, metadata={"pay": 3})
    changes = await desk.rows("SELECT changes FROM datalane.timeline WHERE action = 'updated' ORDER BY entity_version")
    assert changes == [
        ([{"field": "metadata.salary", "withheld": "sensitive"}],),
        ([{"field": "metadata.pay", "withheld": "sensitive"}],),
    ]


async def test_numbers_that_the_index_cannot_tell_apart_are_refused_however_they_are_written(desk: Desk) -> None:
    field = await define(desk, "cost", "number", indexed=True)
    for number in (2**53 + 1, -(2**53) - 1, 1e300, float(2**53 + 2)):
        with pytest.raises(InvalidInput, match="from -2\\^53 to 2\\^53"):
            await desk.create(metadata={"cost": number})
    item = await desk.create(metadata={"cost": float(2**53)})
    for number in (-(2**53), 0.1, 1e-300, -0.0, 3):
        item = await desk.update(item, metadata={"cost": number})
        assert await indexed(desk, field) == [number]
    assert await desk.faults() == []


async def test_there_are_so_many_fields_and_no_more(desk: Desk) -> None:
    async with desk.database.transaction(desk.context) as tx:
        tx.limits = Limits(fields=3)
        for number in range(3):
            await service.define_field(tx, NewField(key=f"k{number}", type="text"))
        with pytest.raises(LimitExceeded, match="has 3 fields, the limit is 3"):
            await service.define_field(tx, NewField(key="one_more", type="text"))


@pytest.mark.parametrize("key", ["", "Cost", "1st", "_x", "a-b", "a b", "ä", "a\n", "a\0", "x" * 64, "a.b"])
def test_a_key_that_cannot_be_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        NewField(key=key, type="text")
    with pytest.raises(ValidationError):
        FieldRename(key="cost", new_key=key)


@pytest.mark.parametrize("said", [{}, {"field_id": uuid7(), "key": "cost"}, {"key": "cost", "version": 0}])
def test_a_field_is_said_in_one_way(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FieldTarget(**said)


async def test_a_change_to_null_is_refused(desk: Desk) -> None:
    field = await define(desk, "cost")
    with pytest.raises(InvalidInput, match="cannot be null") as refused:
        await change(desk, field, indexed=None, required=None)
    assert [fault["field"] for fault in refused.value.errors] == ["changes.indexed", "changes.required"]


async def test_a_field_that_is_not_there_is_not_found(desk: Desk, other_desk: Desk) -> None:
    theirs = await define(other_desk, "theirs")
    for attempt in (change(desk, theirs, required=True), rename(desk, "theirs", "mine"), remove(desk, "theirs")):
        with pytest.raises(NotFound, match="no such field"):
            await attempt
    assert await fields_of(desk) == {}
    assert await fields_of(other_desk) == {"theirs": theirs}


async def test_members_read_fields_and_admins_change_them(desk: Desk) -> None:
    field = await define(desk, "cost")
    member = desk.acting(Role.MEMBER)
    for attempt in (
        define(member, "mine"),
        change(member, field, required=True),
        rename(member, "cost", "mine"),
        remove(member, "cost"),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await fields_of(desk.acting(Role.VIEWER)) == {"cost": field}
    assert (await change(desk.acting(Role.ADMIN), field, required=True)).required

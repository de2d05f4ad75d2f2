"""Saved views: one's own and shared ones, which survive what happens to the fields that they filter by."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from tests.integration.work.conftest import Desk
from tests.integration.work.fielding import change, define, fields_of, remove, rename, work_off

from datalane.contracts.context import Role
from datalane.errors import Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.kit.ids import uuid7
from datalane.settings import Limits
from datalane.work.query.schemas import read_query
from datalane.work.query.service import list_items
from datalane.work.views import service
from datalane.work.views.schemas import NewView, View, ViewChanges, ViewPage, ViewTarget, ViewUpdate

pytestmark = pytest.mark.one_database

BUSY = {"filters": {"status": {"eq": "active"}, "priority": {"gte": 3}}, "sort": "-priority"}


async def save(desk: Desk, name: str = "Busy", query: Any = BUSY, shared: bool = False) -> View:
    async with desk.database.transaction(desk.context) as tx:
        return await service.create_view(tx, NewView(name=name, query=read_query(query)), shared=shared)


async def update(desk: Desk, view: View, **changes: Any) -> View:
    ask = ViewUpdate(view_id=view.view_id, version=view.version, changes=ViewChanges(**changes))
    async with desk.database.transaction(desk.context) as tx:
        return await service.update_view(tx, ask, shared=view.shared)


async def delete(desk: Desk, view: View, version: int | None = None) -> View:
    async with desk.database.transaction(desk.context) as tx:
        return await service.delete_view(tx, ViewTarget(view_id=view.view_id, version=version), shared=view.shared)


async def get(desk: Desk, view: View) -> View:
    async with desk.database.transaction(desk.context) as tx:
        return await service.get_view(tx, view.view_id)


async def page_of(desk: Desk, cursor: str | None = None, page_size: int = 25) -> ViewPage:
    async with desk.database.transaction(desk.context) as tx:
        return await service.list_views(tx, cursor, page_size)


async def run(desk: Desk, view: View) -> list[UUID]:
    async with desk.database.transaction(desk.context) as tx:
        page = await list_items(tx, await service.load_view_query(tx, view.view_id))
        return [item.item_id for item in page.data]


def somebody_else(desk: Desk, role: Role = Role.MEMBER) -> Desk:
    return Desk(desk.database, replace(desk.context, actor_id=uuid7(), role=role))


@pytest.mark.parametrize("shared", [False, True])
async def test_a_view_is_kept_as_it_was_said(desk: Desk, shared: bool) -> None:
    made = await save(desk, "  Busy ", shared=shared)
    assert made.model_dump(exclude={"view_id", "created_at", "updated_at"}) == {
        "name": "Busy",
        "shared": shared,
        "query": BUSY,
        "valid": True,
        "errors": [],
        "version": 1,
        "created_by_actor_id": desk.context.actor_id,
        "updated_by_actor_id": desk.context.actor_id,
    }
    assert await get(desk, made) == made
    assert (await page_of(desk)).data == [made]
    wanted = await desk.create(status="active", priority=4)
    await desk.create(status="active", priority=2)
    assert await run(desk, made) == [wanted.item_id]
    assert await delete(desk, made) == made
    assert (await page_of(desk)).data == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"filters": {}},
        {"page_size": 7},
        {"filters": {"deleted": True}, "sort": "created_at"},
        {"filters": {"project_id": {"eq": None}, "tags": {"any": ["a", "b"]}, "text": "fence"}},
        {"filters": {"created_at": {"gte": "2026-03-01T00:00:00Z", "lt": "2026-04-01T00:00:00Z"}}},
        {"filters": {"assignee_id": {"in": ["00000000-0000-0000-0000-000000000001"]}}},
    ],
)
async def test_a_query_comes_back_as_the_query_it_was(desk: Desk, query: dict[str, Any]) -> None:
    view = await save(desk, query=query)
    assert view.query == query
    async with desk.database.transaction(desk.context) as tx:
        assert await service.load_view_query(tx, view.view_id) == read_query(query)


async def test_a_view_of_ones_own_is_nobody_elses_and_a_shared_one_is_everybodys(desk: Desk) -> None:
    other = somebody_else(desk, Role.VIEWER)
    mine, ours, theirs = await save(desk), await save(desk, shared=True), await save(other)
    assert [view.view_id for view in (await page_of(desk)).data] == [mine.view_id, ours.view_id]
    assert [view.view_id for view in (await page_of(other)).data] == [ours.view_id, theirs.view_id]
    for attempt in (get(other, mine), update(other, mine, name="Taken"), delete(other, mine), run(other, mine)):
        with pytest.raises(NotFound, match="no such view"):
            await attempt
    assert await get(desk, mine) == mine


async def test_a_view_of_another_workspace_is_not_there(desk: Desk, other_desk: Desk) -> None:
    for theirs in (await save(other_desk), await save(other_desk, shared=True)):
        for attempt in (get(desk, theirs), update(desk, theirs, name="Mine"), delete(desk, theirs), run(desk, theirs)):
            with pytest.raises(NotFound, match="no such"):
                await attempt
    assert (await page_of(desk)).data == []


async def test_one_kind_of_view_is_not_changed_as_the_other(desk: Desk) -> None:
    mine, ours = await save(desk), await save(desk, shared=True)
    with pytest.raises(NotFound, match="no such shared view"):
        await delete(desk, mine.model_copy(update={"shared": True}))
    with pytest.raises(NotFound, match="no such view of your own"):
        await update(desk, ours.model_copy(update={"shared": False}), name="Mine")
    assert len((await page_of(desk)).data) == 2


async def test_viewers_keep_views_members_share_them_and_admins_take_them_away(desk: Desk) -> None:
    viewer, member = somebody_else(desk, Role.VIEWER), somebody_else(desk)
    kept = await save(viewer)
    assert (await delete(viewer, await update(viewer, kept, name="Quiet"))).name == "Quiet"
    with pytest.raises(Forbidden):
        await save(viewer, shared=True)
    ours = await save(member, shared=True)
    changed = await update(desk.acting(Role.MEMBER), ours, name="Quiet")
    assert (changed.created_by_actor_id, changed.updated_by_actor_id) == (
        member.context.actor_id,
        desk.context.actor_id,
    )
    with pytest.raises(Forbidden):
        await update(viewer, changed, name="Loud")
    with pytest.raises(Forbidden):
        await delete(member, changed)
    assert await delete(desk.acting(Role.ADMIN), changed) == changed


async def test_a_change_is_of_the_version_that_was_seen(desk: Desk) -> None:
    seen = await save(desk)
    newest = await update(desk, seen, query=read_query({"filters": {"status": "draft"}}))
    assert (newest.version, newest.name, newest.query) == (2, "Busy", {"filters": {"status": {"eq": "draft"}}})
    assert await update(desk, newest, name="Busy ", query=read_query(newest.query)) == newest
    for attempt in (update(desk, seen, name="Late"), delete(desk, seen, version=1)):
        with pytest.raises(StaleVersion) as late:
            await attempt
        assert late.value.told == {"current": newest.model_dump(mode="json")}
    blind = ViewUpdate(view_id=seen.view_id, changes=ViewChanges(name="Blind"))
    with pytest.raises(InvalidInput, match="say which version you saw"):
        async with desk.database.transaction(desk.context) as tx:
            await service.update_view(tx, blind, shared=False)


async def test_what_is_equal_in_python_and_not_in_json_is_a_change(desk: Desk) -> None:
    await define(desk, "flag", "boolean", indexed=True)
    true = await save(desk, query={"filters": {"metadata": {"flag": True}}})
    with pytest.raises(InvalidInput, match="must be true or false"):
        await update(desk, true, query=read_query({"filters": {"metadata": {"flag": 1}}}))
    await remove(desk, "flag")
    await define(desk, "flag", "number", indexed=True)
    assert (await get(desk, true)).errors[0].code == "wrong_type"
    mended = await update(desk, true, query=read_query({"filters": {"metadata": {"flag": 1}}}))
    assert (mended.valid, mended.version) == (True, 2)


async def test_a_name_is_used_once_by_each_and_once_by_all(desk: Desk) -> None:
    other = somebody_else(desk)
    mine, ours = await save(desk), await save(desk, shared=True)
    await save(other)
    second = await save(desk, "Quiet")
    for attempt in (
        save(desk),
        save(desk, " Busy"),
        save(other, shared=True),
        update(desk, second, name="Busy"),
    ):
        with pytest.raises(Conflict, match="there is a view 'Busy' already"):
            await attempt
    await delete(desk, mine)
    assert (await update(desk, second, name="Busy")).name == "Busy"
    assert (await get(desk, ours)).version == 1


async def test_of_racing_views_of_one_name_one_wins(desk: Desk) -> None:
    for shared in (False, True):
        outcomes = await asyncio.gather(*(save(desk, shared=shared) for _ in range(6)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 5 + ["View"]


async def test_there_are_so_many_views_and_no_more(desk: Desk) -> None:
    few = Limits(views=2)
    for shared, said in ((False, "you have 2 views"), (True, "the workspace has 2 views")):
        async with desk.database.transaction(desk.context) as tx:
            tx.limits = few
            for number in range(2):
                await service.create_view(tx, NewView(name=f"View {number}", query=read_query({})), shared=shared)
            with pytest.raises(LimitExceeded, match=said):
                await service.create_view(tx, NewView(name="One more", query=read_query({})), shared=shared)


async def test_a_renamed_field_names_its_new_key_and_the_view_is_mended(desk: Desk) -> None:
    await define(desk, "cost", "number", indexed=True)
    item = await desk.create(metadata={"cost": 5})
    view = await save(desk, query={"filters": {"metadata": {"cost": {"gte": 3}}}})
    assert await run(desk, view) == [item.item_id]
    await rename(desk, "cost", "price")
    broken = await get(desk, view)
    assert (broken.valid, broken.query, broken.version) == (False, view.query, 1)
    assert [fault.model_dump() for fault in broken.errors] == [
        {
            "field": "query.filters.metadata.cost",
            "message": "was renamed to price; filter by that",
            "code": "renamed_field",
        }
    ]
    with pytest.raises(InvalidInput, match=r"'Busy' cannot be run until it is mended: .* renamed to price") as refused:
        await run(desk, view)
    assert refused.value.errors == [fault.model_dump() for fault in broken.errors]
    named = await update(desk, view, name="Costly")
    assert (named.valid, named.query) == (False, view.query)
    mended = await update(desk, named, query=read_query({"filters": {"metadata": {"price": {"gte": 3}}}}))
    assert mended.valid
    assert await run(desk, mended) == [item.item_id]


async def test_a_view_says_what_became_of_its_fields_and_is_valid_again_when_they_are(desk: Desk) -> None:
    await desk.create(metadata={"cost": 5})
    await define(desk, "cost", "number", indexed=True)
    await work_off(desk)
    view = await save(desk, query={"filters": {"metadata": {"cost": 5}}})
    field = (await fields_of(desk))["cost"]

    async def said() -> list[str]:
        (listed,) = (await page_of(desk)).data
        assert listed.valid == (not listed.errors)
        return [fault.code for fault in listed.errors]

    off = await change(desk, field, indexed=False)
    assert await said() == ["not_indexed"]
    await change(desk, off, indexed=True)
    assert await said() == ["index_building"]
    with pytest.raises(InvalidInput, match="is being indexed"):
        await save(desk, "Another", query=view.query)
    await work_off(desk)
    assert await said() == []
    await remove(desk, "cost")
    assert await said() == ["unknown_field"]
    assert (await get(desk, view)).errors[0].message == "was removed; it is no field of items any more"
    await define(desk, "cost", "text", indexed=True)
    await work_off(desk)
    assert await said() == ["wrong_type"]
    assert await get(desk, view) == view.model_copy(update={"valid": False, "errors": (await get(desk, view)).errors})


async def test_a_view_past_a_limit_that_was_lowered_says_so(desk: Desk) -> None:
    view = await save(desk, query={"page_size": 80})
    long = await save(desk, "Long", query={"filters": {"text": "x" * 50}})
    async with desk.database.transaction(desk.context) as tx:
        tx.limits = Limits(page_size=50, query_characters=10)
        assert [fault.field for fault in (await service.get_view(tx, view.view_id)).errors] == ["query.page_size"]
        assert [fault.code for fault in (await service.get_view(tx, long.view_id)).errors] == ["limit_exceeded"]
        with pytest.raises(InvalidInput, match=r"limits\.page_size"):
            await service.load_view_query(tx, view.view_id)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cursor": "x"}, "query.cursor"),
        ({"page_size": 101}, "query.page_size"),
        ({"filters": {"metadata": {"cost": 1}}}, "query.filters.metadata.cost"),
        ({"filters": {"tags": {"any": ["x" * 65]}}}, "query.filters.tags.any"),
    ],
)
async def test_a_query_that_cannot_be_asked_is_not_saved(desk: Desk, query: dict[str, Any], field: str) -> None:
    kept = await save(desk, "Kept")
    with pytest.raises(InvalidInput) as refused:
        await save(desk, query=query)
    assert [fault["field"] for fault in refused.value.errors] == [field]
    with pytest.raises(InvalidInput) as refused:
        await update(desk, kept, query=read_query(query))
    assert [fault["field"] for fault in refused.value.errors] == [f"changes.{field}"]
    assert (await page_of(desk)).data == [kept]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\0", "a\nb", "safe\u202egnp"])
async def test_a_name_that_cannot_be_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await save(desk, name)
    assert refused.value.errors[0]["field"] == "name"
    with pytest.raises(InvalidInput) as refused:
        await update(desk, await save(desk), name=name)
    assert refused.value.errors[0]["field"] == "changes.name"


async def test_a_query_that_is_too_large_is_not_saved(desk: Desk) -> None:
    await define(desk, "note", indexed=True)
    values = [f"{number} {'x' * 490}" for number in range(100)]
    few = {"filters": {"metadata": {"note": values}}}
    assert (await save(desk, query=few)).valid
    for key in ("other", "third"):
        await define(desk, key, indexed=True)
    with pytest.raises(LimitExceeded, match="the query of the view"):
        await save(desk, "Large", query={"filters": {"metadata": {"note": values, "other": values}}})


async def test_a_change_to_null_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        await update(desk, await save(desk), name=None, query=None)
    assert [fault["field"] for fault in refused.value.errors] == ["changes.name", "changes.query"]


def test_a_view_needs_a_query_that_is_one() -> None:
    wrong: list[Any] = [None, [], "status", {"filters": {"colour": "red"}}, {"sort": "colour"}]
    for query in wrong:
        with pytest.raises(ValidationError):
            NewView.model_validate({"name": "Busy", "query": query})


async def test_views_come_in_pages_by_name(desk: Desk) -> None:
    names = ["Zebra", "apple", "Ärger", "apple pie", "Busy"]
    for number, name in enumerate(names):
        await save(desk, name, shared=number % 2 == 0)
    for name in ("Zebra", "Ärger"):
        await save(desk, name)
    seen: list[View] = []
    cursor = None
    while True:
        page = await page_of(desk, cursor, 2)
        seen += page.data
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.data) == 2
    assert len({view.view_id for view in seen}) == 7
    assert seen == (await page_of(desk)).data
    assert sorted(view.name for view in seen) == sorted([*names, "Zebra", "Ärger"])
    with pytest.raises(InvalidInput):
        await page_of(desk, "forged")

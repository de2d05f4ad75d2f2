"""Pages of the timeline: newest first, each entry once, and from an index at any depth."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
from tests.integration.api.conftest import Person
from tests.integration.work.conftest import Desk

from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.errors import Forbidden, InvalidInput
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.work.timeline import service
from datalane.work.timeline.schemas import Thing, TimelineEntry

pytestmark = pytest.mark.one_database

FILL = """
INSERT INTO datalane.timeline (workspace_id, entry_id, entity_type, entity_id, entity_version, action, summary, changes,
                               actor_id, correlation_id, occurred_at, recorded_xid)
SELECT $1, gen_random_uuid(), 'item', ('00000000-0000-7000-8000-' || lpad((n % 500)::text, 12, '0'))::uuid, 1 + n / 500,
       'updated', 'changed title', '[]', $2, 'filled', clock_timestamp(), 3 + n / 7
FROM generate_series(0, 19999) AS n
"""


async def page_through(desk: Desk, thing: Thing | None, size: int) -> list[TimelineEntry]:
    found, cursor = list[TimelineEntry](), None
    while True:
        async with desk.database.transaction(desk.context) as tx:
            page = await service.list_timeline(tx, thing, cursor, size)
        found += page.data
        cursor = page.next_cursor
        if cursor is None:
            return found
        assert len(page.data) == size


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_pages_of_any_size_tell_everything_once_and_newest_first(desk: Desk, size: int) -> None:
    first, second = await desk.create("One"), await desk.create("Two")
    first = await desk.update(first, title="Uno")
    await desk.delete(second)
    told = [(entry.entity_id, entry.entity_version, entry.action) for entry in await page_through(desk, None, size)]
    one, two = first.item_id, second.item_id
    assert told == [(two, 2, "deleted"), (one, 2, "updated"), (two, 1, "created"), (one, 1, "created")]
    versions = [entry.entity_version for entry in await page_through(desk, Thing("item", one), size)]
    assert versions == [2, 1]


async def test_entries_of_one_transaction_are_in_the_order_in_which_they_were_added(desk: Desk) -> None:
    thing = uuid7()
    async with desk.database.transaction(desk.context) as tx:
        for version in range(1, 51):
            entry = service.NewEntry("item", thing, version, "updated", "changed title", [])
            await service.add_entries(tx, [entry], utc_now())
    assert [entry.entity_version for entry in await page_through(desk, None, 100)] == list(range(50, 0, -1))


async def test_a_deleted_thing_has_its_timeline_still(desk: Desk) -> None:
    item = await desk.delete(await desk.create("Gone"))
    actions = [entry.action for entry in await page_through(desk, Thing("item", item.item_id), 10)]
    assert actions == ["deleted", "created"]
    assert await page_through(desk, Thing("project", item.item_id), 10) == []


async def test_an_entry_says_what_was_changed_by_whom(desk: Desk) -> None:
    item = await desk.update(await desk.create("One"), title="Uno")
    newest, _ = await page_through(desk, Thing("item", item.item_id), 10)
    assert newest.changes == [{"field": "title", "before": "One", "after": "Uno"}]
    assert (newest.summary, newest.actor_id) == ("changed title", desk.context.actor_id)
    assert newest.correlation_id == desk.context.correlation_id
    assert newest.occurred_at == item.updated_at


async def test_a_cursor_is_good_for_its_list_alone(desk: Desk, other_desk: Desk) -> None:
    item = await desk.update(await desk.create("One"), title="Uno")
    async with desk.database.transaction(desk.context) as tx:
        of_all = (await service.list_timeline(tx, None, None, 1)).next_cursor
        of_thing = (await service.list_timeline(tx, Thing("item", item.item_id), None, 1)).next_cursor
        for thing, cursor in (
            (None, of_thing),
            (Thing("item", item.item_id), of_all),
            (Thing("item", uuid7()), of_thing),
        ):
            with pytest.raises(InvalidInput):
                await service.list_timeline(tx, thing, cursor, 1)
    async with other_desk.database.transaction(other_desk.context) as tx:
        with pytest.raises(InvalidInput, match="another workspace"):
            await service.list_timeline(tx, None, of_all, 1)


async def test_another_workspace_sees_none_of_it(desk: Desk, other_desk: Desk) -> None:
    item = await desk.create("One")
    assert await page_through(other_desk, None, 10) == []
    assert await page_through(other_desk, Thing("item", item.item_id), 10) == []


async def test_a_key_without_the_permission_is_refused(desk: Desk) -> None:
    context = replace(desk.context, scopes=frozenset({"item.read"}))
    async with desk.database.transaction(context) as tx:
        with pytest.raises(Forbidden, match=r"timeline\.read"):
            await service.list_timeline(tx)
        with pytest.raises(Forbidden, match=r"timeline\.read"):
            await service.find_place(tx, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"entity_type": "item"}, "query.entity_id"),
        ({"entity_id": "00000000-0000-7000-8000-000000000001"}, "query.entity_type"),
        ({"entity_type": "user", "entity_id": "00000000-0000-7000-8000-000000000001"}, "query.entity_type"),
        ({"entity_type": "item", "entity_id": "x"}, "query.entity_id"),
        ({"page_size": "101"}, "query.page_size"),
        ({"cursor": "x"}, "query.cursor"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, ada: Person, query: dict[str, str], field: str
) -> None:
    answer = await client.get("/timeline/list", params=query, headers=ada.headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_the_list_over_http(client: httpx.AsyncClient, ada: Person) -> None:
    made = await client.post("/items/create", json={"title": "One"}, headers=ada.headers)
    query = {"entity_type": "item", "entity_id": made.json()["item_id"]}
    for asked in ({}, query):
        told = (await client.get("/timeline/list", params=asked, headers=ada.headers)).json()
        (entry,) = told["data"]
        assert (entry["entity_id"], entry["action"], told["next_cursor"]) == (query["entity_id"], "created", None)


async def plan(tx: Transaction, query: str, *args: Any) -> str:
    """As the app role has it, behind the wall, after so many executions that the values no longer matter."""
    sql = getattr(service._queries, query).sql
    names = list(dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql)))
    for number, name in enumerate(names, 1):
        sql = re.sub(rf"(?<!:):{name}\b", f"${number}", sql)
    await tx.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await tx.execute(f"PREPARE {query} AS {sql}")
    values = ", ".join(f"'{value}'" for value in args)
    return "\n".join(row[0] for row in await tx.fetch(f"EXPLAIN EXECUTE {query}({values})"))


async def test_every_query_reaches_its_index_behind_the_wall(
    desk: Desk, cluster: EmbeddedPostgres, urls: Prepared
) -> None:
    here, somewhere, nil = desk.context.workspace_id, UUID("00000000-0000-7000-8000-000000000007"), UUID(int=0)
    async with desk.database.transaction(desk.context) as tx:
        await tx.execute(FILL, here, desk.context.actor_id)
    with psycopg.connect(cluster.url(urlsplit(urls.database_url).path.lstrip("/")), autocommit=True) as owner:
        owner.execute("ANALYZE datalane.timeline")
    async with desk.database.transaction(desk.context) as tx:
        plans = {
            "list_entries": await plan(tx, "list_entries", here, 2_000, nil, 26),
            "list_settled": await plan(tx, "list_settled", here, 1_000, nil, 9_000, 200),
            "get_settled": await plan(tx, "get_settled", here),
            "list_entries_of_thing": await plan(tx, "list_entries_of_thing", here, "item", somewhere, 30, 26),
            "list_settled_of_thing": await plan(
                tx, "list_settled_of_thing", here, "item", somewhere, 1_000, nil, 9_000, 200
            ),
        }
    by_place = r"timeline_in_order.*\n.*Index Cond:.*workspace_id"
    by_version = r"one_entry_per_version.*\n.*Index Cond:.*entity_id"
    for name, text in plans.items():
        assert re.search(by_version if "thing" in name else by_place, text), f"{name}\n{text}"
        assert "Seq Scan" not in text
    for name in ("list_entries", "list_settled"):
        assert re.search(r"Index Cond:.*ROW\(recorded_xid, entry_id\)", plans[name]), plans[name]
    assert "Sort" not in plans["list_entries"] + plans["list_settled"] + plans["list_entries_of_thing"]

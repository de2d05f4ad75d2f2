"""Looking through events: narrowed, in pages, a bounded look at a time, and in one's own workspace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.events import NewEvent, publish_batch
from datalane.integrations.events import searching
from datalane.integrations.events.searching import EventFilter, IngestionFilter
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

LIST = "/automation/events/list"


def of(number: int, **said: Any) -> NewEvent:
    return NewEvent("invoice.paid", {"invoice": number}, **said)


async def publish_all(database: Database, who: Person, *events: NewEvent) -> list[str]:
    async with database.transaction(Context(who.workspace_id, who.user_id, Role.OWNER)) as tx:
        return [str(one.event_id) for one in await publish_batch(tx, events)]


async def listed(client: httpx.AsyncClient, who: Person, **asked: Any) -> list[str]:
    answer = await client.get(LIST, params={"event_type": "invoice.paid", **asked}, headers=who.headers)
    assert answer.status_code == 200, answer.text
    return [line["event_id"] for line in answer.json()["data"]]


async def test_events_are_listed_the_newest_first_and_narrowed(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    shop, till, other = await publish_all(
        database, ada, of(1, source_system="shop", subject_id="a"), of(2, source_system="till"), of(3, subject_id="b")
    )
    assert await listed(client, ada) == [other, till, shop]
    assert await listed(client, ada, source_system="shop") == [shop]
    assert await listed(client, ada, subject_id="b") == [other]
    assert await listed(client, ada, event_type="item.created") == []
    assert await listed(client, ada, source_system="shop", subject_id="b") == []
    shown = (await client.get(f"/automation/events/{till}", headers=ada.headers)).json()
    assert (shown["event_id"], shown["payload"], shown["source_system"]) == (till, {"invoice": 2}, "till")
    assert await listed(client, ada, correlation_id=shown["correlation_id"]) == [other, till, shop]


async def test_events_are_narrowed_to_when_they_were_received(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    [event] = await publish_all(database, ada, of(1))
    received = (await client.get(f"/automation/events/{event}", headers=ada.headers)).json()["received_at"]
    hour = timedelta(hours=1)
    before, after = (utc_now() - hour).isoformat(), (utc_now() + hour).isoformat()
    assert await listed(client, ada, since=before, until=after) == [event]
    assert await listed(client, ada, since=after) == []
    assert await listed(client, ada, until=before) == []
    assert received is not None
    for wrong in ("yesterday", "2026-01-02T03:04:05", "0000-01-01T00:00:00Z"):
        answer = await client.get(LIST, params={"since": wrong}, headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.since")


async def test_a_list_goes_on_where_a_page_ended_and_only_for_the_same_question(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    ids = await publish_all(database, ada, *(of(number) for number in range(5)))
    asked: dict[str, Any] = {"event_type": "invoice.paid", "page_size": 2}
    found: list[str] = []
    while True:
        page = (await client.get(LIST, params=asked, headers=ada.headers)).json()
        found += [line["event_id"] for line in page["data"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert found == ids[::-1]
    other = {**asked, "source_system": "shop"}
    assert (await client.get(LIST, params=other, headers=ada.headers)).status_code == 422


async def test_a_request_looks_at_so_many_and_goes_on_from_there(ada: Person, database: Database) -> None:
    [rare] = await publish_all(database, ada, of(0, source_system="rare"))
    await publish_all(database, ada, *(of(number) for number in range(1, 30)))
    wanted, pages, cursor = EventFilter(source_system="rare"), 0, None
    found: list[str] = []
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        while True:
            page = await searching.list_events(tx, wanted, cursor, page_size=5, most=10)
            found += [str(one.event_id) for one in page.data]
            pages, cursor = pages + 1, page.next_cursor
            if cursor is None:
                break
        total = await tx.fetchval("SELECT count(*) FROM datalane.events")
        log = await searching.list_ingestion(tx, IngestionFilter(source_system="rare"), page_size=5, most=10)
        refused = await searching.list_ingestion(tx, IngestionFilter(status="rejected_schema"), page_size=5, most=10)
    assert found == [rare]
    assert pages == total // 10 + 1
    assert (log.data, log.next_cursor is None) == ([], False)
    assert (refused.data, refused.next_cursor) == ([], None)


async def test_a_viewer_reads_and_another_workspaces_event_is_not_there(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join, database: Database
) -> None:
    [event] = await publish_all(database, ada, of(1))
    bob = await sign_up("bob")
    there = await join(ada, bob, "viewer")
    assert (await client.get(f"/automation/events/{event}", headers=there)).status_code == 200
    foreign = await client.get(f"/automation/events/{event}", headers=bob.headers)
    absent = await client.get(f"/automation/events/{uuid7()}", headers=bob.headers)
    assert (foreign.status_code, absent.status_code) == (404, 404)
    assert {**foreign.json(), "correlation_id": ""} == {**absent.json(), "correlation_id": ""}
    assert await listed(client, bob) == []


@pytest.mark.parametrize("page_size", [0, 101, -1, "x"])
async def test_a_page_has_a_size_that_there_is(client: httpx.AsyncClient, ada: Person, page_size: Any) -> None:
    answer = await client.get(LIST, params={"page_size": page_size}, headers=ada.headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.page_size")

"""Events over HTTP: taken once, checked by their schema, and each attempt kept in the log."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp

from datalane.contracts.context import Context, Role
from datalane.db.database import Database

PUBLISH, BATCH, LOG = (f"/automation/events/{verb}" for verb in ("publish", "publish-batch", "ingestion"))
PAID: dict[str, Any] = {"event_type": "invoice.paid", "payload": {"invoice": 7}, "source_system": "shop"}


async def publish(client: httpx.AsyncClient, who: Person, **said: Any) -> httpx.Response:
    return await client.post(PUBLISH, json={**PAID, **said}, headers=who.headers)


async def logged(client: httpx.AsyncClient, who: Person, **asked: Any) -> list[dict[str, Any]]:
    answer = await client.get(LOG, params=asked, headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def stored(database: Database, who: Person) -> list[tuple[Any, ...]]:
    async with database.transaction(Context(who.workspace_id, who.user_id, Role.OWNER)) as tx:
        rows = await tx.fetch(
            "SELECT source_event_id, payload FROM datalane.events WHERE event_type = 'invoice.paid' ORDER BY event_id"
        )
    return [tuple(row) for row in rows]


async def test_an_event_that_is_sent_again_is_a_duplicate_without_effect(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    first = await publish(client, ada, source_event_id="order 7", occurred_at="2026-01-02T03:04:05Z")
    again = await publish(client, ada, source_event_id="order 7", payload={"invoice": 8})
    elsewhere = await publish(client, ada, source_event_id="order 7", source_system="till")
    assert [answer.status_code for answer in (first, again, elsewhere)] == [201, 201, 201]
    event_id = first.json()["event_id"]
    assert first.json() == {"event_id": event_id, "ingestion_status": "accepted"}
    assert again.json() == {"event_id": event_id, "ingestion_status": "duplicate"}
    assert elsewhere.json()["ingestion_status"] == "accepted"
    assert await stored(database, ada) == [("order 7", {"invoice": 7}), ("order 7", {"invoice": 7})]
    log = await logged(client, ada, source_system="shop")
    assert [(line["ingestion_status"], line["event_id"]) for line in log] == [
        ("duplicate", event_id),
        ("accepted", event_id),
    ]
    assert log[0]["correlation_id"] == again.headers["x-correlation-id"]


@pytest.mark.parametrize(
    ("said", "code", "says"),
    [
        ({"payload": {"invoice": "seven hundred"}}, "schema_violation", "schema: invoice"),
        ({"payload": {}}, "schema_violation", "version 1 of its schema"),
        ({"version": 2}, "invalid_input", "invoice.paid version 2 is not registered"),
        ({"event_type": "invoice.eaten"}, "invalid_input", "invoice.eaten version 1 is not registered"),
        ({"event_type": "membership.added"}, "invalid_input", "the lane's own to publish"),
        ({"payload": {"invoice": 7, "note": "\x00"}}, "invalid_input", "NUL character"),
        ({"payload": {"invoice": 7, "note": "x" * 300_000}}, "limit_exceeded", "over the limit of 262,144"),
    ],
)
async def test_what_is_refused_is_kept_in_sight_and_stores_nothing(
    client: httpx.AsyncClient, ada: Person, database: Database, said: dict[str, Any], code: str, says: str
) -> None:
    answer = await publish(client, ada, source_event_id="order 7", **said)
    assert answer.json()["code"] == code, answer.text
    [line] = await logged(client, ada, ingestion_status="rejected_schema")
    assert (line["event_id"], line["source_event_id"], says in line["detail"]) == (None, "order 7", True), line
    assert "seven hundred" not in line["detail"], "the log holds nothing of a payload"
    assert await stored(database, ada) == []
    assert (await publish(client, ada, source_event_id="order 7")).json()["ingestion_status"] == "accepted"


@pytest.mark.parametrize(
    "said",
    [
        {"event_type": "Invoice.Paid"},
        {"event_type": "paid"},
        {"event_type": f"invoice.{'x' * 200}"},
        {"source_system": "datalane"},
        {"source_system": ""},
        {"source_event_id": "a\x00b"},
        {"version": 0},
        {"version": 2**31},
        {"occurred_at": "2026-01-02T03:04:05"},
        {"occurred_at": "9999-12-31T23:59:59-12:00"},
        {"occurred_at": "0001-01-01T00:00:00Z"},
        {"workspace_id": "01a22747-54a7-773d-9a3f-1e734a9de106"},
        {"signature_verified": True},
    ],
)
async def test_what_is_no_event_is_refused_by_its_field(
    client: httpx.AsyncClient, ada: Person, said: dict[str, Any]
) -> None:
    answer = await publish(client, ada, **said)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert [fault["field"] for fault in answer.json()["errors"]] == [f"body.{name}" for name in said]
    assert await logged(client, ada, event_type="invoice.paid") == []


async def test_each_event_of_a_batch_has_its_own_result(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    events: list[dict[str, Any]] = [
        {**PAID, "source_event_id": "1"},
        {**PAID, "payload": {"invoice": None}, "source_event_id": "2"},
        {**PAID, "source_event_id": "1", "payload": {"invoice": 9}},
        {**PAID, "event_type": "item.created"},
        {**PAID, "source_event_id": "3"},
    ]
    answer = await client.post(BATCH, json={"events": events}, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["ingestion_status"] for result in results] == [
        "accepted",
        "rejected_schema",
        "duplicate",
        "rejected_schema",
        "accepted",
    ]
    assert results[2]["event_id"] == results[0]["event_id"]
    assert (results[1]["event_id"], "invoice: null is not" in results[1]["detail"]) == (None, True)
    assert [row[0] for row in await stored(database, ada)] == ["1", "3"]
    log = await logged(client, ada)
    assert sorted(line["ingestion_status"] for line in log if line["source_system"] == "shop") == sorted(
        result["ingestion_status"] for result in results
    )


def swelling(**said: Any) -> dict[str, Any]:
    """An event whose numbers the database writes with 301 digits each: larger there than it was sent."""
    return {**PAID, "payload": {"invoice": 7, "numbers": [1e300] * 20_000}, **said}


async def test_what_the_database_alone_refuses_is_kept_in_sight_and_keeps_no_other_from_being_published(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    alone = await client.post(PUBLISH, json=swelling(source_event_id="1"), headers=ada.headers)
    assert (alone.status_code, alone.json()["code"]) == (413, "limit_exceeded")
    events = [{**PAID, "source_event_id": "2"}, swelling(source_event_id="3"), {**PAID, "source_event_id": "4"}]
    answer = await client.post(BATCH, json={"events": events}, headers=ada.headers)
    results = answer.json()["results"]
    assert [result["ingestion_status"] for result in results] == ["accepted", "rejected_schema", "accepted"]
    assert "over the limit" in results[1]["detail"]
    assert [row[0] for row in await stored(database, ada)] == ["2", "4"]
    assert [line["source_event_id"] for line in await logged(client, ada, ingestion_status="rejected_schema")] == [
        "3",
        "1",
    ]


async def test_a_refusal_does_not_send_back_all_that_was_sent(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await publish(client, ada, payload={"invoice": "x" * 250_000})
    assert (answer.status_code, len(answer.content) < 2_000) == (422, True)


async def test_a_batch_over_the_limit_and_an_empty_one_are_refused(client: httpx.AsyncClient, ada: Person) -> None:
    for events in ([], [PAID] * 1_001):
        answer = await client.post(BATCH, json={"events": events}, headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.events")


async def test_a_repeated_request_gets_the_first_answer_and_publishes_once(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    headers = {**ada.headers, "Idempotency-Key": "once"}
    answers = [await client.post(PUBLISH, json=PAID, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(await stored(database, ada)) == 1


async def test_a_viewer_reads_the_log_and_publishes_nothing(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob = await sign_up("bob")
    there = await join(ada, bob, "viewer")
    for path, body in ((PUBLISH, PAID), (BATCH, {"events": [PAID]})):
        answer = await client.post(path, json=body, headers=there)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get(LOG, headers=there)).status_code == 200
    assert await logged(client, bob, event_type="invoice.paid") == []


async def test_the_log_goes_on_where_a_page_ended_and_only_for_the_same_question(
    client: httpx.AsyncClient, ada: Person
) -> None:
    for number in range(5):
        await publish(client, ada, source_event_id=str(number))
    asked: dict[str, str | int] = {"event_type": "invoice.paid", "page_size": 3}
    first = (await client.get(LOG, params=asked, headers=ada.headers)).json()
    rest = (await client.get(LOG, params={**asked, "cursor": first["next_cursor"]}, headers=ada.headers)).json()
    assert [line["source_event_id"] for line in (*first["data"], *rest["data"])] == list("43210")
    assert rest["next_cursor"] is None
    other = {"cursor": first["next_cursor"], "source_system": "shop"}
    assert (await client.get(LOG, params=other, headers=ada.headers)).status_code == 422


async def test_what_was_refused_is_found_without_reading_what_was_accepted(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    await publish(client, ada, version=2)
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        await tx.execute("SET LOCAL enable_seqscan = off")
        plan = await tx.fetch(
            "EXPLAIN SELECT FROM datalane.event_ingestion WHERE workspace_id = $1 AND ingestion_status <> 'accepted' "
            "AND ingestion_status = $2 ORDER BY ingestion_id DESC LIMIT 26",
            ada.workspace_id,
            "rejected_schema",
        )
    read = [row[0] for row in plan if "Scan" in row[0]]
    assert read
    assert [line for line in read if "_ingestion_status_ingest" not in line] == []
    assert len(await logged(client, ada, ingestion_status="rejected_schema")) == 1
    assert await logged(client, ada, ingestion_status="duplicate") == []

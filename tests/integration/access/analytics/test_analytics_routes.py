"""Analytics over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.access.conftest import PRO, plans_of
from tests.integration.api.conftest import Join, OpenLane, Person, SignUp, ada, bob, client, join, sign_up

from datalane.access import routes
from datalane.access.entitlements.plans import register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.registration import register
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.settings import Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]

Acting = Person | dict[str, str]
"""Someone in their own workspace, or the headers with which they act in another one."""
PLAN = {"event_name": "signup.completed", "json_schema": {"required": ["source"]}, "owner": "growth"}


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router)


def headers_of(person: Acting) -> dict[str, str]:
    return person.headers if isinstance(person, Person) else person


def event(key: str, payload: Any = None, **said: Any) -> dict[str, Any]:
    usual = {"event_name": "signup.completed", "occurred_at": utc_now().isoformat(), "source_event_id": key}
    return {**usual, "payload": {"source": "ad"} if payload is None else payload, **said}


async def post(client: httpx.AsyncClient, person: Acting, path: str, body: Any, status: int = 200) -> Any:
    answer = await client.post(path, json=body, headers=headers_of(person))
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(client: httpx.AsyncClient, person: Acting, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query, headers=headers_of(person))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_event_comes_alone_or_with_others(client: httpx.AsyncClient, ada: Person) -> None:
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 200)
    changed = {**PLAN, "json_schema": {}}
    assert (await post(client, ada, "/analytics/tracking-plan/register", changed, 409))["code"] == "conflict"
    one = await post(client, ada, "/billing/analytics-events", event("1"))
    assert [each["outcome"] for each in one["data"]] == ["accepted"]
    told = await post(client, ada, "/billing/analytics-events", {"events": [event("2"), event("3", {})]})
    assert [each["outcome"] for each in told["data"]] == ["accepted", "quarantined"]
    assert told["data"][1]["payload_validation_status"] == "missing_required_fields"
    listed = await get(client, ada, "/billing/analytics-events", event_name="signup.completed")
    assert [(each["source_event_id"], each["quarantined"]) for each in listed["data"]] == [
        ("3", True),
        ("2", False),
        ("1", False),
    ]
    assert (await get(client, ada, "/billing/analytics-events", status="invalid_schema"))["data"] == []
    versions = await get(client, ada, "/analytics/tracking-plan/list", page_size=1)
    assert [each["event_name"] for each in versions["data"]] == ["signup.completed"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"events": []}',
        b'{"events": [], "more": 1}',
        b'{"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-01-01T00:00:00Z", "payload": {"n": NaN}}',
        b'{"event_name": "a.b", "source_event_id": "a\\u0000", "occurred_at": "2031-01-01T00:00:00Z"}',
        b'{"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-01-01T00:00Z", "payload": {"\\u0000": 1}}',
        b'{"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-01-01T00:00:00"}',
        b'{"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-01-01T00:00:00Z", "workspace_id": "x"}',
        b"[]",
        b"null",
    ],
)
async def test_what_is_malformed_is_refused(client: httpx.AsyncClient, ada: Person, body: bytes) -> None:
    headers = {**ada.headers, "content-type": "application/json"}
    answer = await client.post("/billing/analytics-events", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert (await get(client, ada, "/billing/analytics-events"))["data"] == []


async def test_a_fault_of_one_event_is_told_by_its_place(client: httpx.AsyncClient, ada: Person) -> None:
    told = await post(
        client, ada, "/billing/analytics-events", {"events": [event("1"), event("2", occurred_at="soon")]}, 422
    )
    assert [fault["field"] for fault in told["errors"]] == ["body.batch.events.1.occurred_at"]
    told = await post(client, ada, "/billing/analytics-events", event("1", more=1), 422)
    assert [fault["field"] for fault in told["errors"]] == ["body.event.more"]


async def test_a_body_of_a_megabyte_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    large = await post(client, ada, "/billing/analytics-events", event("1", {"source": "x" * 300_000}), 413)
    assert "the payload of event 0 is 300,013 bytes" in large["detail"]
    await post(client, ada, "/billing/analytics-events", event("1", {"source": "x" * 2**20}), 413)


async def test_a_hostile_schema_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    twice: dict[str, Any] = {"$defs": {}}
    for level in range(40):
        twice["$defs"][f"l{level}"] = {"allOf": [{"$ref": f"#/$defs/l{level + 1}"}] * 2}
    twice["$defs"]["l40"] = {}
    twice["$ref"] = "#/$defs/l0"
    for schema, status in (
        (twice, 413),
        ({"$ref": "https://example.org/schema"}, 422),
        ({"pattern": "(?=x)"}, 422),
        ({"type": 7}, 422),
    ):
        body = {**PLAN, "json_schema": schema}
        answer = await client.post("/analytics/tracking-plan/register", json=body, headers=ada.headers)
        assert answer.status_code == status, answer.text
    listed = await client.get("/analytics/tracking-plan/list", headers=ada.headers)
    assert listed.json()["data"] == []


async def test_what_is_held_is_mended(client: httpx.AsyncClient, ada: Person) -> None:
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    await post(client, ada, "/billing/analytics-events", {"events": [event("1", {}), event("2", {})]})
    fix = {"source_event_id": "1", "version": 1, "payload": {"source": "ad"}, "note": "the client forgot it"}
    repaired = await post(client, ada, "/analytics/quarantine/repair", fix)
    assert (repaired["version"], repaired["reasons"]) == (2, [])
    stale = await post(client, ada, "/analytics/quarantine/repair", fix, 409)
    assert (stale["code"], stale["current"]["version"]) == ("stale_version", 2)
    dry = await post(client, ada, "/analytics/quarantine/replay", {"dry_run": True})
    assert (dry["landed"], dry["still_held"]) == (1, 1)
    assert (await post(client, ada, "/analytics/quarantine/replay", {}))["landed"] == 1
    gone = {"filter": {"source_event_ids": ["2"]}, "reason": "nobody knows its source"}
    assert (await post(client, ada, "/analytics/quarantine/discard", gone))["discarded"] == 1
    assert (await get(client, ada, "/analytics/quarantine/list"))["data"] == []
    landed = await get(client, ada, "/analytics/quarantine/list", status="landed")
    assert [each["source_event_id"] for each in landed["data"]] == ["1"]
    retired = {"event_name": "signup.completed", "event_version": 1, "reason": "version 2 is out"}
    assert (await post(client, ada, "/analytics/tracking-plan/retire", retired))["retired_reason"] == "version 2 is out"
    await post(client, ada, "/analytics/tracking-plan/retire", {**retired, "event_version": 7}, 404)


async def test_an_anomaly_is_found_by_its_filters(client: httpx.AsyncClient, ada: Person, database: Database) -> None:
    await register_plans(database, plans_of(PRO))
    async with database.transaction(Context.system(ada.workspace_id)) as tx:
        await assign_plan(tx, "pro", reason="it was sold")
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    at = (utc_now() + timedelta(minutes=30)).isoformat()
    told = await post(client, ada, "/billing/analytics-events", event("1", plan_id="free", occurred_at=at))
    assert (told["anomalies"], told["data"][0]["anomaly"]) == (1, True)
    [found] = (await get(client, ada, "/billing/integrity-anomalies", status="open", plan_id="free"))["data"]
    assert (found["expected_plan_id"], found["observed_plan_id"], found["differs"]) == ("pro", "free", ["plan_id"])
    assert await get(client, ada, f"/billing/integrity-anomalies/{found['anomaly_id']}") == found
    assert (await get(client, ada, "/billing/integrity-anomalies", event_name="other.event"))["data"] == []
    missing = await client.get(f"/billing/integrity-anomalies/{uuid7()}", headers=ada.headers)
    assert missing.status_code == 404


async def test_questions_are_answered(client: httpx.AsyncClient, ada: Person) -> None:
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    at = utc_now() - timedelta(days=1)
    events = [event(who, subject=who, occurred_at=at.isoformat()) for who in ("a", "b")]
    await post(client, ada, "/billing/analytics-events", {"events": events})
    yesterday = at.date().isoformat()
    span = {"first_day": yesterday, "last_day": yesterday}
    funnel = await post(client, ada, "/analytics/queries/funnel", {"steps": ["signup.completed", "a.b"], **span})
    assert [step["subjects"] for step in funnel["data"][0]["steps"]] == [2, 0]
    retention = await post(client, ada, "/analytics/queries/retention", {"entry_event": "signup.completed", **span})
    assert [cohort["subjects"] for cohort in retention["data"]] == [2]
    named = {"event_name": "signup.completed", **span}
    assert (await post(client, ada, "/analytics/queries/adoption", named))["data"][0]["share"] == 1
    assert (await post(client, ada, "/analytics/queries/segments", named))["data"][0]["subjects"] == 2
    assert (await post(client, ada, "/analytics/queries/trend", named))["data"][0]["events"] == 2
    wrongs: tuple[dict[str, Any], ...] = (
        {"time_zone": "Mars"},
        {"last_day": "1999-01-01"},
        {"steps": []},
        {"first_day": "2031-02-30"},
    )
    for wrong in wrongs:
        await post(client, ada, "/analytics/queries/funnel", {"steps": ["a.b"], **span, **wrong}, 422)


async def test_a_viewer_reads_and_a_member_mends_nothing(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, sign_up: SignUp
) -> None:
    cid = await sign_up("cid")
    viewer, member = await join(ada, bob, "viewer"), await join(ada, cid, "member")
    await post(client, ada, "/analytics/tracking-plan/register", PLAN, 201)
    await post(client, member, "/billing/analytics-events", event("1", {}))
    assert len((await get(client, viewer, "/billing/analytics-events"))["data"]) == 1
    await post(client, viewer, "/billing/analytics-events", event("2"), 403)
    for path, body in (
        ("/analytics/tracking-plan/register", {**PLAN, "event_version": 2}),
        ("/analytics/quarantine/replay", {}),
        ("/analytics/quarantine/discard", {"filter": {}, "reason": "away"}),
    ):
        await post(client, member, path, body, 403)


async def test_another_workspace_is_not_seen(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        await post(client, person, "/analytics/tracking-plan/register", PLAN, 201)
    await post(client, ada, "/billing/analytics-events", {"events": [event("1"), event("2", {})]})
    assert (await get(client, bob, "/billing/analytics-events"))["data"] == []
    assert (await get(client, bob, "/analytics/quarantine/list"))["data"] == []
    fix = {"source_event_id": "2", "version": 1, "payload": {"source": "ad"}, "note": "mine"}
    await post(client, bob, "/analytics/quarantine/repair", fix, 404)
    assert (await post(client, bob, "/billing/analytics-events", event("1", {"source": "b"})))["accepted"] == 1


async def test_every_list_is_walked_by_its_cursor_and_refuses_any_other(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    for person in (ada, bob):
        for version in (1, 2, 3):
            tracked = {**PLAN, "event_version": version}
            await post(client, person, "/analytics/tracking-plan/register", tracked, 201)
        told = [event(str(number), plan_id="seen") for number in range(3)]
        held = [event(f"held {number}", {}) for number in range(3)]
        await post(client, person, "/billing/analytics-events", {"events": [*told, *held]})
    lists = {
        "/billing/analytics-events": ("source_event_id", 6),
        "/billing/integrity-anomalies": ("anomaly_id", 3),
        "/analytics/tracking-plan/list": ("event_version", 3),
        "/analytics/quarantine/list": ("source_event_id", 3),
    }
    cursors = dict[str, str]()
    for path, (key, count) in lists.items():
        everything = [row[key] for row in (await get(client, ada, path))["data"]]
        walked, said = list[Any](), dict[str, Any]()
        while True:
            page = await get(client, ada, path, page_size=1, **said)
            walked += [row[key] for row in page["data"]]
            if page["next_cursor"] is None:
                break
            said = {"cursor": page["next_cursor"]}
            cursors.setdefault(path, page["next_cursor"])
        assert (walked, len(walked)) == (everything, count)
    for path in lists:
        wrong = [cursor for other, cursor in cursors.items() if other != path]
        wrong += ["", "x", cursors[path][:-1], "\x00", (await get(client, bob, path, page_size=1))["next_cursor"]]
        for cursor in wrong:
            answer = await client.get(path, params={"cursor": cursor}, headers=ada.headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), f"{path} {cursor}"

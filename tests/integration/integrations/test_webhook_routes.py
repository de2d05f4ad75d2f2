"""Webhooks over HTTP: endpoints, what is asked for by hand, the log, replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from tests.integration.api.conftest import Join, OpenLane, Person, SignUp
from tests.integration.engine.lab import eventually
from tests.integration.integrations.hooks import Hooks, register_types, settings_of
from tests.integration.integrations.sink import Sink, Taken, answer, listening

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.actions import ActionCall, Actions
from datalane.engine.events import publish
from datalane.integrations.runtime import make_integrations
from datalane.kit.ids import uuid7
from datalane.settings import Pauses

ENDPOINTS, OUTBOUND = "/webhooks/endpoints", "/webhooks/outbound"


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register_types(database)
    return OpenLane(database, settings_of(pauses=Pauses.read("3600")))


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with listening() as opened:
        yield opened


@pytest.fixture
def hooks(lane: OpenLane, ada: Person) -> Hooks:
    """Ada's workspace, with a worker of the same settings."""
    return Hooks(lane.database, Context(ada.workspace_id, ada.user_id, Role.OWNER), lane.settings)


class Asked:
    """Somebody at the routes."""

    def __init__(self, client: httpx.AsyncClient, who: Person) -> None:
        self._client = client
        self.headers = who.headers

    async def post(self, path: str, status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> Any:
        answered = await self._client.post(path, json=body, headers={**self.headers, **(headers or {})})
        assert answered.status_code == status, answered.text
        return answered.json()

    async def get(self, path: str, code: int = 200, **params: Any) -> Any:
        answered = await self._client.get(path, params=params, headers=self.headers)
        assert answered.status_code == code, answered.text
        return answered.json()

    async def create(self, url: str, **said: Any) -> Any:
        return await self.post(f"{ENDPOINTS}/create", 201, url=url, event_types=["invoice.paid"], **said)


@pytest.fixture
def asked(client: httpx.AsyncClient, ada: Person) -> Asked:
    return Asked(client, ada)


async def test_a_secret_is_shown_once_and_no_repeated_answer_has_it(asked: Asked, sink: Sink) -> None:
    key = {"Idempotency-Key": "make-it-once"}
    said = {"url": sink.url, "event_types": ["invoice.paid"]}
    made = await asked.post(f"{ENDPOINTS}/create", 201, key, **said)
    again = await asked.post(f"{ENDPOINTS}/create", 201, key, **said)
    assert made["secret"].startswith("whsec_")
    assert again["secret"] is None
    assert again["endpoint"] == made["endpoint"]
    endpoint_id = made["endpoint"]["endpoint_id"]
    rotated = await asked.post(f"{ENDPOINTS}/rotate-secret", endpoint_id=endpoint_id)
    assert rotated["secret"] not in (None, made["secret"])
    listed = await asked.get(f"{ENDPOINTS}/list")
    one = await asked.get(f"{ENDPOINTS}/{endpoint_id}")
    assert listed["data"] == [one]
    assert "secret" not in one


async def test_the_life_of_an_endpoint(asked: Asked, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    changed = await asked.post(f"{ENDPOINTS}/update", endpoint_id=endpoint_id, version=1, description="ours")
    assert (changed["description"], changed["version"]) == ("ours", 2)
    stale = await asked.post(f"{ENDPOINTS}/update", 409, endpoint_id=endpoint_id, version=1, description="mine")
    assert stale["code"] == "stale_version"
    assert stale["current"]["description"] == "ours"
    disabled = await asked.post(f"{ENDPOINTS}/disable", endpoint_id=endpoint_id)
    assert (disabled["status"], disabled["status_reason"]) == ("disabled", "admin")
    assert (await asked.post(f"{ENDPOINTS}/disable", endpoint_id=endpoint_id)) == disabled
    assert (await asked.post(f"{ENDPOINTS}/recover", 409, endpoint_id=endpoint_id))["code"] == "conflict"
    assert (await asked.post(f"{ENDPOINTS}/enable", endpoint_id=endpoint_id))["status"] == "enabled"
    assert (await asked.post(f"{ENDPOINTS}/remove", endpoint_id=endpoint_id))["dead_letters"] == 0
    for verb in ("enable", "disable", "remove", "rotate-secret", "recover"):
        await asked.post(f"{ENDPOINTS}/{verb}", 404, endpoint_id=endpoint_id)
    await asked.get(f"{ENDPOINTS}/{endpoint_id}", 404)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"url": "https://10.0.0.1/"}, "body.url"),
        ({"url": "http://example.com/"}, "body.url"),
        ({"event_types": ["invoice.eaten"]}, "body.event_types"),
        ({"event_types": []}, "body.event_types"),
        ({"event_types": ["*", "invoice.paid"]}, "body.event_types"),
        ({"event_types": ["Invoice Paid"]}, "body.event_types.0"),
        ({"signing": "rot13"}, "body.signing"),
        ({"description": "x" * 501}, "body.description"),
        ({"secret": "mine"}, "body.secret"),
    ],
)
async def test_what_no_endpoint_may_be_is_refused(asked: Asked, sink: Sink, said: dict[str, Any], field: str) -> None:
    body = {"url": sink.url, "event_types": ["invoice.paid"], **said}
    refused = await asked.post(f"{ENDPOINTS}/create", 422, **body)
    assert [error["field"] for error in refused["errors"]] == [field]
    assert (await asked.get(f"{ENDPOINTS}/list"))["data"] == []


async def test_a_connector_that_is_not_there_has_no_endpoint(asked: Asked, sink: Sink) -> None:
    said: dict[str, Any] = {"url": sink.url, "event_types": ["invoice.paid"], "connector_id": str(uuid4())}
    [fault] = (await asked.post(f"{ENDPOINTS}/create", 422, **said))["errors"]
    assert (fault["field"], fault["code"]) == ("body.connector_id", "unknown_connector")
    assert (await asked.get(f"{ENDPOINTS}/list"))["data"] == []


async def test_a_payload_is_delivered_by_hand_and_tried_at_once(asked: Asked, sink: Sink) -> None:
    made = await asked.create(sink.url)
    sink.reply = answer(500, b"busy")
    said = {"endpoint_id": made["endpoint"]["endpoint_id"], "event_type": "invoice.paid", "payload": {"invoice": 9}}
    queued = await asked.post(f"{OUTBOUND}/enqueue", 202, **said)
    assert (queued["status"], queued["message_id"]) == ("pending", queued["delivery_id"])
    tried = await asked.post(f"{OUTBOUND}/attempt", delivery_id=queued["delivery_id"])
    assert (tried["delivery"]["status"], tried["attempt"]["error_class"]) == ("failed", "server_error")
    assert tried["attempt"]["response_excerpt"] == "busy"
    sink.reply = answer(200)
    tried = await asked.post(f"{OUTBOUND}/attempt", delivery_id=queued["delivery_id"])
    assert (tried["delivery"]["status"], tried["attempt"]["attempt"]) == ("delivered", 2)
    ended = await asked.post(f"{OUTBOUND}/attempt", 409, delivery_id=queued["delivery_id"])
    assert ended["code"] == "illegal_transition"
    assert [Webhook(made["secret"]).verify(each.body, each.headers)["data"] for each in sink.taken] == [
        {"invoice": 9}
    ] * 2
    detail = await asked.get(f"{OUTBOUND}/{queued['delivery_id']}")
    assert [each["outcome"] for each in detail["attempts"]] == ["failed", "delivered"]


async def test_a_job_that_comes_after_a_try_by_hand_sends_nothing_again(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    said = {"endpoint_id": endpoint_id, "event_type": "invoice.paid", "payload": {"invoice": 9}}
    queued = await asked.post(f"{OUTBOUND}/enqueue", 202, **said)
    await asked.post(f"{OUTBOUND}/attempt", delivery_id=queued["delivery_id"])
    async with hooks.working():
        await hooks.until_idle()
    assert len(sink.taken) == 1


async def test_while_an_attempt_is_under_way_no_other_begins(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    said = {"endpoint_id": endpoint_id, "event_type": "invoice.paid", "payload": {"invoice": 9}}
    delivery_id = (await asked.post(f"{OUTBOUND}/enqueue", 202, **said))["delivery_id"]
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute(
            "INSERT INTO datalane.webhook_attempts (workspace_id, delivery_id, attempt, began_at) "
            "VALUES ($1, $2, 1, now())",
            *(tx.workspace_id, delivery_id),
        )
        await tx.execute("UPDATE datalane.webhook_deliveries SET attempt_count = 1")
    refused = await asked.post(f"{OUTBOUND}/attempt", 409, delivery_id=delivery_id)
    assert "under way" in refused["detail"]
    assert sink.taken == []


async def test_a_job_lets_an_attempt_by_hand_come_to_its_end(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    said = {"endpoint_id": endpoint_id, "event_type": "invoice.paid", "payload": {"invoice": 9}}
    delivery_id = (await asked.post(f"{OUTBOUND}/enqueue", 202, **said))["delivery_id"]
    answering = asyncio.Event()

    async def when_told(taken: Taken, writer: asyncio.StreamWriter) -> None:
        await answering.wait()
        await answer(200)(taken, writer)

    sink.reply = when_told
    by_hand = asyncio.create_task(asked.post(f"{OUTBOUND}/attempt", delivery_id=delivery_id))
    await sink.until(1)

    async def put_off() -> bool:
        return bool(await hooks.rows("SELECT FROM datalane.jobs WHERE status = 'retrying'"))

    async with hooks.working():
        await eventually(put_off)
        answering.set()
        assert (await by_hand)["attempt"]["outcome"] == "delivered"
        await hooks.until_idle()
    assert len(sink.taken) == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"payload": {"invoice": "nine"}}, 422),
        ({"event_type": "invoice.eaten"}, 422),
        ({"event_type": None}, 422),
        ({"event_id": str(uuid4())}, 422),
        ({"event_type": None, "payload": None, "event_id": str(uuid4())}, 404),
        ({"endpoint_id": str(uuid4())}, 404),
        ({"payload": {"invoice": 1, "note": "x" * 300_000}}, 413),
    ],
)
async def test_what_cannot_be_delivered_is_refused(asked: Asked, sink: Sink, said: dict[str, Any], status: int) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    body = {"endpoint_id": endpoint_id, "event_type": "invoice.paid", "payload": {"invoice": 9}, **said}
    await asked.post(
        f"{OUTBOUND}/enqueue", status, **{name: value for name, value in body.items() if value is not None}
    )
    assert (await asked.get(f"{OUTBOUND}/list"))["data"] == []


async def test_a_replay_is_a_new_delivery_of_the_same_message(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    await asked.create(sink.url)
    sink.reply = answer(500)
    await hooks.pay(7)
    async with hooks.working():
        [failed] = await hooks.until(1, "failed")
        early = await asked.post(f"{OUTBOUND}/replay", 409, ids=[str(failed.delivery_id)])
        assert early["code"] == "conflict"
        await asked.post(f"{OUTBOUND}/attempt", delivery_id=str(failed.delivery_id))
        [dead] = await hooks.until(1, "dead_letter")
        sink.reply = answer(204)
        counted = await asked.post(f"{OUTBOUND}/replay", 202, where={}, dry_run=True)
        assert counted == {"matched": 1, "replayed": 0, "skipped": 0, "ids": [], "dry_run": True}
        replayed = await asked.post(f"{OUTBOUND}/replay", 202, where={"event_type": "invoice.paid"})
        assert (replayed["matched"], replayed["replayed"]) == (1, 1)
        _, again = await hooks.until(2, "dead_letter", "delivered")
    assert [str(again.delivery_id)] == replayed["ids"]
    assert (again.parent_delivery_id, again.status) == (dead.delivery_id, "delivered")
    assert len({(each.message_id, each.body) for each in sink.taken}) == 1
    assert len(sink.taken) == 3
    assert (await asked.post(f"{OUTBOUND}/replay", 202, where={}))["matched"] == 0
    strange = await asked.post(f"{OUTBOUND}/replay", 404, ids=[str(dead.delivery_id), str(uuid4())])
    assert strange["detail"] == "no such webhook delivery"
    both = [str(dead.delivery_id), str(again.delivery_id)]
    counted = await asked.post(f"{OUTBOUND}/replay", 202, ids=both, dry_run=True)
    assert (counted["matched"], counted["replayed"]) == (2, 0)
    assert len(await hooks.deliveries()) == 2, "neither of the two changed anything"
    assert (await asked.post(f"{OUTBOUND}/replay", 202, ids=both))["replayed"] == 2


async def test_the_log_is_narrowed_and_goes_page_by_page(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    await asked.create(sink.url + "/other")
    events = await hooks.pay(1, 2, 3)
    async with hooks.working():
        await hooks.until(6)
    first = await asked.get(f"{OUTBOUND}/list", endpoint_id=endpoint_id, page_size=2)
    second = await asked.get(f"{OUTBOUND}/list", endpoint_id=endpoint_id, page_size=2, cursor=first["next_cursor"])
    assert [len(page["data"]) for page in (first, second)] == [2, 1]
    assert second["next_cursor"] is None
    assert {each["event_id"] for page in (first, second) for each in page["data"]} == {*map(str, events)}
    cases: list[tuple[dict[str, Any], int]] = [
        ({"event_id": str(events[0])}, 2),
        ({"status": "delivered"}, 6),
        ({"status": "dead_letter"}, 0),
        ({"event_type": "invoice.paid"}, 6),
        ({"event_type": "invoice.sent"}, 0),
    ]
    for narrowed, count in cases:
        assert len((await asked.get(f"{OUTBOUND}/list", **narrowed))["data"]) == count
    other = await asked.get(f"{OUTBOUND}/list", 422, cursor=first["next_cursor"])
    assert other["code"] == "invalid_input"


async def test_members_read_and_admins_change(
    client: httpx.AsyncClient, asked: Asked, ada: Person, join: Join, sign_up: SignUp, sink: Sink
) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    grace = await sign_up("grace")
    member = Asked(client, grace)
    member.headers = await join(ada, grace, "member")
    assert (await member.get(f"{ENDPOINTS}/{endpoint_id}"))["endpoint_id"] == endpoint_id
    for verb in ("enable", "disable", "remove", "rotate-secret", "recover"):
        await member.post(f"{ENDPOINTS}/{verb}", 403, endpoint_id=endpoint_id)
    for verb in ("attempt", "replay"):
        await member.post(f"{OUTBOUND}/{verb}", 403, delivery_id=str(uuid4()))


async def test_what_is_another_workspaces_is_not_there(
    client: httpx.AsyncClient, asked: Asked, hooks: Hooks, sign_up: SignUp, sink: Sink
) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    [event_id] = await hooks.pay(1)
    async with hooks.working():
        [delivery] = await hooks.until(1)
    stranger = Asked(client, await sign_up("eve"))
    await stranger.get(f"{ENDPOINTS}/{endpoint_id}", 404)
    await stranger.get(f"{OUTBOUND}/{delivery.delivery_id}", 404)
    await stranger.post(f"{OUTBOUND}/attempt", 404, delivery_id=str(delivery.delivery_id))
    await stranger.post(f"{OUTBOUND}/replay", 404, ids=[str(delivery.delivery_id)])
    await stranger.post(f"{OUTBOUND}/enqueue", 404, endpoint_id=endpoint_id, event_id=str(event_id))
    assert (await stranger.get(f"{OUTBOUND}/list"))["data"] == []


async def test_the_action_delivers_the_event_of_its_run_once(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    actions = Actions()
    make_integrations(hooks.settings, actions)
    async with hooks.database.transaction(replace(hooks.admin, role=Role.SYSTEM)) as tx:
        event = await publish(tx, "security.anomaly", {"kind": "test"})
    call = ActionCall(uuid7(), 0, event.event_id)
    made = []
    for _ in range(2):
        async with hooks.database.transaction(replace(hooks.admin, role=Role.SYSTEM)) as tx:
            arguments = actions.read("webhook.deliver", {"endpoint_id": endpoint_id})
            made.append(await actions.get("webhook.deliver").run(tx, arguments, call))
    assert made[0] == made[1]
    async with hooks.working():
        [delivery] = await hooks.until(1)
    assert str(delivery.delivery_id) == made[0]["delivery_id"]
    assert [taken.message["type"] for taken in sink.taken] == ["security.anomaly"]


async def test_owners_are_told_of_an_endpoint_that_the_lane_disabled_and_not_of_one_that_they_did(
    asked: Asked, hooks: Hooks, sink: Sink
) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    other = (await asked.create(sink.url + "/other"))["endpoint"]["endpoint_id"]
    await asked.post(f"{ENDPOINTS}/disable", endpoint_id=other)
    sink.reply = answer(410)
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(2, "failed", "pending", held=True)
        await hooks.until_idle()
    [notice] = (await asked.get("/notifications/list"))["data"]
    assert (notice["category"], notice["subject_id"]) == ("webhooks", endpoint_id)
    assert notice["title"] == "The webhook endpoint at 127.0.0.1 was disabled"
    assert "410" in notice["text"]


async def test_what_was_waiting_for_a_removed_endpoint_is_a_dead_letter(asked: Asked, hooks: Hooks, sink: Sink) -> None:
    endpoint_id = (await asked.create(sink.url))["endpoint"]["endpoint_id"]
    sink.reply = answer(500)
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1, "failed")
        assert (await asked.post(f"{ENDPOINTS}/remove", endpoint_id=endpoint_id))["dead_letters"] == 1
        await hooks.pay(2)
    [dead] = await hooks.deliveries()
    assert (dead.status, dead.last_error_class) == ("dead_letter", "endpoint_removed")
    assert not await hooks.rows("SELECT FROM datalane.webhook_secrets")
    refused = await asked.post(f"{OUTBOUND}/replay", 409, ids=[str(dead.delivery_id)])
    assert "removed" in refused["detail"]


async def test_a_scope_is_enough_for_what_it_names(asked: Asked, sink: Sink) -> None:
    """The records, jobs and notices that follow take none of their own."""
    keys = {}
    for scope in ("webhook.manage", "webhook.deliver"):
        made = await asked.post("/api-keys/create", 201, name=scope, role="admin", scopes=[scope])
        keys[scope] = {"Authorization": f"Bearer {made['key']}"}
    managing, delivering = keys["webhook.manage"], keys["webhook.deliver"]
    created = await asked.post(
        f"{ENDPOINTS}/create", 201, managing, url=sink.url, event_types=["invoice.paid"], description="by a key"
    )
    target = {"endpoint_id": created["endpoint"]["endpoint_id"]}
    for verb in ("rotate-secret", "disable", "enable", "recover"):
        await asked.post(f"{ENDPOINTS}/{verb}", 200, managing, **target)
    message = {**target, "event_type": "invoice.paid", "payload": {"invoice": 7}}
    first = (await asked.post(f"{OUTBOUND}/enqueue", 202, delivering, **message))["delivery_id"]
    await asked.post(f"{OUTBOUND}/attempt", 200, delivering, delivery_id=first)
    [again] = (await asked.post(f"{OUTBOUND}/replay", 202, delivering, ids=[first]))["ids"]
    sink.reply = answer(410)
    tried = await asked.post(f"{OUTBOUND}/attempt", 200, delivering, delivery_id=again)
    assert tried["attempt"]["error_class"] == "gone"
    assert (await asked.get(f"{ENDPOINTS}/{target['endpoint_id']}"))["status_reason"] == "gone"
    await asked.post(f"{ENDPOINTS}/remove", 200, managing, **target)

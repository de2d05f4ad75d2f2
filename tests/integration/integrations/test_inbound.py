"""Webhooks that come in: nothing happens before the signature is good, and nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks import Webhook
from tests.integration.api.conftest import Join, Log, Person, SignUp, log, without_correlation

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.kit.ids import uuid7

__all__ = ["log"]

SECRET, NEXT = "inbound-5ecret", "inbound-5ecret-2"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOG = "/automation/events/ingestion"
OPEN, CLOSE = "/integrations/inbound/open", "/integrations/inbound/close"
HELD = "/integrations/inbound/held"
BODY: dict[str, Any] = {"type": "push", "ref": "main"}


@dataclass
class Provider:
    """A connected system that sends webhooks as GitHub does."""

    client: httpx.AsyncClient
    database: Database
    owner: Person
    connector_id: str
    path: str = ""
    sent: list[httpx.Response] = field(default_factory=list)

    async def open(self, **said: Any) -> httpx.Response:
        rule = {} if "rule" in said else {"preset": "github"}
        body = {"connector_id": self.connector_id, **rule, "secrets": ["signing"], **said}
        opened = await self.client.post(OPEN, json=body, headers=self.owner.headers)
        if opened.status_code == 201:
            self.path = opened.json()["path"] or self.path
        return opened

    async def send(
        self, body: Any = BODY, delivery: str = "d-1", secret: str = SECRET, path: str | None = None, **headers: str
    ) -> httpx.Response:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        signature = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
        signed = {"x-hub-signature-256": f"sha256={signature}", "x-github-delivery": delivery, "x-github-event": "push"}
        answer = await self.client.post(path or self.path, content=raw, headers=signed | headers)
        self.sent.append(answer)
        return answer

    async def events(self) -> list[dict[str, Any]]:
        async with self.database.transaction(Context.system(self.owner.workspace_id)) as tx:
            rows = await tx.fetch(
                "SELECT source_system, source_event_id, payload, signature_verified FROM datalane.events "
                "WHERE event_type = 'webhook.received' ORDER BY event_id"
            )
        return [dict(row) for row in rows]

    async def logged(self) -> list[tuple[str, str | None]]:
        asked = {"event_type": "webhook.received"}
        lines = (await self.client.get(LOG, params=asked, headers=self.owner.headers)).json()["data"]
        return [(line["ingestion_status"], line["source_event_id"]) for line in reversed(lines)]


@pytest.fixture
async def provider(client: httpx.AsyncClient, ada: Person, database: Database) -> Provider:
    made = await register(client, ada, signing=SECRET)
    opened = Provider(client, database, ada, made["connector_id"])
    assert (await opened.open()).status_code == 201
    return opened


async def register(client: httpx.AsyncClient, who: Person, name: str = "Code", **credentials: str) -> dict[str, Any]:
    body = {"name": name, "kind": "github", "credentials": credentials}
    made = await client.post("/integrations/connectors/register", json=body, headers=who.headers)
    assert made.status_code == 201, made.text
    connector: dict[str, Any] = made.json()
    return connector


async def test_a_signed_delivery_is_an_event(provider: Provider) -> None:
    answer = await provider.send()
    assert (answer.status_code, answer.json()) == (202, {"ingestion_status": "accepted"})
    [event] = await provider.events()
    assert event == {
        "source_system": f"connector:{provider.connector_id}",
        "source_event_id": "d-1",
        "signature_verified": True,
        "payload": {
            "connector_id": provider.connector_id,
            "kind": "github",
            "delivery_id": "d-1",
            "type": "push",
            "body": BODY,
        },
    }


async def test_what_is_not_signed_leaves_a_line_and_nothing_else(provider: Provider) -> None:
    wrong = await provider.send(secret="guessed")
    unsigned = await provider.client.post(provider.path, json=BODY)
    changed = await provider.send(**{"x-hub-signature-256": "sha256=" + "0" * 64})
    assert [answer.status_code for answer in (wrong, unsigned, changed)] == [401, 401, 401]
    assert {answer.json()["detail"] for answer in (wrong, unsigned, changed)} == {
        "the delivery is not signed as it must be"
    }
    assert await provider.events() == []
    assert await provider.logged() == [
        *[("rejected_signature", "d-1"), ("rejected_signature", None), ("rejected_signature", "d-1")]
    ]
    assert (await provider.send()).json()["ingestion_status"] == "accepted", "the id was not used up"


async def test_a_delivery_that_comes_again_is_a_duplicate_whatever_it_says(provider: Provider) -> None:
    """Its id came before: with the same body as with another."""
    said = [await provider.send(), await provider.send(), await provider.send({"type": "push", "ref": "other"})]
    assert [answer.json()["ingestion_status"] for answer in said] == ["accepted", "duplicate", "duplicate"]
    assert len(await provider.events()) == 1


async def test_the_same_bytes_under_another_id_wait_for_somebody_s_word(
    provider: Provider, client: httpx.AsyncClient, sign_up: SignUp, join: Join
) -> None:
    said = [await provider.send(delivery=delivery) for delivery in ("d-1", "d-2", "d-2", "d-3")]
    assert [answer.json()["ingestion_status"] for answer in said] == ["accepted", *["duplicate_suspected"] * 3]
    assert len(await provider.events()) == 1
    assert await provider.logged() == [
        ("accepted", "d-1"),
        *[("duplicate_suspected", delivery) for delivery in ("d-2", "d-2", "d-3")],
    ]
    viewer = await join(provider.owner, await sign_up("vera"), "viewer")
    three, two = (await client.get(f"{HELD}/list", params={"status": "held"}, headers=viewer)).json()["data"]
    assert [(one["delivery_id"], one["like_delivery_id"]) for one in (two, three)] == [("d-2", "d-1"), ("d-3", "d-1")]
    target, other = {"held_id": two["held_id"]}, {"held_id": three["held_id"]}
    assert (await client.post(f"{HELD}/release", json=target, headers=viewer)).status_code == 403
    released = await client.post(f"{HELD}/release", json=target, headers=provider.owner.headers)
    assert (released.json()["held"]["status"], released.json()["ingestion_status"]) == ("released", "accepted")
    dismissed = await client.post(f"{HELD}/dismiss", json=other, headers=provider.owner.headers)
    assert dismissed.json()["status"] == "dismissed"
    for verb in ("release", "dismiss"):
        again = await client.post(f"{HELD}/{verb}", json=target, headers=provider.owner.headers)
        assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    assert [event["source_event_id"] for event in await provider.events()] == ["d-1", "d-2"]
    assert (await provider.send(delivery="d-2")).json()["ingestion_status"] == "duplicate"
    assert (await provider.send(delivery="d-3")).json()["ingestion_status"] == "duplicate_suspected"
    assert [event["payload"]["body"] for event in await provider.events()] == [BODY, BODY]


async def test_what_can_be_held_no_more_is_sent_away_and_told_in_the_log(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datalane.integrations.inbound.receiving.MOST_HELD", 1)
    said = [await provider.send(delivery=delivery) for delivery in ("d-1", "d-2", "d-3", "d-2")]
    assert [answer.status_code for answer in said] == [202, 202, 503, 202]
    assert said[2].headers["retry-after"] == "60"
    assert (await provider.logged())[2] == ("duplicate_suspected", "d-3")
    assert len(await provider.events()) == 1


async def test_of_the_same_bytes_at_once_under_many_ids_one_has_an_effect(provider: Provider) -> None:
    said = await asyncio.gather(*(provider.send(delivery=f"d-{number}") for number in range(12)))
    told = sorted(answer.json()["ingestion_status"] for answer in said)
    assert told == ["accepted", *["duplicate_suspected"] * 11]
    assert len(await provider.events()) == 1


async def test_of_one_delivery_many_times_at_once_one_has_an_effect(provider: Provider) -> None:
    said = await asyncio.gather(*(provider.send() for _ in range(12)))
    assert sorted(answer.json()["ingestion_status"] for answer in said) == ["accepted", *["duplicate"] * 11]
    assert len(await provider.events()) == 1


async def test_where_the_moment_is_signed_and_the_id_is_not_the_same_bytes_are_the_same_delivery(
    provider: Provider,
) -> None:
    rule = {
        "header": "x-signature",
        "signed": "{timestamp}.{body}",
        "timestamp_header": "x-time",
        "event_id": {"header": "x-id"},
    }
    assert (await provider.open(rule=rule)).status_code == 201
    raw, stamp = orjson.dumps(BODY), str(int(time.time()))
    signature = hmac.new(SECRET.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"x-signature": signature, "x-time": stamp}
    said = [
        (await provider.client.post(provider.path, content=raw, headers={**headers, "x-id": each})).json()
        for each in ("one", "two")
    ]
    assert [one["ingestion_status"] for one in said] == ["accepted", "duplicate"]
    assert len(await provider.events()) == 1


async def test_the_library_of_standard_webhooks_gets_through_once(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    made = await register(client, ada, key=WHSEC)
    sender = Provider(client, database, ada, made["connector_id"])
    await sender.open(preset="standard_webhooks", secrets=["key"])
    raw = orjson.dumps({"type": "invoice.paid", "data": {"id": 7}}).decode()

    async def send(message: str, seconds: int = 0) -> httpx.Response:
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        headers = {
            "webhook-id": message,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(WHSEC).sign(message, moment, raw),
        }
        return await client.post(sender.path, content=raw, headers=headers)

    said = [await send("m-1"), await send("m-1"), await send("m-2"), await send("m-3", -600)]
    assert [answer.status_code for answer in said] == [202, 202, 202, 401]
    assert [answer.json()["ingestion_status"] for answer in said[:3]] == ["accepted", "duplicate", "accepted"]
    assert [event["payload"]["type"] for event in await sender.events()] == ["invoice.paid", "invoice.paid"]


async def test_while_a_secret_is_rotated_both_are_good_and_later_only_the_new_one(provider: Provider) -> None:
    await provider.open(secrets=["signing", "signing_next"], keep_path=True)

    async def rotate(version: int, **credentials: str) -> None:
        body = {"connector_id": provider.connector_id, "credential_version": version, "credentials": credentials}
        done = await provider.client.post("/integrations/connectors/rotate", json=body, headers=provider.owner.headers)
        assert done.status_code == 200, done.text

    await rotate(1, signing=SECRET, signing_next=NEXT)
    both = [await provider.send({"n": 1}, "d-1"), await provider.send({"n": 2}, "d-2", NEXT)]
    await rotate(2, signing=NEXT)
    after = [await provider.send({"n": 3}, "d-3"), await provider.send({"n": 4}, "d-4", NEXT)]
    assert [answer.status_code for answer in (*both, *after)] == [202, 202, 401, 202]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", 422),
        (b"{", 422),
        (b'{"a": NaN}', 422),
        (b'{"a": 1, "a": 2}', 422),
        (b"[" * 100 + b"]" * 100, 422),
        (b'{"a": "\xff"}', 422),
        (b'{"a": "\\u0000"}', 422),
        (b'{"a": "\\ud800"}', 422),
        (b'{"a": "' + b"x" * 300_000 + b'"}', 413),
        (b"payload=%7B%7D", 422),
    ],
)
async def test_what_is_signed_and_no_event_is_refused_and_kept_in_sight(
    provider: Provider, raw: bytes, code: int
) -> None:
    answer = await provider.send(raw)
    assert answer.status_code == code, answer.text
    assert await provider.events() == []
    assert await provider.logged() == [("rejected_schema", "d-1")]


async def test_a_body_past_the_limit_is_not_read(provider: Provider) -> None:
    answer = await provider.send(b"x" * (1024 * 1024 + 1))
    assert (answer.status_code, await provider.logged()) == (413, [])


@pytest.mark.parametrize("delivery", ["", "x" * 201, "é"])
async def test_a_delivery_without_a_usable_id_is_refused(provider: Provider, delivery: str) -> None:
    raw = orjson.dumps(BODY)
    signature = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    headers = [(b"x-hub-signature-256", f"sha256={signature}".encode()), (b"x-github-delivery", delivery.encode())]
    answer = await provider.client.post(provider.path, content=raw, headers=headers)
    assert (answer.status_code, await provider.events()) == (422, [])


async def test_an_outsider_cannot_tell_which_webhooks_there_are(
    provider: Provider, client: httpx.AsyncClient, bob: Person, database: Database
) -> None:
    token = provider.path.rpartition("/")[2]
    _, workspace, connector, secret = token.split("_", 3)
    elsewhere = Provider(client, database, bob, (await register(client, bob, signing=SECRET))["connector_id"])
    await elsewhere.open()
    closed = Provider(client, database, bob, (await register(client, bob, "Shut", signing=SECRET))["connector_id"])
    await closed.open()
    shut = {"connector_id": closed.connector_id}
    assert (await client.post(CLOSE, json=shut, headers=bob.headers)).json()["status"] == "closed"
    tokens = [
        f"dlw_{workspace}_{connector}_{'A' * 43}",
        f"dlw_{uuid7().hex}_{connector}_{secret}",
        f"dlw_{workspace}_{uuid7().hex}_{secret}",
        f"dlw_{bob.workspace_id.hex}_{connector}_{secret}",
        f"dlw_{bob.workspace_id.hex}_{elsewhere.connector_id.replace('-', '')}_{secret}",
        closed.path.rpartition("/")[2],
        *("nothing", token[:-1], token + "A"),
    ]
    said = [await provider.send(path=f"/webhooks/inbound/{each}") for each in tokens]
    told = {str(without_correlation(answer)) for answer in said}
    assert {answer.status_code for answer in said} == {404}
    assert len(told) == 1
    assert await provider.events() == await elsewhere.events() == await closed.events() == []


async def test_nobody_else_uses_up_the_ids_of_a_connector(provider: Provider) -> None:
    event = {
        "event_type": "invoice.paid",
        "payload": {"invoice": 1},
        "source_system": f"connector:{provider.connector_id}",
        "source_event_id": "d-1",
    }
    refused = await provider.client.post("/automation/events/publish", json=event, headers=provider.owner.headers)
    assert refused.status_code == 422, refused.text
    assert (await provider.send()).json() == {"ingestion_status": "accepted"}


async def test_with_its_connector_the_way_in_closes(provider: Provider) -> None:
    body = {"connector_id": provider.connector_id}
    revoked = await provider.client.post("/integrations/connectors/revoke", json=body, headers=provider.owner.headers)
    assert revoked.json()["paused"] == [{"kind": "inbound_webhook", "count": 1, "ids": [provider.connector_id]}]
    assert (await provider.send()).status_code == 404
    assert (await provider.open()).status_code == 409
    [listed] = (await provider.client.get("/integrations/inbound/list", headers=provider.owner.headers)).json()["data"]
    assert listed["status"] == "closed"


async def test_a_new_path_ends_the_old_one_and_is_shown_once(provider: Provider) -> None:
    old = provider.path
    key = {"Idempotency-Key": "once", **provider.owner.headers}
    body = {"connector_id": provider.connector_id, "preset": "github", "secrets": ["signing"]}
    first, again = [await provider.client.post(OPEN, json=body, headers=key) for _ in range(2)]
    assert (again.status_code, again.json()) == (201, {**first.json(), "path": None})
    assert (await provider.send(path=old)).status_code == 404
    assert (await provider.send(path=first.json()["path"])).status_code == 202
    kept = await provider.open(keep_path=True)
    assert kept.json()["path"] is None
    assert (await provider.send(path=first.json()["path"])).json()["ingestion_status"] == "duplicate"


async def test_neither_the_secret_nor_the_path_is_in_the_database_or_the_log(
    provider: Provider, log: Log, database: Database
) -> None:
    await provider.send()
    await provider.send(secret="guessed")
    secret = provider.path.split("_", 3)[3]
    tables = ("inbound_webhooks", "inbound_seen", "inbound_held", "audit_log", "audit_details", "events")
    async with database.transaction(Context.system(provider.owner.workspace_id)) as tx:
        rows = [await tx.fetch(f"SELECT t::text FROM datalane.{table} t") for table in tables]
    stored = str([tuple(row) for found in rows for row in found])
    assert provider.connector_id in stored
    for hidden in (SECRET, secret):
        assert hidden not in stored + log.stream.getvalue()


async def test_only_admins_open_and_only_with_a_credential_that_is_there(
    provider: Provider, client: httpx.AsyncClient, sign_up: SignUp, join: Join
) -> None:
    member = await join(provider.owner, await sign_up("mia"), "member")
    body = {"connector_id": provider.connector_id, "preset": "github", "secrets": ["signing"]}
    assert (await client.post(OPEN, json=body, headers=member)).status_code == 403
    assert (await client.post(CLOSE, json={"connector_id": provider.connector_id}, headers=member)).status_code == 403
    assert (await provider.open(secrets=["absent"])).status_code == 422
    assert (await provider.open(rule={"header": "x", "event_id": {"header": "y"}, "signed": "x"})).status_code == 422
    assert (await provider.send()).status_code == 202


async def test_a_chain_of_causes_goes_on_through_a_webhook_up_to_its_limit(provider: Provider) -> None:
    """The depth is what a lane says of the event that it delivers; anything else is no depth."""
    for number, told in enumerate(["0", "15", "3, 3", "x", "-1", "99999", ""]):
        answer = await provider.send({"n": number}, f"d-{number}", **{"Datalane-Causation-Depth": told})
        assert answer.status_code == 202, told
    async with provider.database.transaction(Context.system(provider.owner.workspace_id)) as tx:
        rows = await tx.fetch(
            "SELECT causation_depth FROM datalane.events WHERE event_type = 'webhook.received' ORDER BY event_id"
        )
    assert [row["causation_depth"] for row in rows] == [1, 16, 4, 0, 0, 0, 0]


@pytest.mark.parametrize("told", ["16", "9999"])
async def test_what_causes_itself_through_webhooks_is_refused_with_a_line_in_the_log(
    provider: Provider, told: str
) -> None:
    unsigned = await provider.send(secret="guessed", **{"Datalane-Causation-Depth": told})
    assert unsigned.status_code == 401
    refused = await provider.send(delivery="d-2", **{"Datalane-Causation-Depth": told})
    assert (refused.status_code, refused.json()["code"]) == (413, "limit_exceeded")
    assert "limits.causation_depth" in refused.json()["detail"]
    assert await provider.events() == []
    assert await provider.logged() == [("rejected_signature", "d-1"), ("rejected_schema", "d-2")]

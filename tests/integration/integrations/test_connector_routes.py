"""Connectors over HTTP: metadata for everybody in the workspace, credentials for nobody, in no answer, error or log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Log, Person, SignUp, log
from tests.integration.integrations.connecting import OTHER_SECRET, SECRET

pytestmark = pytest.mark.one_database

__all__ = ["log"]

AT = "/integrations/connectors"
PAYMENTS: dict[str, Any] = {
    "name": "Payments",
    "kind": "stripe",
    "credentials": {"token": SECRET},
    "base_url": "https://api.example.com/v1",
    "auth": [{"header": "Authorization", "template": "Bearer {token}"}],
    "account_label": "acct_7",
    "scopes": ["charges:read"],
    "metadata": {"region": "eu"},
}


@pytest.fixture
async def asked(client: httpx.AsyncClient, log: Log) -> AsyncIterator[list[httpx.Response]]:
    """Every answer of the test; none of them, and no line of the log, holds a secret."""
    answers: list[httpx.Response] = []

    async def keep(answer: httpx.Response) -> None:
        await answer.aread()
        answers.append(answer)

    client.event_hooks["response"].append(keep)
    yield answers
    assert answers
    for answer in answers:
        assert "5ecret" not in f"{answer.text} {answer.headers}", answer.request.url
    assert "5ecret" not in log.stream.getvalue()


async def register(client: httpx.AsyncClient, who: Person, **said: Any) -> httpx.Response:
    key = {"Idempotency-Key": said.pop("key")} if "key" in said else {}
    return await client.post(f"{AT}/register", json={**PAYMENTS, **said}, headers={**who.headers, **key})


async def test_a_connector_is_seen_by_all_and_its_credentials_by_nobody(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join, asked: list[httpx.Response]
) -> None:
    made = await register(client, ada)
    assert made.status_code == 201, made.text
    connector = made.json()
    assert not {"credentials", "sealed_credentials", "token"} & connector.keys()
    assert (connector["credential_names"], connector["status"]) == (["token"], "connected")
    viewer = await join(ada, await sign_up("vera"), "viewer")
    one = await client.get(f"{AT}/{connector['connector_id']}", headers=viewer)
    page = await client.get(AT, params={"status": "connected", "kind": "stripe"}, headers=viewer)
    assert one.json() == connector
    assert page.json() == {"data": [connector], "page_size": 25, "next_cursor": None}
    assert (await client.get(AT, params={"kind": "jira"}, headers=viewer)).json()["data"] == []
    history = await client.get(f"{AT}/history/list", params={"connector_id": connector["connector_id"]}, headers=viewer)
    assert [line["what"] for line in history.json()["data"]] == ["registered"]
    for verb in ("register", "rotate", "health", "revoke"):
        assert (await client.post(f"{AT}/{verb}", json={}, headers=viewer)).status_code in {403, 422}


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_below_an_admin_nothing_is_changed(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join, role: str
) -> None:
    connector_id = (await register(client, ada)).json()["connector_id"]
    someone = await join(ada, await sign_up("vera"), role)
    bodies: dict[str, dict[str, Any]] = {
        "register": {**PAYMENTS, "name": "Another"},
        "rotate": {"connector_id": connector_id, "credential_version": 1, "credentials": {"token": "x"}},
        "health": {"connector_id": connector_id, "outcome": "expired", "observed_at": "2026-01-01T00:00:00Z"},
        "revoke": {"connector_id": connector_id},
    }
    for verb, body in bodies.items():
        refused = await client.post(f"{AT}/{verb}", json=body, headers=someone)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    [still] = (await client.get(AT, headers=someone)).json()["data"]
    assert (still["status"], still["credential_version"]) == ("connected", 1)


async def test_an_idempotent_answer_and_what_is_kept_of_it_hold_no_credentials(
    client: httpx.AsyncClient, ada: Person, asked: list[httpx.Response]
) -> None:
    first, again = await register(client, ada, key="once"), await register(client, ada, key="once")
    assert (again.status_code, again.json()) == (201, first.json())
    other = await register(client, ada, key="once", credentials={"token": OTHER_SECRET})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len((await client.get(AT, headers=ada.headers)).json()["data"]) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"credentials": SECRET},
        {"credentials": [SECRET]},
        {"credentials": {"token": [SECRET]}},
        {"credentials": {"token": {"deep": SECRET}}},
        {"credentials": {"token": SECRET * 1_000}},
        {"credentials": {"token": ""}},
        {"credentials": {"token": 5}},
        {"credentials": {}},
        {"credentials": {f"token_{place}": SECRET for place in range(21)}},
        {"credentials": {f"token_{place}": SECRET * 300 for place in range(19)}},
        {"credentials": {"Token": SECRET}},
        {"credentials": {"token": f"{SECRET}\r\nX-Evil: 1"}},
        {"credentials": {"token": f"{SECRET}é"}},
        {"credentials": {"other": SECRET}},
        {"auth": [{"header": "Host", "template": "{token}"}]},
        {"auth": [{"header": "X-A", "template": "{token}"}, {"header": "x-a", "template": "{token}"}]},
        {"base_url": None},
        {"base_url": "http://api.example.com"},
        {"base_url": "https://127.0.0.1/"},
        {"base_url": "https://ada:pw@api.example.com"},
        {"metadata": {"note": "x" * 70_000}},
        {"kind": "Stripe!"},
        {"name": ""},
        {"name": "a\x00b"},
        {"workspace_id": "01a22747-54a7-773d-9a3f-1e734a9de106"},
        {"expires_at": "tomorrow"},
    ],
)
async def test_what_is_refused_is_refused_without_a_word_of_what_was_sent(
    client: httpx.AsyncClient, ada: Person, asked: list[httpx.Response], said: dict[str, Any]
) -> None:
    refused = await register(client, ada, **said)
    assert refused.status_code in {413, 422}, refused.text
    assert (await client.get(AT, headers=ada.headers)).json()["data"] == []


async def test_a_credential_may_hold_whatever_no_header_is_made_of(client: httpx.AsyncClient, ada: Person) -> None:
    pem = "-----BEGIN KEY-----\nüñ\n\x00-----END KEY-----\n"
    made = await register(client, ada, auth=[], base_url=None, credentials={"pem": pem})
    assert (made.status_code, made.json()["credential_names"]) == (201, ["pem"])


async def test_an_api_key_with_the_scope_reports_health_and_does_nothing_else(
    client: httpx.AsyncClient, ada: Person, asked: list[httpx.Response]
) -> None:
    connector_id = (await register(client, ada)).json()["connector_id"]
    body = {"name": "probe", "role": "admin", "scopes": ["connector.report"]}
    key = (await client.post("/api-keys/create", json=body, headers=ada.headers)).json()["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    now = datetime.now(UTC)
    report = {
        "connector_id": connector_id,
        "outcome": "rejected",
        "observed_at": now.isoformat(),
        "detail": f"the provider said: no such token {SECRET}",
    }
    told = (await client.post(f"{AT}/health", json=report, headers=bearer)).json()
    assert (told["counted"], told["connector"]["status"]) == (True, "degraded")
    assert told["connector"]["detail"] == "the provider said: no such token [redacted]"
    late = {**report, "outcome": "ok", "observed_at": (now - timedelta(hours=1)).isoformat()}
    assert (await client.post(f"{AT}/health", json=late, headers=bearer)).json()["counted"] is False
    for verb in ("revoke", "rotate"):
        refused = await client.post(f"{AT}/{verb}", json={"connector_id": connector_id}, headers=bearer)
        assert refused.status_code in {403, 422}
    assert (await client.get(AT, headers=bearer)).status_code == 403


async def test_pages_go_on_and_their_cursors_are_of_one_list(client: httpx.AsyncClient, ada: Person) -> None:
    for name in ("one", "two", "three"):
        assert (await register(client, ada, name=name)).status_code == 201
    first = (await client.get(AT, params={"page_size": 2}, headers=ada.headers)).json()
    rest = (await client.get(AT, params={"cursor": first["next_cursor"]}, headers=ada.headers)).json()
    assert [one["name"] for one in first["data"] + rest["data"]] == ["three", "two", "one"]
    wrong = await client.get(AT, params={"cursor": first["next_cursor"], "kind": "stripe"}, headers=ada.headers)
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "invalid_cursor")


async def test_a_connector_of_another_workspace_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    connector_id = (await register(client, ada)).json()["connector_id"]
    read = await client.get(f"{AT}/{connector_id}", headers=bob.headers)
    history = await client.get(f"{AT}/history/list", params={"connector_id": connector_id}, headers=bob.headers)
    ended = await client.post(f"{AT}/revoke", json={"connector_id": connector_id}, headers=bob.headers)
    assert [answer.status_code for answer in (read, history, ended)] == [404, 404, 404]
    assert (await client.get(f"{AT}/{connector_id}", headers=ada.headers)).json()["status"] == "connected"


async def test_owners_and_admins_are_told_of_a_revocation_and_members_are_not(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    connector_id = (await register(client, ada)).json()["connector_id"]
    admin, member = await sign_up("alan"), await sign_up("mae")
    readers = {
        "owner": ada.headers,
        "admin": await join(ada, admin, "admin"),
        "member": await join(ada, member, "member"),
    }
    revoked = await client.post(f"{AT}/revoke", json={"connector_id": connector_id}, headers=ada.headers)
    assert revoked.status_code == 200, revoked.text
    told = {
        name: (await client.get("/notifications/list", headers=headers)).json() for name, headers in readers.items()
    }
    assert {name: len(page["data"]) for name, page in told.items()} == {"owner": 1, "admin": 1, "member": 0}
    [notice] = told["owner"]["data"]
    assert (notice["category"], notice["title"], notice["subject_id"]) == (
        "integrations",
        "The connector Payments was revoked",
        connector_id,
    )
    again = await client.post(f"{AT}/revoke", json={"connector_id": connector_id}, headers=ada.headers)
    assert again.status_code == 409
    assert len((await client.get("/notifications/list", headers=ada.headers)).json()["data"]) == 1

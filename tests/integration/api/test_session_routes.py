"""Refreshing, listing and ending sessions over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import PASSWORD, Log, Person, without_correlation

pytestmark = pytest.mark.one_database


async def sign_in(client: httpx.AsyncClient, person: Person) -> dict[str, Any]:
    answer = await client.post("/auth/sign-in", json={"email": person.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()
    return session


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refresh_token": token})


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['token']}"}


async def test_a_refresh_answers_what_signing_in_answers(client: httpx.AsyncClient, ada: Person) -> None:
    session = await sign_in(client, ada)
    answer = await refresh(client, session["refresh_token"])
    fresh = answer.json()
    assert (answer.status_code, set(fresh)) == (200, set(session))
    assert (await client.get("/auth/me", headers=bearer(fresh))).status_code == 200
    assert (await client.get("/auth/me", headers=bearer(session))).status_code == 401


async def test_a_replayed_refresh_token_stops_everything_of_its_session(
    client: httpx.AsyncClient, ada: Person, log: Log
) -> None:
    session = await sign_in(client, ada)
    fresh = (await refresh(client, session["refresh_token"])).json()
    replayed, unknown = await refresh(client, session["refresh_token"]), await refresh(client, "nonsense")
    assert without_correlation(replayed) == without_correlation(unknown)
    assert replayed.status_code == 401
    assert (await client.get("/auth/me", headers=bearer(fresh))).status_code == 401
    assert (await refresh(client, fresh["refresh_token"])).status_code == 401
    assert (await client.get("/auth/me", headers=ada.headers)).status_code == 200
    (told,) = [line for line in log.lines if line["event"] == "security_anomaly"]
    assert (told["kind"], told["session_id"]) == ("refresh_token_reused", session["session_id"])
    assert told["correlation_id"] == replayed.headers["x-correlation-id"]
    assert session["refresh_token"] not in log.stream.getvalue()


async def test_signing_out_everywhere_ends_every_session(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    session = await sign_in(client, ada)
    answer = await client.post("/auth/sign-out-everywhere", headers=bearer(session))
    assert (answer.status_code, answer.json()) == (200, {"ended": 2})
    for headers in (ada.headers, bearer(session)):
        assert (await client.get("/auth/me", headers=headers)).status_code == 401
    assert (await refresh(client, session["refresh_token"])).status_code == 401
    assert (await client.get("/auth/me", headers=bob.headers)).status_code == 200


async def test_own_sessions_are_listed_without_tokens_and_can_be_ended(client: httpx.AsyncClient, ada: Person) -> None:
    session = await sign_in(client, ada)
    listed = await client.get("/auth/sessions/list", headers=ada.headers)
    assert [each["session_id"] == session["session_id"] for each in listed.json()["data"]] == [True, False]
    assert [each["current"] for each in listed.json()["data"]] == [False, True]
    assert set(listed.json()["data"][0]) == {"session_id", "created_at", "refreshed_at", "expires_at", "current"}
    ended = await client.post("/auth/sessions/revoke", json={"session_id": session["session_id"]}, headers=ada.headers)
    assert ended.status_code == 204
    assert (await client.get("/auth/me", headers=bearer(session))).status_code == 401
    assert len((await client.get("/auth/sessions/list", headers=ada.headers)).json()["data"]) == 1


async def test_another_users_session_is_a_404(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    session = await sign_in(client, ada)
    ids = [session["session_id"], "00000000-0000-4000-8000-000000000000"]
    foreign, unknown = [
        await client.post("/auth/sessions/revoke", json={"session_id": each}, headers=bob.headers) for each in ids
    ]
    assert without_correlation(foreign) == without_correlation(unknown)
    assert foreign.status_code == 404
    assert (await client.get("/auth/me", headers=bearer(session))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/auth/sessions/list", 403),
        ("POST", "/auth/sessions/revoke", 403),
        ("POST", "/auth/sign-out", 422),
        ("POST", "/auth/sign-out-everywhere", 422),
    ],
)
async def test_an_api_key_reaches_no_session_of_its_creator(
    client: httpx.AsyncClient, ada: Person, method: str, path: str, status: int
) -> None:
    made = await client.post("/api-keys/create", json={"name": "k", "role": "owner"}, headers=ada.headers)
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    body = {"session_id": "00000000-0000-4000-8000-000000000000"} if path.endswith("revoke") else None
    assert (await client.request(method, path, json=body, headers=key)).status_code == status
    assert (await client.get("/auth/me", headers=ada.headers)).status_code == 200


@pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": 7}, {"refresh_token": "x" * 201}])
async def test_a_malformed_refresh_is_a_clear_error(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/auth/refresh", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.refresh_token")

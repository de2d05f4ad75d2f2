"""`/metrics` is for the holder of the metrics token, and every way of proving who one is leaves its traces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from tests.integration.api.conftest import PASSWORD, Log, OpenLane, Person

from datalane.api.app import create_app
from datalane.settings import TelemetrySettings

TOKEN = "a-metrics-token-that-nobody-guesses"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
async def watched(lane: OpenLane) -> AsyncIterator[httpx.AsyncClient]:
    telemetry = TelemetrySettings(metrics_token=SecretStr(TOKEN))
    app = create_app(replace(lane, settings=lane.settings.model_copy(update={"telemetry": telemetry})))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_metrics_token_opens_the_metrics(watched: httpx.AsyncClient) -> None:
    answer = await watched.get("/metrics", headers=bearer(TOKEN))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE datalane_http_request_duration_seconds histogram" in answer.text


async def test_nothing_else_does(watched: httpx.AsyncClient, ada: Person) -> None:
    for headers in ({}, ada.headers, bearer(TOKEN[:-1]), bearer(f"{TOKEN}é"), {"Authorization": f"Basic {TOKEN}"}):
        answer = await watched.get("/metrics", headers={k: v.encode() for k, v in headers.items()})  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await watched.get(f"/metrics?token={TOKEN}")).status_code == 401


async def test_without_a_metrics_token_they_are_closed_to_all(client: httpx.AsyncClient, ada: Person) -> None:
    for headers in ({}, ada.headers, bearer(""), bearer("None")):
        answer = await client.get("/metrics", headers=headers)
        assert answer.status_code == 403
        assert "DATALANE_TELEMETRY__METRICS_TOKEN" in answer.json()["detail"]


def authentications(method: str, outcome: str) -> float:
    labels = {"method": method, "outcome": outcome}
    return REGISTRY.get_sample_value("datalane_authentications_total", labels) or 0.0


async def test_every_way_of_authenticating_is_logged_counted_and_traced(
    client: httpx.AsyncClient, ada: Person, log: Log
) -> None:
    key = (await client.post("/api-keys/create", json={"name": "k", "role": "viewer"}, headers=ada.headers)).json()
    credentials = {"email": ada.email, "password": PASSWORD}
    refresh = (await client.post("/auth/sign-in", json=credentials)).json()["refresh_token"]
    account = {"email": "new@example.com", "password": PASSWORD, "name": "New"}
    ways = [
        ("sign_up", "success", 201, "POST", "/auth/sign-up", account, {}),
        ("sign_up", "conflict", 409, "POST", "/auth/sign-up", account, {}),
        ("password", "success", 200, "POST", "/auth/sign-in", credentials, {}),
        ("password", "unauthenticated", 401, "POST", "/auth/sign-in", {**credentials, "password": "guessed it"}, {}),
        ("refresh", "success", 200, "POST", "/auth/refresh", {"refresh_token": refresh}, {}),
        ("refresh", "unauthenticated", 401, "POST", "/auth/refresh", {"refresh_token": refresh}, {}),
        ("oidc", "unauthenticated", 401, "POST", "/auth/oidc/exchange", {"id_token": "x.y.z"}, {}),
        ("session", "success", 200, "GET", "/auth/me", None, ada.headers),
        ("session", "unauthenticated", 401, "GET", "/auth/me", None, bearer("stolen")),
        ("api_key", "success", 200, "GET", "/auth/me", None, bearer(key["key"])),
        ("api_key", "unauthenticated", 401, "GET", "/auth/me", None, bearer(key["key"][:-4] + "zzzz")),
        ("none", "unauthenticated", 401, "GET", "/auth/me", None, {}),
    ]
    for number, (method, outcome, status, verb, path, body, headers) in enumerate(ways):
        before = authentications(method, outcome)
        told = {**headers, "traceparent": TRACEPARENT, "X-Correlation-Id": f"way-{number}"}
        answer = await client.request(verb, path, json=body, headers=told)
        assert (answer.status_code, answer.headers["traceparent"]) == (status, TRACEPARENT), (method, answer.text)
        assert authentications(method, outcome) == before + 1, (method, outcome)
        lines = [line for line in log.lines if line["correlation_id"] == f"way-{number}"]
        (request,) = [line for line in lines if line["event"] == "request"]
        assert (request["route"], request["status"], request["trace_id"]) == (path, status, TRACE)
        denied = [line["target"] for line in lines if line["event"] == "access_denied"]
        assert denied == ([f"{verb} {path}"] if status == 401 else [])


async def test_the_paths_that_strangers_send_are_no_labels(client: httpx.AsyncClient) -> None:
    await client.get("/no/such/path-of-mine")
    await client.request("BREW", "/healthz")
    labels = [sample.labels for family in REGISTRY.collect() for sample in family.samples]
    unmatched = {"method": "GET", "route": "unmatched", "status": "404"}
    assert [each for each in labels if unmatched.items() <= each.items()]
    assert not [each for each in labels if "path-of-mine" in str(each) or "BREW" in str(each)]

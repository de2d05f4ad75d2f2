"""Limits on attempts over HTTP, and what an outsider learns about addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import PASSWORD, Log, OpenLane, Person, without_correlation

from datalane.api.app import create_app
from datalane.settings import AttemptSettings, IdentitySettings, Rate, Settings

pytestmark = pytest.mark.one_database

HOUR = timedelta(hours=1)


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    attempts = AttemptSettings(sign_in=Rate(2, HOUR), sign_up=Rate(4, HOUR), refresh=Rate(2, HOUR))
    return create_app(replace(lane, settings=Settings(attempts=attempts)))


@pytest.fixture
def coming_from(app: FastAPI) -> Callable[[str], httpx.AsyncClient]:
    def coming_from(address: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://lane")

    return coming_from


async def guess(
    client: httpx.AsyncClient, email: str, password: str = "wrong password", **headers: str
) -> httpx.Response:
    return await client.post("/auth/sign-in", json={"email": email, "password": password}, headers=headers)


async def test_after_some_guesses_the_right_password_has_to_wait_too(
    client: httpx.AsyncClient, ada: Person, coming_from: Callable[[str], httpx.AsyncClient], log: Log
) -> None:
    assert [(await guess(client, ada.email)).status_code for _ in range(2)] == [401, 401]
    refused = await guess(client, ada.email, PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 3500 <= int(refused.headers["retry-after"]) <= 3600
    assert [line["denial"] for line in log.lines if line["event"] == "access_denied"][-1] == "rate_limited"
    async with coming_from("192.0.2.9") as elsewhere:
        assert (await guess(elsewhere, ada.email, PASSWORD)).status_code == 200


async def test_the_limit_is_the_same_for_an_address_without_an_account(client: httpx.AsyncClient, ada: Person) -> None:
    answers = {email: [await guess(client, email) for _ in range(3)] for email in (ada.email, "nobody@example.com")}
    known, unknown = ([without_correlation(answer) for answer in answered] for answered in answers.values())
    assert [status for status, _ in known] == [401, 401, 429]
    assert known == unknown


async def test_a_header_does_not_make_another_client(client: httpx.AsyncClient, ada: Person) -> None:
    forged = [await guess(client, ada.email, **{"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(3)]
    assert [answer.status_code for answer in forged] == [401, 401, 429]


async def test_the_right_password_is_not_limited(client: httpx.AsyncClient, ada: Person) -> None:
    assert [(await guess(client, ada.email, PASSWORD)).status_code for _ in range(5)] == [200] * 5


async def test_trying_out_addresses_by_signing_up_is_limited(client: httpx.AsyncClient, ada: Person) -> None:
    body = {"email": ada.email, "password": PASSWORD, "name": "x"}
    assert [(await client.post("/auth/sign-up", json=body)).status_code for _ in range(4)] == [409, 409, 409, 429]


async def test_refreshing_is_limited(client: httpx.AsyncClient, ada: Person) -> None:
    answers = [await client.post("/auth/refresh", json={"refresh_token": "x"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_closed_sign_up_says_the_same_of_every_address(
    lane: OpenLane, client: httpx.AsyncClient, ada: Person
) -> None:
    closed = create_app(replace(lane, settings=Settings(identity=IdentitySettings(sign_up="closed"))))
    transport = httpx.ASGITransport(closed)
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as outsider:
        known, unknown = [
            await outsider.post("/auth/sign-up", json={"email": email, "password": PASSWORD, "name": "x"})
            for email in (ada.email, "nobody@example.com")
        ]
        assert without_correlation(known) == without_correlation(unknown)
        assert known.status_code == 403
        assert (await guess(outsider, ada.email, PASSWORD)).status_code == 200

"""ID tokens exchanged over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import Log, OpenLane, Person
from tests.integration.identity.issuer import LocalIssuer
from tests.integration.identity.test_id_tokens import AUDIENCE, NAME, claims

from datalane.api.app import create_app
from datalane.settings import Issuer, OidcSettings, Settings


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    running = LocalIssuer()
    yield running
    running.stop()


@pytest.fixture
def app(lane: OpenLane, issuer: LocalIssuer) -> FastAPI:
    entry = Issuer(issuer=NAME, audience=AUDIENCE, jwks_url=issuer.keys_url)
    return create_app(replace(lane, settings=Settings(oidc=OidcSettings(issuers=(entry,)))))


def signed(issuer: LocalIssuer, **changes: Any) -> str:
    now = datetime.now(UTC).timestamp()
    return issuer.sign(claims(iat=now, exp=now + 300, **changes))


async def exchange(client: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    return await client.post("/auth/oidc/exchange", json={"id_token": token, **fields})


async def test_an_id_token_begins_a_session_that_works_like_any_other(
    client: httpx.AsyncClient, issuer: LocalIssuer, ada: Person, log: Log
) -> None:
    token = signed(issuer, sub="eve", email="eve@example.com")
    answer = await exchange(client, token)
    session = answer.json()
    assert (answer.status_code, session["outcome"]) == (200, "created_new")
    headers = {"Authorization": f"Bearer {session['token']}"}
    assert (await client.get("/auth/me", headers=headers)).json()["email"] == "eve@example.com"
    refreshed = await client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert refreshed.status_code == 200
    assert (await exchange(client, token)).json()["outcome"] == "linked_existing"
    linked = await exchange(client, signed(issuer, sub="ada", email=ada.email))
    assert (linked.json()["outcome"], linked.json()["user_id"]) == ("linked_existing", str(ada.user_id))
    assert token not in log.stream.getvalue()


async def test_what_is_wrong_with_a_token_is_a_clear_refusal(client: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    unverified = await exchange(client, signed(issuer, email_verified=False))
    assert (unverified.status_code, unverified.json()["code"]) == (403, "forbidden")
    expired = await exchange(client, issuer.sign(claims(iat=1_000, exp=2_000)))
    assert (expired.status_code, expired.json()["detail"]) == (401, "the ID token has expired")
    nonce = await exchange(client, signed(issuer, nonce="a"), nonce="b")
    assert (nonce.status_code, nonce.json()["code"]) == (401, "unauthenticated")
    huge = await exchange(client, "x" * 20_000)
    assert (huge.status_code, huge.json()["errors"][0]["field"]) == (422, "body.id_token")


async def test_an_issuer_that_is_away_is_a_503_that_says_so(client: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    token = signed(issuer)
    issuer.stop()
    answer = await exchange(client, token)
    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
    assert answer.headers["retry-after"] == "30"
    assert "127.0.0.1" not in answer.text

"""ID tokens exchanged over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from datalane.settings import IdentitySettings, Issuer, OidcSettings, Settings, SignUp


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


# Who makes an account ---------------------------------------------------------------------------------------------

WRONG = f"dli_{'0' * 32}_{'0' * 32}_{'A' * 43}"


@pytest.fixture
def opened(lane: OpenLane, issuer: LocalIssuer) -> Callable[..., httpx.AsyncClient]:
    """`opened(mode, own)`: the lane with this mode of signing up, and with the issuer's own."""

    def opened(mode: SignUp, own: SignUp | None = None) -> httpx.AsyncClient:
        entry = Issuer(issuer=NAME, audience=AUDIENCE, jwks_url=issuer.keys_url, sign_up=own)
        settings = Settings(identity=IdentitySettings(sign_up=mode), oidc=OidcSettings(issuers=(entry,)))
        transport = httpx.ASGITransport(create_app(replace(lane, settings=settings)), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://lane")

    return opened


async def invite(client: httpx.AsyncClient, owner: Person, email: str) -> str:
    offer = {"email": email, "role": "viewer"}
    made = await client.post("/workspaces/invites/create", json=offer, headers=owner.headers)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


@pytest.mark.parametrize(
    ("mode", "own", "denial"),
    [
        ("closed", None, "sign_up_closed"),
        ("invite_only", None, "invite_required"),
        ("open", "closed", "sign_up_closed"),
        ("open", "invite_only", "invite_required"),
    ],
)
async def test_an_id_token_makes_no_account_where_signing_up_does_not(
    client: httpx.AsyncClient,
    issuer: LocalIssuer,
    opened: Callable[..., httpx.AsyncClient],
    ada: Person,
    log: Log,
    mode: str,
    own: str | None,
    denial: str,
) -> None:
    stranger = signed(issuer, sub="eve", email="eve@example.com")
    known = signed(issuer, sub="ada", email=ada.email)
    async with opened(mode, own) as door:
        refused = await exchange(door, stranger)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert [line["denial"] for line in log.lines if line["event"] == "access_denied"] == [denial]
        assert [(await exchange(door, known)).json()["outcome"] for _ in range(2)] == ["linked_existing"] * 2
    assert (await exchange(client, stranger)).json()["outcome"] == "created_new", "nothing was left of it"


async def test_an_issuer_of_ones_own_lets_its_people_in_where_all_else_is_closed(
    issuer: LocalIssuer, opened: Callable[..., httpx.AsyncClient]
) -> None:
    async with opened("closed", "open") as door:
        assert (await exchange(door, signed(issuer, sub="eve", email="eve@example.com"))).json()[
            "outcome"
        ] == "created_new"
        account = {"email": "eve2@example.com", "password": "correct horse battery", "name": "Eve"}
        assert (await door.post("/auth/sign-up", json=account)).status_code == 403


async def test_an_invite_to_the_address_lets_a_stranger_in_and_no_other_invite_does(
    issuer: LocalIssuer, opened: Callable[..., httpx.AsyncClient], ada: Person, client: httpx.AsyncClient
) -> None:
    token = signed(issuer, sub="eve", email="eve@example.com")
    async with opened("invite_only") as door:
        good, others = await invite(door, ada, "eve@example.com"), await invite(door, ada, "cem@example.com")
        for wrong in (others, WRONG, "malformed"):
            refused = await exchange(door, token, invite=wrong)
            assert (refused.status_code, refused.json()["detail"]) == (404, "no such invite")
        assert (await exchange(door, token)).status_code == 403, "the refused ones left no account"
        entered = (await exchange(door, token, invite=good)).json()
        assert (entered["outcome"], entered["workspace_id"]) == ("created_new", str(ada.workspace_id))
        assert (await exchange(door, token)).json()["workspace_id"] == str(ada.workspace_id)
        used = await exchange(door, token, invite=good)
        assert (used.status_code, "already" in used.json()["detail"]) == (409, True)


async def test_an_invite_is_accepted_by_an_account_that_exists_or_nothing_is_linked(
    issuer: LocalIssuer, opened: Callable[..., httpx.AsyncClient], ada: Person, bob: Person
) -> None:
    token = signed(issuer, sub="bob", email=bob.email)
    async with opened("invite_only") as door:
        assert (await exchange(door, token, invite=WRONG)).status_code == 404
        assert (await door.get("/auth/me", headers=bob.headers)).status_code == 200, "linking would have ended it"
        entered = (await exchange(door, token, invite=await invite(door, ada, bob.email))).json()
        assert (entered["outcome"], entered["workspace_id"]) == ("linked_existing", str(ada.workspace_id))
        assert (await door.get("/auth/me", headers=bob.headers)).status_code == 401

"""ID tokens of a real issuer process: the good ones, and every way to forge one."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey
from tests.integration.identity.issuer import LocalIssuer

from datalane.errors import IssuerUnavailable, Unauthenticated
from datalane.identity import jwks
from datalane.identity.oidc import IdTokens
from datalane.settings import Issuer, OidcSettings

NAME, AUDIENCE = "https://issuer.example", "lane"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ALL = ("RS256", "ES256", "EdDSA")
TWICE = b'{"iss": "a", "iss": "b"}'


def configured(issuer: LocalIssuer, **changes: Any) -> IdTokens:
    entry = {"issuer": NAME, "audience": AUDIENCE, "jwks_url": issuer.keys_url, "algorithms": ALL, **changes}
    return IdTokens(OidcSettings(issuers=(Issuer.model_validate(entry),)))


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims at noon; a change to None leaves one out."""
    good = {
        "iss": NAME,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": NOON.timestamp(),
        "exp": NOON.timestamp() + 300,
        "email": "Ada@Example.com",
        "email_verified": True,
        "name": "Ada",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def own_issuer() -> Iterator[LocalIssuer]:
    """One that a test may stop."""
    running = LocalIssuer()
    yield running
    running.stop()


@pytest.mark.parametrize("algorithm", ALL)
async def test_a_token_of_the_issuer_says_who_it_is(issuer: LocalIssuer, algorithm: str) -> None:
    who = await configured(issuer).verify(issuer.sign(claims(), algorithm), now=NOON)
    assert (who.issuer, who.subject, who.email, who.email_verified, who.name) == (
        NAME,
        "ada",
        "ada@example.com",
        True,
        "Ada",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example"}, "not configured"),
        ({"iss": NAME + "/"}, "not configured"),
        ({"iss": [NAME]}, "not configured"),
        ({"aud": "other"}, "somebody else"),
        ({"aud": []}, "somebody else"),
        ({"aud": None}, "somebody else"),
        ({"aud": [AUDIENCE, "other"]}, "somebody else"),
        ({"aud": [AUDIENCE, "other"], "azp": "other"}, "somebody else"),
        ({"azp": "other"}, "somebody else"),
        ({"exp": NOON.timestamp() - 61}, "expired"),
        ({"exp": None}, "must say when"),
        ({"exp": "tomorrow"}, "must say when"),
        ({"exp": True}, "must say when"),
        ({"iat": None}, "must say when"),
        ({"iat": NOON.timestamp() + 61}, "future"),
        ({"nbf": NOON.timestamp() + 61}, "future"),
        ({"nbf": "now"}, "must say when"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": "x" * 256}, "no subject"),
        ({"sub": 7}, "no subject"),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(issuer: LocalIssuer, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        await configured(issuer).verify(issuer.sign(claims(**changes)), now=NOON)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOON.timestamp() - 30},
        {"iat": NOON.timestamp() + 30},
        {"aud": [AUDIENCE]},
        {"aud": [AUDIENCE, "other"], "azp": AUDIENCE},
    ],
)
async def test_clocks_may_differ_a_little_and_the_party_may_be_named(
    issuer: LocalIssuer, changes: dict[str, Any]
) -> None:
    assert (await configured(issuer).verify(issuer.sign(claims(**changes)), now=NOON)).subject == "ada"


@pytest.mark.parametrize(
    ("changes", "verified"),
    [
        ({"email_verified": False}, False),
        ({"email_verified": None}, False),
        ({"email_verified": "false"}, False),
        ({"email_verified": 1}, False),
        ({"email_verified": "true"}, True),
        ({"email": None}, False),
        ({"email": "no address"}, False),
        ({"email": ["ada@example.com"]}, False),
    ],
)
async def test_an_address_counts_only_when_the_issuer_vouches_for_it(
    issuer: LocalIssuer, changes: dict[str, Any], verified: bool
) -> None:
    who = await configured(issuer).verify(issuer.sign(claims(**changes)), now=NOON)
    assert who.email_verified is verified


async def test_a_nonce_must_be_the_one_that_was_asked_with(issuer: LocalIssuer) -> None:
    tokens = configured(issuer)
    asked, bare = issuer.sign(claims(nonce="n-1")), issuer.sign(claims())
    assert (await tokens.verify(asked, nonce="n-1", now=NOON)).subject == "ada"
    for token, nonce in ((asked, "n-2"), (bare, "n-1")):
        with pytest.raises(Unauthenticated, match="nonce"):
            await tokens.verify(token, nonce=nonce, now=NOON)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, ["RS256"]])
async def test_a_token_without_a_signature_is_refused(issuer: LocalIssuer, algorithm: Any) -> None:
    header = encoded({"alg": algorithm, "kid": issuer.published_keys()[0]["kid"]})
    for signature in ("", "AA"):
        with pytest.raises(Unauthenticated):
            await configured(issuer).verify(f"{header}.{encoded(claims())}.{signature}", now=NOON)


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
async def test_a_public_key_is_no_secret_of_an_hmac(issuer: LocalIssuer, algorithm: str) -> None:
    """The attack of 2015: sign with the public key, which everybody knows, as if it were a shared secret."""
    (public,) = [key for key in issuer.published_keys() if key["kid"].startswith("RS256")]
    signed = f"{encoded({'alg': algorithm, 'kid': public['kid']})}.{encoded(claims())}"
    for secret in (RSAKey.import_key(public).as_pem(private=False), json.dumps(public).encode()):
        digest = hmac.digest(secret, signed.encode(), "sha256" if algorithm == "HS256" else "sha512")
        with pytest.raises(Unauthenticated, match="not allowed"):
            await configured(issuer).verify(f"{signed}.{encoded(digest)}", now=NOON)


async def test_a_shared_secret_or_a_weak_key_in_the_issuers_set_is_not_used(issuer: LocalIssuer) -> None:
    for name in ("shared", "weak", "odd"):
        with pytest.raises(Unauthenticated, match="does not have"):
            await configured(issuer).verify(issuer.sign(claims(), kid=name), now=NOON)


async def test_a_signature_of_another_key_is_refused(issuer: LocalIssuer) -> None:
    mine = RSAKey.generate_key(2048)
    name = next(key["kid"] for key in issuer.published_keys() if key["kid"].startswith("RS256"))
    body = json.dumps(claims())
    registry = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    for header in (
        {"alg": "RS256", "kid": name},
        {"alg": "RS256", "kid": name, "jwk": mine.as_dict(private=False)},
        {"alg": "RS256", "kid": name, "jku": "https://attacker.example/keys"},
    ):
        forged = jws.serialize_compact(header, body, mine, registry=registry)
        with pytest.raises(Unauthenticated, match="signature"):
            await configured(issuer).verify(forged, now=NOON)


async def test_claims_that_were_changed_after_signing_are_refused(issuer: LocalIssuer) -> None:
    header, _, signature = issuer.sign(claims()).split(".")
    with pytest.raises(Unauthenticated, match="signature"):
        await configured(issuer).verify(f"{header}.{encoded(claims(sub='eve'))}.{signature}", now=NOON)


async def test_a_signature_of_one_kind_is_not_one_of_another(issuer: LocalIssuer) -> None:
    elliptic = next(key["kid"] for key in issuer.published_keys() if key["kid"].startswith("ES256"))
    with pytest.raises(Unauthenticated, match="signature"):
        await configured(issuer).verify(issuer.sign(claims(), kid=elliptic), now=NOON)


async def test_an_algorithm_that_is_not_configured_is_refused(issuer: LocalIssuer) -> None:
    with pytest.raises(Unauthenticated, match="not allowed"):
        await configured(issuer, algorithms=("RS256",)).verify(issuer.sign(claims(), "ES256"), now=NOON)


async def test_a_header_that_must_be_understood_is_refused(issuer: LocalIssuer) -> None:
    token = issuer.sign(claims(), crit=["b64"], b64=True)
    with pytest.raises(Unauthenticated, match="not allowed"):
        await configured(issuer).verify(token, now=NOON)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c.d",
        "....",
        "a.b.c",
        f"{encoded([])}.{encoded({})}.AA",
        f"{encoded({'alg': 'RS256'})}.{encoded('x')}.AA",
        f"{encoded(b'not json')}.{encoded({})}.AA",
        f"{encoded({'alg': 'RS256'})}.{encoded(TWICE)}.AA",
        "é.é.é",
    ],
)
async def test_what_is_no_signed_token_is_refused(issuer: LocalIssuer, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await configured(issuer).verify(token, now=NOON)


async def test_new_keys_of_the_issuer_are_fetched_when_a_token_names_them(own_issuer: LocalIssuer) -> None:
    tokens, former = configured(own_issuer), own_issuer.sign(claims())
    await tokens.verify(former, now=NOON)
    own_issuer.rotate()
    await tokens.verify(own_issuer.sign(claims()), now=NOON + jwks.PAUSE)
    with pytest.raises(Unauthenticated, match="does not have"):
        await tokens.verify(former, now=NOON + jwks.PAUSE)
    assert own_issuer.fetches() == 2


async def test_strangers_cannot_make_the_lane_fetch_often(issuer: LocalIssuer) -> None:
    tokens, before = configured(issuer), issuer.fetches()
    for number in range(20):
        with pytest.raises(Unauthenticated, match="does not have"):
            await tokens.verify(issuer.sign(claims(), kid=f"made-up-{number}"), now=NOON)
    assert issuer.fetches() == before + 1
    with pytest.raises(Unauthenticated):
        await tokens.verify(issuer.sign(claims(), kid="made-up"), now=NOON + jwks.PAUSE)
    assert issuer.fetches() == before + 2


async def test_many_tokens_at_once_wait_for_one_fetch(issuer: LocalIssuer) -> None:
    tokens, before, token = configured(issuer), issuer.fetches(), issuer.sign(claims())
    found = await asyncio.gather(*(tokens.verify(token, now=NOON) for _ in range(8)))
    assert {who.subject for who in found} == {"ada"}
    assert issuer.fetches() == before + 1


async def test_keys_are_looked_up_again_when_they_are_old(issuer: LocalIssuer) -> None:
    tokens, before = configured(issuer), issuer.fetches()
    token = issuer.sign(claims(exp=NOON.timestamp() + 10_000))
    for minutes in (0, 5, 9, 10, 12):
        await tokens.verify(token, now=NOON + timedelta(minutes=minutes))
    assert issuer.fetches() == before + 2


async def test_an_outage_of_the_issuer_is_survived_with_the_known_keys_for_a_day(own_issuer: LocalIssuer) -> None:
    tokens = configured(own_issuer)
    token = own_issuer.sign(claims(exp=NOON.timestamp() + 200_000))
    unknown = own_issuer.sign(claims(), kid="rotated")
    await tokens.verify(token, now=NOON)
    own_issuer.stop()
    assert (await tokens.verify(token, now=NOON + timedelta(hours=23))).subject == "ada"
    with pytest.raises(IssuerUnavailable):
        await tokens.verify(unknown, now=NOON + timedelta(hours=23, minutes=1))
    with pytest.raises(IssuerUnavailable):
        await tokens.verify(token, now=NOON + timedelta(hours=24))


@pytest.mark.parametrize("path", ["/words", "/list", "/huge", "/elsewhere"])
async def test_an_answer_that_is_no_key_set_is_an_outage(issuer: LocalIssuer, path: str) -> None:
    with pytest.raises(IssuerUnavailable):
        await configured(issuer, jwks_url=issuer.url + path).verify(issuer.sign(claims()), now=NOON)


async def test_an_issuer_that_does_not_answer_is_given_up_on(
    issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(IssuerUnavailable):
        await configured(issuer, jwks_url=f"{issuer.url}/slow").verify(issuer.sign(claims()), now=NOON)


async def test_without_a_configured_issuer_no_token_is_good(issuer: LocalIssuer) -> None:
    with pytest.raises(Unauthenticated, match="not configured"):
        await IdTokens(OidcSettings()).verify(issuer.sign(claims()), now=NOON)

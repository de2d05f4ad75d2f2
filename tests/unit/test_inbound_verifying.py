"""A delivery is taken for the provider's when the bytes say so, and for nobody's otherwise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from standardwebhooks import Webhook

from datalane.integrations.inbound.schemas import SignatureRule, ValuePlace
from datalane.integrations.inbound.tokens import InboundToken, parse_token
from datalane.integrations.inbound.verifying import PRESETS, Unverified, read_place, verify
from datalane.kit.ids import uuid7

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
STAMP = int(NOW.timestamp())
TOLERANCE = timedelta(minutes=5)
SECRET = "It's a Secret to Everybody"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type": "charge.paid", "id": "evt_1", "data": {"id": 7}}'
Headers = Mapping[str, Sequence[str] | str]


def check(
    preset: str | SignatureRule, headers: Headers, body: bytes = BODY, *secrets: str, now: datetime = NOW
) -> bytes:
    rule = preset if isinstance(preset, SignatureRule) else PRESETS[preset]  # type: ignore[index]

    def values(name: str) -> Sequence[str]:
        found = headers.get(name.lower(), [])
        return [found] if isinstance(found, str) else found

    return verify(rule, values, body, secrets or (SECRET,), now, TOLERANCE).digest


def refused(*said: Any, **options: Any) -> str:
    with pytest.raises(Unverified) as error:
        check(*said, **options)
    assert SECRET not in str(error.value)
    return str(error.value)


def hexed(signed: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def stripe(body: bytes = BODY, stamp: int = STAMP, *secrets: str) -> dict[str, str]:
    signatures = [f"v1={hexed(f'{stamp}.'.encode() + body, secret)}" for secret in secrets or (SECRET,)]
    return {"stripe-signature": ",".join([f"t={stamp}", *signatures, "v0=00"])}


def github(body: bytes = BODY) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hexed(body)}", "x-github-delivery": "d-1", "x-github-event": "push"}


def standard(body: bytes = BODY, stamp: datetime = NOW) -> dict[str, str]:
    signature = Webhook(WHSEC).sign("msg_1", stamp, body.decode())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(stamp.timestamp())),
        "webhook-signature": signature,
    }


def test_what_github_documents_is_verified() -> None:
    """The example of "Validating webhook deliveries"."""
    example = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert check("github", {"x-hub-signature-256": f"sha256={example}"}, b"Hello, World!") == (
        hashlib.sha256(b"Hello, World!").digest()
    )


def test_what_the_library_of_standard_webhooks_signs_is_verified() -> None:
    check("standard_webhooks", standard(), BODY, WHSEC)
    check("standard_webhooks", standard(), BODY, "whsec_b3RoZXI=", WHSEC.removeprefix("whsec_"))


def test_each_of_several_signatures_and_secrets_will_do() -> None:
    check("stripe", stripe(BODY, STAMP, "another", SECRET), BODY, SECRET)
    check("stripe", stripe(), BODY, "another", SECRET)
    several = {**standard(), "webhook-signature": f"v1,AAAA v1a,BBBB {standard()['webhook-signature']}"}
    check("standard_webhooks", several, BODY, WHSEC)


def test_a_public_key_verifies_what_its_private_one_signed() -> None:
    key = Ed25519PrivateKey.generate()
    public = "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()
    rule = PRESETS["standard_webhooks"].model_copy(update={"algorithm": "ed25519", "prefix": "v1a,"})
    signed = b"msg_1.%d." % STAMP + BODY
    headers = {**standard(), "webhook-signature": "v1a," + base64.b64encode(key.sign(signed)).decode()}
    check(rule, headers, BODY, public)
    assert "does not fit" in refused(rule, headers, BODY + b" ", public)
    assert "does not fit" in refused(rule, headers, BODY, "whpk_AAAA")


@pytest.mark.parametrize("preset", ["stripe", "github", "standard_webhooks"])
def test_no_changed_byte_is_taken(preset: str) -> None:
    made = {"stripe": stripe, "github": github, "standard_webhooks": standard}[preset]()
    secret = WHSEC if preset == "standard_webhooks" else SECRET
    check(preset, made, BODY, secret)
    for place in range(len(BODY)):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        refused(preset, made, changed, secret)
    for body in (b"", BODY + b"\n", b" " + BODY, json.dumps(json.loads(BODY)).encode() + b" "):
        refused(preset, made, body, secret)
    refused(preset, made, BODY, secret + "x")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_whatever_is_signed_cannot_be_changed_left_out_or_said_twice(name: str) -> None:
    made = standard()
    assert refused("standard_webhooks", {**made, name: made[name][:-1] + "9"}, BODY, WHSEC)
    assert refused("standard_webhooks", {key: value for key, value in made.items() if key != name}, BODY, WHSEC)
    assert refused("standard_webhooks", {**made, name: [made[name], made[name]]}, BODY, WHSEC)


@pytest.mark.parametrize(("seconds", "taken"), [(0, True), (299, True), (300, True), (301, False), (86_400, False)])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_signed_moment_is_within_five_minutes_of_now(seconds: int, taken: bool, direction: int) -> None:
    moment = NOW + timedelta(seconds=seconds * direction)
    for preset, made, secret in (
        ("stripe", stripe(BODY, int(moment.timestamp())), SECRET),
        ("standard_webhooks", standard(BODY, moment), WHSEC),
    ):
        if taken:
            check(preset, made, BODY, secret)
        else:
            assert "300 seconds" in refused(preset, made, BODY, secret)


@pytest.mark.parametrize(
    "said",
    [
        *("", "v1=", "t=,v1=", f"t={STAMP}", f"v1={'0' * 64}", f"t={STAMP},v1=zz", f"t={STAMP},v1={'0' * 64}"),
        *(f"t={STAMP},t={STAMP},v1=", f"t=-{STAMP}", f"t={STAMP}.5", f"t=1e9,v1={'0' * 64}", "t=99999999999999999999"),
        *(f"t={STAMP}," + ",".join(["v1=00"] * 30), f"t=٣,v1={'0' * 64}", f"T={STAMP},V1={'0' * 64}"),
        f"t={STAMP},v0={hexed(f'{STAMP}.'.encode() + BODY)}",
    ],
)
def test_what_is_no_signature_is_refused_and_breaks_nothing(said: str) -> None:
    assert refused("stripe", {"stripe-signature": said})
    assert refused("stripe", {"stripe-signature": said}, b"")


def test_without_a_secret_nothing_is_taken() -> None:
    rule = PRESETS["github"]
    with pytest.raises(Unverified):
        verify(rule, lambda name: [github()[name]] if name in github() else [], BODY, [], NOW, TOLERANCE)
    refused("github", {"x-hub-signature-256": f"sha256={hexed(BODY, '')}"})
    nothing = "v1," + base64.b64encode(hmac.new(b"", b"msg_1.%d." % STAMP + BODY, hashlib.sha256).digest()).decode()
    for empty in ("whsec_", "", "whsec_===="):
        refused("standard_webhooks", {**standard(), "webhook-signature": nothing}, BODY, empty)


@pytest.mark.parametrize(
    "said",
    [
        {"signed": "{timestamp}.{body}"},
        {"signed": "{body}", "timestamp_header": "x-time"},
        {"signed": "body"},
        {"signed": "{body}{body}"},
        {"signed": "{body}{secret}"},
        {"signed": "{id}.{body}", "event_id": {"json_path": "id"}},
        {"signed": "{timestamp}.{body}", "timestamp_prefix": "t="},
        {"signed": "{timestamp}.{body}", "timestamp_prefix": "t=", "timestamp_header": "x-t", "separator": ","},
        {"event_id": {}},
        {"event_id": {"header": "x-id", "json_path": "id"}},
        {"event_id": {"json_path": "a..b"}},
        {"header": "x y"},
        {"algorithm": "none"},
        {"algorithm": "hmac_md5"},
        {"colour": "red"},
    ],
)
def test_a_rule_that_would_check_less_than_it_seems_to_is_refused(said: dict[str, Any]) -> None:
    rule = {"header": "x-signature", "event_id": {"header": "x-id"}, **said}
    with pytest.raises(ValidationError):
        SignatureRule.model_validate(rule)


def test_which_presets_sign_the_id_and_the_moment() -> None:
    told = {name: (rule.signs_id, rule.has_timestamp) for name, rule in PRESETS.items()}
    assert told == {"standard_webhooks": (True, True), "stripe": (True, True), "github": (False, False)}


def test_an_id_is_a_short_text_or_a_number_and_nothing_else() -> None:
    body = {"id": "evt", "n": 7, "flag": True, "none": None, "deep": {"id": "x"}, "list": ["a"], "long": "y" * 201}
    found = {
        path: read_place(ValuePlace(json_path=path), lambda _: [], body)
        for path in ("id", "n", "flag", "none", "deep.id", "deep", "list.0", "long", "absent.id", "id.id")
    }
    assert {path: value for path, value in found.items() if value} == {"id": "evt", "n": "7", "deep.id": "x"}
    assert read_place(ValuePlace(header="x"), lambda _: ["a", "b"], body) is None
    assert read_place(ValuePlace(header="x"), lambda _: ["a\x00"], body) is None
    assert read_place(ValuePlace(json_path="id"), lambda _: [], [1]) is None


def test_a_token_is_read_as_it_was_written_and_shows_no_secret() -> None:
    token = InboundToken.new(uuid7(), uuid7())
    assert parse_token(str(token)) == token
    assert token.secret not in repr(token)
    for wrong in ("", "dlw_", f"{token}x", str(token).upper(), f"{token}\n", str(token).replace("dlw", "dl")):
        assert parse_token(wrong) is None

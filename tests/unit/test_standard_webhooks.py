"""Messages are signed and verified as by the specification: held against its own library, unchanged."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from datalane.errors import InvalidInput
from datalane.kit.standard_webhooks import (
    ID,
    MOST_SIGNATURES,
    SIGNATURE,
    TIMESTAMP,
    Fault,
    PrivateKey,
    SharedSecret,
    SignatureRefused,
    Verifier,
    make_private_key,
    make_shared_secret,
    read_signer,
    read_verifier,
    sign,
    verify,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BODY = '{"type":"invoice.paid","data":{"größe":7}}'.encode()
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The example of the specification's reference libraries."""
VECTOR_ID, VECTOR_AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC)
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
ED25519_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
ED25519_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
ED25519_OF_NOTHING = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)
"""RFC 8032, section 7.1, test 1."""


def test_the_librarys_own_example_has_its_signature() -> None:
    headers = sign(VECTOR_ID, VECTOR_AT, b'{"test": 2432232314}', [read_signer(VECTOR_SECRET)])
    assert headers == {ID: VECTOR_ID, TIMESTAMP: "1614265330", SIGNATURE: VECTOR_SIGNATURE}


def test_the_library_verifies_what_we_sign() -> None:
    secret = make_shared_secret()
    headers = sign("evt-1", datetime.now(UTC), BODY, [read_signer(secret)])
    assert Webhook(secret).verify(BODY, headers)["data"] == {"größe": 7}
    with pytest.raises(WebhookVerificationError):
        Webhook(make_shared_secret()).verify(BODY, headers)


def test_we_verify_what_the_library_signs() -> None:
    secret = make_shared_secret()
    signature = Webhook(secret).sign("evt-1", NOW, BODY.decode())
    headers = {ID: "evt-1", TIMESTAMP: str(int(NOW.timestamp())), SIGNATURE: signature}
    assert verify(headers, BODY, [read_verifier(secret)], NOW) == "evt-1"


def test_while_a_secret_is_changed_both_verify() -> None:
    old, new = make_shared_secret(), make_shared_secret()
    headers = sign("evt-1", datetime.now(UTC), BODY, [read_signer(new), read_signer(old)])
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers)


def test_v1a_is_ed25519_of_the_same_bytes() -> None:
    key = read_signer(make_private_key())
    assert isinstance(key, PrivateKey)
    headers = sign("evt-1", NOW, BODY, [key])
    version, _, signature = headers[SIGNATURE].partition(",")
    assert version == "v1a"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public.removeprefix("whpk_")))
    public.verify(base64.b64decode(signature), f"evt-1.{int(NOW.timestamp())}.".encode() + BODY)
    assert verify(headers, BODY, [read_verifier(key.public)], NOW) == "evt-1"
    assert _fault(headers, keys=[read_verifier(PrivateKey(bytes(32)).public)]) is Fault.MISMATCH


def test_the_published_vector_of_ed25519_holds() -> None:
    short = read_signer("whsk_" + base64.b64encode(ED25519_SEED).decode())
    long = read_signer("whsk_" + base64.b64encode(ED25519_SEED + ED25519_PUBLIC).decode())
    assert short == long == PrivateKey(ED25519_SEED)
    assert short.sign(b"") == ED25519_OF_NOTHING == Ed25519PrivateKey.from_private_bytes(ED25519_SEED).sign(b"")
    assert read_verifier("whpk_" + base64.b64encode(ED25519_PUBLIC).decode()).verifies(b"", ED25519_OF_NOTHING)


def test_a_key_of_one_kind_does_not_verify_the_other() -> None:
    secret = make_shared_secret()
    headers = sign("evt-1", NOW, BODY, [read_signer(secret)])
    assert _fault(headers | {SIGNATURE: headers[SIGNATURE].replace("v1,", "v1a,")}, secret) is Fault.MISMATCH


def _fault(headers: dict[str, str], secret: str = VECTOR_SECRET, keys: Sequence[Verifier] = ()) -> Fault:
    with pytest.raises(SignatureRefused) as refused:
        verify(headers, BODY, keys or [read_verifier(secret)], NOW)
    assert refused.value.status == 401
    return refused.value.fault


GENUINE = sign("evt-1", NOW, BODY, [read_signer(VECTOR_SECRET)])


@pytest.mark.parametrize("missing", [ID, TIMESTAMP, SIGNATURE])
def test_a_missing_header_is_refused(missing: str) -> None:
    assert _fault({**GENUINE, missing: ""}) is Fault.MISSING_HEADER
    assert _fault({name: value for name, value in GENUINE.items() if name != missing}) is Fault.MISSING_HEADER


@pytest.mark.parametrize("timestamp", ["x", "-1", "1.5", "1e9", "٣", "9" * 13, "inf", "nan", " "])
def test_a_moment_that_is_none_is_refused(timestamp: str) -> None:
    assert _fault({**GENUINE, TIMESTAMP: timestamp}) is Fault.MALFORMED


@pytest.mark.parametrize("late", [-301, 301])
def test_an_old_or_a_future_message_is_refused(late: int) -> None:
    headers = sign("evt-1", NOW + timedelta(seconds=late), BODY, [read_signer(VECTOR_SECRET)])
    assert _fault(headers) is Fault.STALE


@pytest.mark.parametrize("late", [-300, 300])
def test_five_minutes_are_allowed_either_way(late: int) -> None:
    headers = sign("evt-1", NOW + timedelta(seconds=late), BODY, [read_signer(VECTOR_SECRET)])
    assert verify(headers, BODY, [read_verifier(VECTOR_SECRET)], NOW) == "evt-1"


@pytest.mark.parametrize("name", [ID, TIMESTAMP])
def test_what_is_signed_holds_the_id_and_the_moment(name: str) -> None:
    other = {ID: "evt-2", TIMESTAMP: str(int(NOW.timestamp()) + 1)}[name]
    assert _fault({**GENUINE, name: other}) is Fault.MISMATCH


@pytest.mark.parametrize("signature", ["v1", "v1,", "v1,%%%", "v1,ä", ",,,", "v1,\x00", "v2,AAAA", "v1,AAAA"])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    assert _fault({**GENUINE, SIGNATURE: signature}) in {Fault.MALFORMED, Fault.MISMATCH}


def test_what_is_not_known_beside_a_good_signature_is_passed_over() -> None:
    headers = {**GENUINE, SIGNATURE: f"v9,AAAA v1,!! v1a,AAAA {GENUINE[SIGNATURE]}"}
    assert verify(headers, BODY, [read_verifier(VECTOR_SECRET)], NOW) == "evt-1"


def test_a_sender_does_not_choose_how_much_is_computed() -> None:
    assert _fault({**GENUINE, SIGNATURE: " ".join([GENUINE[SIGNATURE]] * (MOST_SIGNATURES + 1))}) is Fault.MALFORMED


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_AAAA", "whsk_AAAA", "secret", "whsec_%%", "whsec_" + "A" * 200])
def test_what_is_no_key_is_refused_without_being_told(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_signer(key)
    assert len(key) < 10 or key not in str(refused.value)
    with pytest.raises(InvalidInput):
        read_verifier("whpk_AAAA")


@pytest.mark.parametrize("message_id", ["", "a.b", "ü", "a\nb"])
def test_an_id_that_would_be_read_in_two_ways_is_not_signed(message_id: str) -> None:
    with pytest.raises(InvalidInput):
        sign(message_id, NOW, BODY, [SharedSecret(bytes(32))])


def test_keys_are_not_printed() -> None:
    assert "\\x07" not in repr(SharedSecret(bytes([7] * 32))) + repr(PrivateKey(bytes([7] * 32)))


@given(body=st.binary(max_size=200), at=st.integers(min_value=0, max_value=2**33))
def test_any_bytes_are_verified_and_no_others(body: bytes, at: int) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    headers = sign("evt-1", moment, body, [SharedSecret(bytes(32))])
    assert verify(headers, body, [SharedSecret(bytes(32))], moment) == "evt-1"
    with pytest.raises(SignatureRefused):
        verify(headers, body + b"x", [SharedSecret(bytes(32))], moment)

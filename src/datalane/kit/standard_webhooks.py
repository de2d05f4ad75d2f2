"""Signing and verifying by the Standard Webhooks specification 1.0 (github.com/standard-webhooks/standard-webhooks).

    webhook-id:         names the message; the same on every attempt, so that a receiver takes it once
    webhook-timestamp:  when this attempt was made, in seconds since 1970
    webhook-signature:  one or more of `<version>,<base64>`, with spaces between them

What is signed is `<id>.<timestamp>.<body>`. `v1` is HMAC-SHA256 under a shared secret (`whsec_…`); `v1a` is Ed25519
under a private key (`whsk_…`), checked with the public one (`whpk_…`). While keys are changed, a message carries a
signature of each.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from datalane.errors import DatalaneError, InvalidInput

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE: Final = timedelta(minutes=5)
MOST_SIGNATURES: Final = 16
"""Of one message. Each is checked against each key, so a sender must not choose how many there are."""

_SECRET, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
_SECRET_BYTES, _SHORTEST, _LONGEST = 32, 24, 64
_SEED = 32


class Fault(StrEnum):
    """Why a message is not taken for genuine."""

    MISSING_HEADER = "missing_header"
    MALFORMED = "malformed"
    STALE = "stale"
    MISMATCH = "mismatch"


class SignatureRefused(DatalaneError):
    """The message is not one that the holder of the key sent just now; `fault` says why."""

    code = "signature_refused"
    status = 401

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """Signs and verifies `v1`."""

    key: bytes = field(repr=False)

    version = "v1"

    def sign(self, signed: bytes) -> bytes:
        return hmac.digest(self.key, signed, "sha256")

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(signed), signature)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Signs `v1a`."""

    seed: bytes = field(repr=False)

    version = "v1a"

    def sign(self, signed: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(signed)

    @property
    def public(self) -> str:
        """The key to check with, as `whpk_…`."""
        key = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return _PUBLIC + base64.b64encode(key.public_bytes_raw()).decode()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Verifies `v1a`."""

    key: bytes

    version = "v1a"

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, signed)
        except (InvalidSignature, ValueError):  # ValueError: bytes that are no key
            return False
        return True


Signer = SharedSecret | PrivateKey
Verifier = SharedSecret | PublicKey


def make_shared_secret() -> str:
    """A new secret for `v1`, as `whsec_…`."""
    return _SECRET + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def make_private_key() -> str:
    """A new key for `v1a`, as `whsk_…`."""
    return _PRIVATE + base64.b64encode(secrets.token_bytes(_SEED)).decode()


def read_signer(text: str) -> Signer:
    """The key of `whsec_…` or `whsk_…`. Raises `InvalidInput`, which says nothing of the key."""
    if text.startswith(_PRIVATE):
        key = _decoded(text.removeprefix(_PRIVATE))
        if len(key) not in {_SEED, 2 * _SEED}:  # the longer form has the public key behind the seed
            raise InvalidInput("a private key of Ed25519 has 32 or 64 bytes")
        return PrivateKey(key[:_SEED])
    return _read_secret(text)


def read_verifier(text: str) -> Verifier:
    """The key of `whsec_…` or `whpk_…`. Raises `InvalidInput`, which says nothing of the key."""
    if text.startswith(_PUBLIC):
        key = _decoded(text.removeprefix(_PUBLIC))
        if len(key) != _SEED:
            raise InvalidInput("a public key of Ed25519 has 32 bytes")
        return PublicKey(key)
    return _read_secret(text)


def sign(message_id: str, at: datetime, body: bytes, keys: Sequence[Signer]) -> dict[str, str]:
    """The three headers of a message that is sent `at` a time, signed with each of `keys`.

    Raises `InvalidInput` for an id with a full stop, which would make two messages look alike.
    """
    if not message_id or "." in message_id or not message_id.isascii() or not message_id.isprintable():
        raise InvalidInput("the id of a message is printable ASCII without a full stop")
    timestamp = str(int(at.timestamp()))
    signed = _signed(message_id, timestamp, body)
    signatures = [f"{key.version},{base64.b64encode(key.sign(signed)).decode()}" for key in keys]
    return {ID: message_id, TIMESTAMP: timestamp, SIGNATURE: " ".join(signatures)}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[Verifier],
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> str:
    """The id of a genuine message. `headers` are looked up by their names in lower case.

    Raises `SignatureRefused`. A signature of a version that is not known is passed over, as the specification asks.
    """
    message_id, timestamp, signatures = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not (message_id and timestamp and signatures):
        raise SignatureRefused("webhook-id, webhook-timestamp or webhook-signature is missing", Fault.MISSING_HEADER)
    _check_moment(timestamp, now, tolerance)
    given = _read_signatures(signatures)
    signed = _signed(message_id, timestamp, body)
    if any(key.version == version and key.verifies(signed, each) for key in keys for version, each in given):
        return message_id
    raise SignatureRefused("no signature of the message is one of the keys", Fault.MISMATCH)


def _check_moment(timestamp: str, now: datetime, tolerance: timedelta) -> None:
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise SignatureRefused("webhook-timestamp is not a whole number of seconds", Fault.MALFORMED)
    if abs(now.timestamp() - int(timestamp)) > tolerance.total_seconds():
        raise SignatureRefused(f"webhook-timestamp is more than {tolerance.total_seconds():g} s from now", Fault.STALE)


def _read_signatures(header: str) -> list[tuple[str, bytes]]:
    parts = header.split()
    if len(parts) > MOST_SIGNATURES:
        raise SignatureRefused(f"more than {MOST_SIGNATURES} signatures", Fault.MALFORMED)
    found = []
    for part in parts:
        version, comma, encoded = part.partition(",")
        try:
            found.append((version, base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError):
            continue
        if not comma:
            found.pop()
    if not found:
        raise SignatureRefused("webhook-signature holds no signature", Fault.MALFORMED)
    return found


def _signed(message_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body


def _read_secret(text: str) -> SharedSecret:
    key = _decoded(text.removeprefix(_SECRET))
    if not text.startswith(_SECRET) or not _SHORTEST <= len(key) <= _LONGEST:
        raise InvalidInput(f"a secret is whsec_ and {_SHORTEST} to {_LONGEST} bytes in base64")
    return SharedSecret(key)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the key is not in base64") from None

"""Checking who sent a delivery, over its very bytes and before anything reads them. Decided from values alone.

The presets are as the providers document them: Standard Webhooks 1.0.0 (standardwebhooks.com), Stripe ("Verify
webhook signatures"), GitHub ("Validating webhook deliveries").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from datalane.integrations.inbound.schemas import Preset, SignatureRule, ValuePlace

PRESETS: Final[Mapping[Preset, SignatureRule]] = {
    "standard_webhooks": SignatureRule(
        encoding="base64",
        header="webhook-signature",
        separator=" ",
        prefix="v1,",
        signed="{id}.{timestamp}.{body}",
        timestamp_header="webhook-timestamp",
        key_encoding="standard",
        event_id=ValuePlace(header="webhook-id"),
        event_type=ValuePlace(json_path="type"),
    ),
    "stripe": SignatureRule(
        header="stripe-signature",
        separator=",",
        prefix="v1=",
        signed="{timestamp}.{body}",
        timestamp_prefix="t=",
        event_id=ValuePlace(json_path="id"),
        event_type=ValuePlace(json_path="type"),
    ),
    "github": SignatureRule(
        header="x-hub-signature-256",
        prefix="sha256=",
        event_id=ValuePlace(header="x-github-delivery"),
        event_type=ValuePlace(header="x-github-event"),
    ),
}
MOST_CHARACTERS = 200
"""Of an id or a type."""
_MOST_SIGNATURES = 20
_SECONDS = re.compile(r"[0-9]{1,11}")
_TEXT = re.compile(r"[ -~]{1,200}")
_PLACES = re.compile(r"(\{body\}|\{timestamp\}|\{id\})")
_HASHES: Final = {"hmac_sha256": hashlib.sha256, "hmac_sha512": hashlib.sha512}

Values = Callable[[str], Sequence[str]]
"""The values of a header, whatever case its name is in."""


class Unverified(Exception):
    """It is not known to come from the provider. The message is for the log of the workspace, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Verified:
    """`digest` is the SHA-256 of all that was signed."""

    digest: bytes


def verify(
    rule: SignatureRule, headers: Values, body: bytes, secrets: Sequence[str], now: datetime, tolerance: timedelta
) -> Verified:
    """Whether one of `secrets` signed this delivery. Raises `Unverified`."""
    told = _one(headers, rule.header, "the signature")
    items = [item.strip() for item in told.split(rule.separator)] if rule.separator else [told]
    if len(items) > _MOST_SIGNATURES:
        raise Unverified("there are too many signatures")
    stamp = _timestamp(rule, headers, items)
    if stamp is not None and abs(_moment(stamp) - now) > tolerance:
        raise Unverified(f"its time is more than {tolerance.total_seconds():g} seconds off")
    signed = _signed(rule, headers, stamp, body)
    found = [item.removeprefix(rule.prefix) for item in items if item.startswith(rule.prefix)]
    signatures = [one for one in (_decoded(item, rule.encoding) for item in found) if one is not None]
    if not signatures:
        raise Unverified("it has no signature of the kind that is asked for")
    good = False
    for secret in secrets:
        key = _key(secret, rule)
        for signature in signatures:
            good |= key is not None and _fits(rule, key, signed, signature)
    if not good:
        raise Unverified("the signature does not fit")
    return Verified(hashlib.sha256(signed).digest())


def read_place(place: ValuePlace, headers: Values, body: Any) -> str | None:
    """The text or whole number in that place; None for anything else, or more than one."""
    if place.header is not None:
        values = headers(place.header)
        return values[0] if len(values) == 1 and _TEXT.fullmatch(values[0]) else None
    found = body
    for key in (place.json_path or "").split("."):
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    return found if isinstance(found, str) and 1 <= len(found) <= MOST_CHARACTERS and "\x00" not in found else None


def _one(headers: Values, name: str, what: str) -> str:
    values = headers(name)
    if len(values) != 1:
        raise Unverified(f"{what} is {'missing' if not values else 'there more than once'}")
    return values[0]


def _timestamp(rule: SignatureRule, headers: Values, items: Sequence[str]) -> str | None:
    if rule.timestamp_header is not None:
        stamp = _one(headers, rule.timestamp_header, "the time")
    elif rule.timestamp_prefix is not None:
        found = [item.removeprefix(rule.timestamp_prefix) for item in items if item.startswith(rule.timestamp_prefix)]
        stamp = _one(lambda _: found, "", "the time")
    else:
        return None
    if not _SECONDS.fullmatch(stamp):
        raise Unverified("its time is no number of seconds")
    return stamp


def _moment(stamp: str) -> datetime:
    return datetime.fromtimestamp(int(stamp), UTC)


def _signed(rule: SignatureRule, headers: Values, stamp: str | None, body: bytes) -> bytes:
    parts = {"{body}": body, "{timestamp}": (stamp or "").encode()}
    if "{id}" in rule.signed:
        parts["{id}"] = _one(headers, rule.event_id.header or "", "the id").encode("latin-1", "replace")
    return b"".join(parts.get(piece, piece.encode()) for piece in _PLACES.split(rule.signed))


def _decoded(text: str, encoding: str) -> bytes | None:
    try:
        return bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None


def _key(secret: str, rule: SignatureRule) -> bytes | None:
    """None for what is no key, or an empty one, with which anybody can sign."""
    if rule.key_encoding == "text":
        return secret.encode() or None
    if rule.key_encoding == "standard":
        secret = secret.removeprefix("whpk_" if rule.algorithm == "ed25519" else "whsec_")
        return _decoded(secret, "base64") or None
    return _decoded(secret, rule.key_encoding) or None


def _fits(rule: SignatureRule, key: bytes, signed: bytes, signature: bytes) -> bool:
    if rule.algorithm != "ed25519":
        return hmac.compare_digest(hmac.new(key, signed, _HASHES[rule.algorithm]).digest(), signature)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True

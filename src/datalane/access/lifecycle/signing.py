"""Signals that prove themselves: JSON Web Tokens in their compact form (RFC 7519), signed by a source.

Whoever may publish an event may say of it what they like, and the secrets of a workspace's own webhooks are that
workspace's. So neither who published a signal counts nor by which way it came, only whether a source that the
operator named (`access.sources`) has signed it, for this workspace:

    iss   the name of the source           sub   the id of the workspace
    jti   the source's id of the event     aud   "datalane:access"
    access  {"signal": …, "occurred_at": …, and what else a signal says}

The key decides the algorithm: `whsec_…` HS256, `whpk_…` EdDSA (Ed25519). A token has no end: it counts once, for good.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from datalane.access.lifecycle.schemas import NewSignal
from datalane.errors import Forbidden, InvalidInput
from datalane.kit.standard_webhooks import SharedSecret, Signer, Verifier, read_verifier
from datalane.kit.strict_json import parse_json
from datalane.settings import AccessSource

AUDIENCE = "datalane:access"
MOST_CHARACTERS = 8_192

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_DEPTH = 8


class SignedSignals:
    """Reads signed signals of the sources that the operator named."""

    def __init__(self, sources: Sequence[AccessSource]) -> None:
        self._keys: Mapping[str, list[Verifier]] = {
            source.name: [read_verifier(key.get_secret_value()) for key in source.keys] for source in sources
        }

    def read(self, signed: str, workspace_id: UUID) -> NewSignal:
        """The signal. Raises `Forbidden` when no source has signed it for this workspace, and `InvalidInput` when one
        did and it is no signal."""
        claims = self._claims(signed)
        if claims.get("aud") != AUDIENCE or claims.get("sub") != str(workspace_id):
            raise _refused("it is signed for something else")
        said = claims.get("access")
        if not isinstance(said, dict) or {"source_system", "source_event_id", "told_by"} & said.keys():
            raise InvalidInput("the claim access of a signed signal is an object that says what happened")
        try:
            return NewSignal.model_validate(
                {**said, "source_system": claims["iss"], "source_event_id": claims.get("jti")}
            )
        except ValidationError as error:
            faults = [{"field": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
            raise InvalidInput("what is signed is no signal", faults) from None

    def _claims(self, signed: str) -> Mapping[str, Any]:
        found = _COMPACT.fullmatch(signed) if len(signed) <= MOST_CHARACTERS else None
        if found is None:
            raise _refused("it is no signed signal")
        header, claims = (_object(part) for part in found.groups()[:2])
        keys = self._keys.get(str(claims.get("iss")), ())
        message, signature = f"{found[1]}.{found[2]}".encode(), _bytes(found[3])
        for key in keys:
            if header.get("alg") == _algorithm(key) and "crit" not in header and key.verifies(message, signature):
                return claims
        raise _refused("no source that is known here has signed it")


def sign(signal: NewSignal, workspace_id: UUID, key: Signer, issued_at: datetime | None = None) -> str:
    """`signal` as a source signs it."""
    said = signal.model_dump(mode="json", exclude_none=True, exclude={"source_system", "source_event_id", "told_by"})
    claims = {
        "iss": signal.source_system,
        "sub": str(workspace_id),
        "aud": AUDIENCE,
        "jti": signal.source_event_id,
        "access": said,
        **({} if issued_at is None else {"iat": int(issued_at.timestamp())}),
    }
    message = f"{_encoded(orjson.dumps({'alg': _algorithm(key), 'typ': 'JWT'}))}.{_encoded(orjson.dumps(claims))}"
    return f"{message}.{_encoded(key.sign(message.encode()))}"


def _algorithm(key: Signer | Verifier) -> str:
    return "HS256" if isinstance(key, SharedSecret) else "EdDSA"


def _refused(why: str) -> Forbidden:
    return Forbidden(f"the signal is not trusted: {why}", denial="signature", target="access.signaled")


def _object(part: str) -> Mapping[str, Any]:
    try:
        read = parse_json(_bytes(part), depth=_DEPTH, name="the signed signal")
    except InvalidInput:
        raise _refused("it is no signed signal") from None
    if not isinstance(read, dict):
        raise _refused("it is no signed signal")
    return read


def _bytes(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise _refused("it is no signed signal") from None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

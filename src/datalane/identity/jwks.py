"""The public keys of an issuer of ID tokens, fetched from its JWKS (RFC 7517) and kept.

Keys are fetched when there are none, when they are ten minutes old, and when a token names one that is not there: an
issuer that rotates is followed at once. That last is what a stranger can cause, so it happens at most every thirty
seconds. An issuer that does not answer is done without for a day as long as its known keys are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from datalane.errors import InvalidInput, IssuerUnavailable, Unauthenticated
from datalane.kit.logs import get_logger
from datalane.kit.net import is_loopback
from datalane.kit.strict_json import parse_json
from datalane.kit.tracing import current_traceparent

PublicKey = RSAKey | ECKey | OKPKey

FRESH = timedelta(minutes=10)
STALE = timedelta(days=1)
PAUSE = timedelta(seconds=30)
_TIMEOUT_SECONDS = 5
_MAXIMUM_BYTES = 256 * 1024
_MAXIMUM_KEYS = 100
_KINDS = ("RSA", "EC", "OKP")
_RSA_CHARACTERS = 342
"""A modulus of 2048 bits in base64url."""

log = get_logger(__name__)


class KeySource:
    """The keys behind one JWKS URL, for one process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: Mapping[str | None, PublicKey] = {}
        self._fetched: datetime | None = None
        self._tried: datetime | None = None
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None, now: datetime) -> PublicKey:
        """The key named `key_id`; without a name, the only one there is.

        Raises `Unauthenticated` when the issuer has no such key, `IssuerUnavailable` when that cannot be found out.
        """
        if self._needs(key_id, now):
            async with self._fetching:
                if self._needs(key_id, now):
                    await self._fetch(now)
        found = self._look_up(key_id)
        if self._fetched is None or now - self._fetched >= STALE or (found is None and self._failed):
            raise IssuerUnavailable("the issuer's keys cannot be fetched now; try again")
        if found is None:
            raise Unauthenticated("the ID token names a key that its issuer does not have")
        return found

    @property
    def _failed(self) -> bool:
        return self._tried != self._fetched

    def _needs(self, key_id: str | None, now: datetime) -> bool:
        fresh = self._fetched is not None and now - self._fetched < FRESH
        if fresh and self._look_up(key_id) is not None:
            return False
        return self._tried is None or now - self._tried >= PAUSE

    def _look_up(self, key_id: str | None) -> PublicKey | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _fetch(self, now: datetime) -> None:
        """`_tried` changes when the outcome is known, so that whoever comes meanwhile waits for it."""
        try:
            self._keys = _read_keys(await _download(self._url))
        except (httpx.HTTPError, InvalidInput, TimeoutError, ValueError) as error:
            log.warning("jwks_fetch_failed", url=self._url, error=str(error) or type(error).__name__)
        else:
            self._fetched = now
        finally:
            self._tried = now


async def _download(url: str) -> bytes:
    """At most 256 KiB in five seconds, from exactly this URL. Raises `ValueError` past the size."""
    body, headers = bytearray(), {"Accept": "application/json"}
    if traceparent := current_traceparent():
        headers["traceparent"] = traceparent
    async with (
        asyncio.timeout(_TIMEOUT_SECONDS),
        httpx.AsyncClient(follow_redirects=False, trust_env=not is_loopback(url)) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"it answered {answer.status_code}")
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > _MAXIMUM_BYTES:
                raise ValueError(f"it is over {_MAXIMUM_BYTES} bytes")
    return bytes(body)


def _read_keys(raw: bytes) -> dict[str | None, PublicKey]:
    """Usable keys by their name; private, symmetric, weak and unknown ones are left out.

    Raises `ValueError`, or `InvalidInput`, for what is no JWKS.
    """
    document = parse_json(raw, name="the JWKS")
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _MAXIMUM_KEYS:
        raise ValueError("it is no JWKS")
    keys = ((each.get("kid"), _read_key(each)) for each in listed if isinstance(each, dict))
    return {name: key for name, key in keys if key is not None and isinstance(name, str | None)}


def _read_key(described: dict[str, Any]) -> PublicKey | None:
    if described.get("kty") not in _KINDS or described.get("use", "sig") != "sig" or "d" in described:
        return None
    if described["kty"] == "RSA" and len(str(described.get("n"))) < _RSA_CHARACTERS:
        return None
    try:
        key = JWKRegistry.import_key(described)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None

"""Envelope encryption: secrets under a data key, data keys under a master key.

    sealed = version: 1 byte | nonce: 12 bytes | AES-256-GCM(key, nonce, plain, about)

AES-GCM as in NIST SP 800-38D, with nonces drawn by chance: one key seals up to 2^32 things. What is sealed is bound to
what it is `about` (a name of the place where it lies), so that it opens nowhere else. A master key is a text of the
operator's; the key for AES and the name by which it is known are derived from it by HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from datalane.errors import DatalaneError

_VERSION: Final = b"\x01"
_NONCE, _KEY = 12, 32


class SealBroken(DatalaneError):
    """What is stored was changed, or was sealed about another thing or by another key."""

    code = "seal_broken"


class MasterKeyMissing(DatalaneError):
    """No master key is set, or the one that wrapped a data key is not among those that are."""

    code = "master_key_missing"
    status = 503
    is_told = True


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under the master key that `master_key_id` names."""

    master_key_id: str
    wrapped: bytes


class MasterKeys:
    """The master key that wraps data keys, and those before it, which unwrap what they once wrapped."""

    __slots__ = ("_by_id", "current_id")

    def __init__(self, current: str, before: Sequence[str] = ()) -> None:
        """Raises `ValueError` for an empty key."""
        if not current or not all(before):
            raise ValueError("a master key is not empty")
        self.current_id = _name(current)
        self._by_id: Mapping[str, bytes] = {_name(key): _derived(key, b"wrap") for key in (current, *before)}

    def __repr__(self) -> str:
        return f"MasterKeys({self.current_id}, …)"

    def has(self, master_key_id: str) -> bool:
        return master_key_id in self._by_id

    def wrap(self, data_key: bytes, about: bytes) -> WrappedKey:
        return WrappedKey(self.current_id, seal(self._by_id[self.current_id], data_key, about))

    def unwrap(self, key: WrappedKey, about: bytes) -> bytes:
        """Raises `MasterKeyMissing` for a master key that is not here, `SealBroken` for a key that was changed."""
        master = self._by_id.get(key.master_key_id)
        if master is None:
            raise MasterKeyMissing(
                f"the secrets of this workspace need the master key {key.master_key_id}, which is not set; "
                "put it into DATALANE_MASTER_KEY, or into DATALANE_MASTER_KEYS_BEFORE beside a newer one"
            )
        return open_sealed(master, key.wrapped, about)


KeySource = Callable[[], MasterKeys | None]
"""Where the master keys come from, asked when a secret is first kept; None where there are none."""


def no_keys() -> None:
    """The source of a lane that keeps no secrets."""


def make_data_key() -> bytes:
    return secrets.token_bytes(_KEY)


def seal(key: bytes, plain: bytes, about: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plain, about)


def open_sealed(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """What was sealed about the same thing. Raises `SealBroken` for anything else."""
    head = len(_VERSION) + _NONCE
    if not sealed.startswith(_VERSION):
        raise SealBroken("a stored secret is sealed in a way that this release does not know")
    try:
        return AESGCM(key).decrypt(sealed[len(_VERSION) : head], sealed[head:], about)
    except (InvalidTag, ValueError):
        raise SealBroken("a stored secret was changed, or belongs to another place") from None


def _name(master_key: str) -> str:
    """What tells master keys apart, and tells nothing of them."""
    return _derived(master_key, b"name")[:8].hex()


def _derived(master_key: str, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY, salt=None, info=b"datalane master key " + purpose).derive(master_key.encode())

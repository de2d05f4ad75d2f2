"""Identifiers. Time-ordered UUIDs keep the newest rows of an index close together (RFC 9562, version 7)."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from threading import Lock
from uuid import UUID

from datalane.errors import InvalidInput

SYSTEM_WORKSPACE = UUID(int=0)
"""Reserved workspace of global system events; shown to callers as null."""

SYSTEM_ACTOR = UUID(int=0)
"""The system as an actor: job handlers, schedules, maintenance."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_62_BITS = (1 << 62) - 1
_rising, _highest = Lock(), 0


def uuid7() -> UUID:
    """A version 7 UUID of now: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10), "big")
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (bits >> 68) << 64 | 0b10 << 62 | bits & _62_BITS)


def rising_uuid7() -> UUID:
    """As `uuid7`, and greater than all that this process made by it before, also within a millisecond."""
    global _highest
    with _rising:
        _highest = max(uuid7().int, _highest + 1)
        return UUID(int=_highest)


def first_uuid7(moment: datetime) -> UUID:
    """The least version 7 UUID that was made in the millisecond of `moment` or later."""
    milliseconds = max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


def new_correlation_id() -> str:
    return uuid7().hex


def checked_token(value: str, name: str) -> str:
    """`value` when it matches `[A-Za-z0-9._-]{1,64}`, so that it may stand in SQL, logs and headers.

    Raises `InvalidInput` naming `name` otherwise.
    """
    if not _TOKEN.fullmatch(value):
        raise InvalidInput(f"{name} must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return value

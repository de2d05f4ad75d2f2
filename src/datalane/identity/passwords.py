"""Passwords: Argon2id, always off the event loop and never more than a few at a time (each takes 64 MiB)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from pwdlib import PasswordHash

from datalane.errors import InvalidInput

MAXIMUM_CHARACTERS = 1_000
_CONCURRENT = 2

_hasher = PasswordHash.recommended()


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads(), _hasher.hash, password)


async def verify_password(password: str, stored: str | None) -> bool:
    """Whether `password` matches. Without a stored hash (no such account) it does the same work and says no."""
    loop = asyncio.get_running_loop()
    nobodys = await loop.run_in_executor(_threads(), _nobodys_hash)  # made by whoever comes first, known or not
    matches = await loop.run_in_executor(_threads(), _hasher.verify, password, stored or nobodys)
    return matches and stored is not None


def check_password(password: str, minimum: int) -> None:
    """Raises `InvalidInput` when a new password is too short or too long."""
    if not minimum <= len(password) <= MAXIMUM_CHARACTERS:
        message = f"the password must have {minimum} to {MAXIMUM_CHARACTERS} characters"
        raise InvalidInput(message, [{"field": "body.password", "message": message, "code": "password_length"}])


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="argon2")


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("nobody signs in with this")

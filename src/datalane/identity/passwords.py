"""Passwords: Argon2id, always off the event loop and never more than a few at a time (each takes 64 MiB)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

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


@contextmanager
def at_least_cost() -> Iterator[None]:
    """For the time of the block this process makes hashes that are quick to make, and to guess from.

    For proofs on scratch databases, which make accounts of nobody's by the dozen.
    """
    with _hashing_with(PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))):
        yield


@contextmanager
def at_usual_cost() -> Iterator[None]:
    """For the time of the block, within `at_least_cost`, hashes are as good as anywhere else."""
    with _hashing_with(PasswordHash.recommended()):
        yield


@contextmanager
def _hashing_with(hasher: PasswordHash) -> Iterator[None]:
    global _hasher
    usual, _hasher = _hasher, hasher
    _nobodys_hash.cache_clear()
    try:
        yield
    finally:
        _hasher = usual
        _nobodys_hash.cache_clear()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="argon2")


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("nobody signs in with this")

"""Hashes of passwords: at their usual cost, but for proofs on scratch databases."""

from __future__ import annotations

import pytest

from datalane.identity.passwords import at_least_cost, hash_password, verify_password


@pytest.fixture
def quick_passwords() -> None:
    """None: hashes cost here what they cost."""


USUAL, LEAST = "$argon2id$v=19$m=65536,t=3,p=4$", "$argon2id$v=19$m=64,t=1,p=1$"


async def test_the_least_cost_is_for_the_block_only_and_its_hashes_are_good_after_it() -> None:
    before = await hash_password("a heron in the reeds")
    with at_least_cost():
        within = await hash_password("a heron in the reeds")
        assert await verify_password("a heron in the reeds", before)
        assert not await verify_password("a heron in the reeds", None)
    after = await hash_password("a heron in the reeds")
    assert before.startswith(USUAL)
    assert within.startswith(LEAST)
    assert after.startswith(USUAL)
    assert await verify_password("a heron in the reeds", within)
    assert not await verify_password("a crane in the reeds", within)

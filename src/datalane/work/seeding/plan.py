"""What a seed makes: how many, from which moment on, of which words. All of it follows from a few numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

from datalane.errors import InvalidInput

MOST_ITEMS = 10_000_000
MOST_WORKSPACES = 10_000
LARGEST_SEED = 2**31 - 1
ITEMS_EACH = 20
"""Items of a small workspace."""
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=20)
"""Between an item and the next; the last of the most items is from 2026."""
FIELDS = (("team", "text"), ("cost", "number"), ("due", "date"))
_WORDS = 30_000
_SALTS_EACH = 100
_SMALL = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """One workspace with `items` items beside `workspaces` small ones. Raises `InvalidInput` for foolish numbers.

    `slice` is the items of one transaction: many enough that a slice's entries in an index lie close together.
    """

    items: int = 1_000_000
    workspaces: int = 1_000
    seed: int = 1
    slice: int = 20_000

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("items", self.items, 1, MOST_ITEMS),
            ("workspaces", self.workspaces, 0, MOST_WORKSPACES),
            ("seed", self.seed, 0, LARGEST_SEED),
        ):
            if not least <= value <= most:
                raise InvalidInput(f"--{name} takes {least:,} to {most:,}, not {value:,}")

    @property
    def total(self) -> int:
        return self.items + self.workspaces * ITEMS_EACH

    @property
    def name(self) -> str:
        """The large workspace's name. It tells this plan from another one of the same seed."""
        return f"Seeded work {self.seed}: {self.items:,} items beside {self.workspaces:,} workspaces"

    @property
    def salt(self) -> int:
        """Where the hashes of the large workspace's items begin."""
        return self.seed * _SALTS_EACH

    @property
    def small_salt(self) -> int:
        return self.salt + _SMALL

    def email(self, who: str) -> str:
        return f"seed-{self.seed}-{who}@example.com"

    def small_name(self, index: int) -> str:
        return f"Seeded neighbour {self.seed}-{index + 1:05d}"

    def slices(self) -> Iterator[tuple[int, int]]:
        """First and last number of each, from 0."""
        for first in range(0, self.items, self.slice):
            yield first, min(first + self.slice, self.items) - 1

    def made_id(self, *path: object) -> UUID:
        """A version 7 UUID of the beginning, the same for the same path."""
        noise = int.from_bytes(hashlib.sha256(repr((self.seed, *path)).encode()).digest()[:10], "big")
        value = int(BEGAN.timestamp() * 1000) << 80 | noise
        return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


@cache
def words() -> bytes:
    """Words of 6 letters with a space behind each. Common ones come first; none is a stop word."""
    syllables = [consonant + vowel for consonant in "bdfghklmnprstvzj" for vowel in "aiou"]
    made = (syllables[n % 64] + syllables[n // 64 % 64] + syllables[(n // 4096 + n) % 64] for n in range(_WORDS))
    return "".join(word + " " for word in made).encode()

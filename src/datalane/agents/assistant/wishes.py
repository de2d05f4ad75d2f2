"""What somebody wants done, said in one of a few fixed ways; all else is a question."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TITLE = 500
_WAYS = tuple(
    re.compile(way, re.IGNORECASE | re.DOTALL)
    for way in (
        r"(?:please\s+)?(?:create|add|make)\s+(?:an?\s+)?(?:new\s+)?(?:item|task|to-?do)\s*:\s*(?P<title>.+)",
        r"(?:please\s+)?note\s*:\s*(?P<title>.+)",
        r"(?:please\s+)?remind\s+(?:me|us)\s*(?::|to\s)\s*(?P<title>.+)",
    )
)


@dataclass(frozen=True, slots=True)
class Wish:
    """An item to be made: the first line is its title, what follows its description."""

    title: str
    description: str


def read_wish(text: str) -> Wish | None:
    """`create an item: …`, `note: …`, `remind me to …`; None for a question."""
    for way in _WAYS:
        if found := way.fullmatch(text.strip()):
            first, _, rest = found["title"].strip().partition("\n")
            title = first.strip()
            return Wish(title[:_TITLE], f"{title[_TITLE:]}\n{rest}".strip()[:10_000])
    return None

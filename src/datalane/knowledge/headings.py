"""Where a chunk stands in its document, as people say it: the headings above it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_HEADINGS = 20_000
"""Of a document; what follows belongs to the last of them."""
MOST_CHARACTERS = 200
"""Of one heading; more is cut off."""
BETWEEN = " › "

_MOST_ALIKE = 50
_BLANK = re.compile(r"\s*")


class Heading(NamedTuple):
    """A heading at character `start` of the canonical text; `level` counts from 1, the highest."""

    start: int
    level: int
    title: str


class _Chain(NamedTuple):
    """A heading at the end of others."""

    place: int
    level: int
    title: str
    before: _Chain | None


def one_line(said: str) -> str:
    """A heading as it is kept."""
    return " ".join(said.split())[:MOST_CHARACTERS].rstrip()


def tidy(headings: Iterable[tuple[int, int, str]]) -> tuple[Heading, ...]:
    """Those that say something, in one line each, as many as a document may have."""
    found = []
    for start, level, said in headings:
        title = one_line(said)
        if title:
            found.append(Heading(start, level, title))
        if len(found) == MOST_HEADINGS:
            break
    return tuple(found)


def locate(text: str, titles: Iterable[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Headings (level and title, in order) where lines of `text` are them: as many in this order as can be.

    A longest common subsequence, by the method of Hunt and Szymanski (1977). Of lines that are alike the first fifty
    count.
    """
    places: dict[str, list[int]] = {}
    start = 0
    for line in text.splitlines(keepends=True):
        alike = places.setdefault(one_line(line), [])
        if len(alike) < _MOST_ALIKE:
            alike.append(start)
        start += len(line)
    ends: list[int] = []
    chains: list[_Chain] = []
    for level, title in titles:
        for place in reversed(places.get(title, [])):
            length = bisect_left(ends, place)
            chain = _Chain(place, level, title, chains[length - 1] if length else None)
            ends[length : length + 1], chains[length : length + 1] = [place], [chain]
    found, last = [], chains[-1] if chains else None
    while last is not None:
        found.append((last.place, last.level, last.title))
        last = last.before
    return found[::-1]


def paths(text: str, headings: Sequence[Heading], starts: Iterable[int]) -> list[str | None]:
    """For each of these places, in order, the headings above it from the highest, as one text; None where are none.

    Blanks before a heading belong to what follows.
    """
    if not headings:
        return [None for _ in starts]
    found: list[str | None] = []
    above: list[Heading] = []
    following = place = 0
    for start in starts:
        if start >= place:  # else among the blanks that were passed already
            blank = _BLANK.match(text, start)
            place = blank.end() if blank is not None else start
        while following < len(headings) and headings[following].start <= place:
            heading = headings[following]
            above = [*(one for one in above if one.level < heading.level), heading]
            following += 1
        found.append(BETWEEN.join(one.title for one in above) or None)
    return found

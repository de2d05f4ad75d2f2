"""Where a chunk stands in its document, as people say it: the headings above it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

MOST_HEADINGS = 20_000
"""Of a document; what follows belongs to the last of them."""
MOST_CHARACTERS = 200
"""Of one heading; more is cut off."""
BETWEEN = " › "

_MOST_LOCATED = 1_000

_BLANK = re.compile(r"\s*")


class Heading(NamedTuple):
    """A heading at character `start` of the canonical text; `level` counts from 1, the highest."""

    start: int
    level: int
    title: str


def tidy(headings: Iterable[tuple[int, int, str]]) -> tuple[Heading, ...]:
    """Those that say something, in one line each, as many as a document may have."""
    found = []
    for start, level, said in headings:
        title = " ".join(said.split())[:MOST_CHARACTERS].rstrip()
        if title:
            found.append(Heading(start, level, title))
        if len(found) == MOST_HEADINGS:
            break
    return tuple(found)


def locate(text: str, titles: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """Headings (level and title, in order) where lines of `text` are them: as many in this order as can be.

    One that is no line is passed over, and of more than a thousand the rest.
    """
    wanted = [(level, " ".join(title.split())) for level, title in titles]
    known, lines, start = {title for _, title in wanted}, list[tuple[int, str]](), 0
    for line in text.splitlines(keepends=True):
        said = " ".join(line.split())
        if said in known and len(lines) < _MOST_LOCATED:
            lines.append((start, said))
        start += len(line)
    there = {said for _, said in lines}
    wanted = [one for one in wanted if one[1] in there][:_MOST_LOCATED]
    matcher = SequenceMatcher(None, [title for _, title in wanted], [said for _, said in lines], autojunk=False)
    for block in matcher.get_matching_blocks():
        for step in range(block.size):
            yield (lines[block.b + step][0], *wanted[block.a + step])


def paths(text: str, headings: Sequence[Heading], starts: Iterable[int]) -> list[str | None]:
    """For each of these places, in order, the headings above it from the highest, as one text; None where are none.

    Blanks before a heading belong to what follows.
    """
    found: list[str | None] = []
    above: list[Heading] = []
    following = 0
    for start in starts:
        blank = _BLANK.match(text, start)
        place = blank.end() if blank is not None else start
        while following < len(headings) and headings[following].start <= place:
            heading = headings[following]
            above = [*(one for one in above if one.level < heading.level), heading]
            following += 1
        found.append(BETWEEN.join(one.title for one in above) or None)
    return found

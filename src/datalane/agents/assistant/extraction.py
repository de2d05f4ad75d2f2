"""Answering by extraction: the sentences of retrieved chunks that share most words with the question.

The same question and chunks give the same answer. Nothing is written that does not stand in a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MOST_SENTENCES = 3
LONGEST = 1_000
"""Characters of a sentence; what goes on for longer is cut into pieces of this length."""
_WORD = re.compile(r"\w+")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\s*\n\s*")
_LEAD = re.compile(r"^(?:[#>*+\-|]+\s*|\d+[.)]\s+)+")
_ENDINGS = ("ings", "ing", "edly", "ed", "ies", "es", "s")
_STEM = 3
"""Letters that are left of a word at least."""
_PROVES = 0.6
"""Share of the words of a sentence that stand in the one which proves it."""
_COMMON = re.compile(
    r"an?|about|and|any|are|as|at|be|been|but|by|can|could|did|do|does|for|from|had|has|have|how|i|if|in|into|is|its?|may|"
    r"me|my|no|not|of|on|or|our|should|so|that|the|them|their|then|there|these|they|this|to|was|we|were|what|when|where|"
    r"which|who|whom|whose|why|will|with|would|you|your"
)
"""Words that say nothing of what a text is about."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A place in a chunk, in characters of its document."""

    chunk: Any
    text: str
    start: int
    end: int


def words_of(text: str) -> frozenset[str]:
    """What a text is about: its words without the common ones and their endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text.casefold()) if not _COMMON.fullmatch(word))


def sentences_in(text: str) -> Iterator[tuple[int, int]]:
    """The places of its sentences, without the marks of headings and lists."""
    at = 0
    for end in [*_END.finditer(text), None]:
        stop = len(text) if end is None else end.start()
        lead = _LEAD.match(text[at:stop])
        first = at + (lead.end() if lead else 0)
        while first < stop and text[first].isspace():
            first += 1
        last = stop
        while last > first and text[last - 1].isspace():
            last -= 1
        for piece in range(first, last, LONGEST):
            yield piece, min(piece + LONGEST, last)
        at = stop if end is None else end.end()


def extract(question: str, chunks: Sequence[Any], most: int = MOST_SENTENCES) -> list[Evidence]:
    """The sentences that share most words with the question, the best first; none where nothing is shared.

    `chunks` come best first, each with `text` and `start_offset`. Of sentences that share as much, the one of the
    better chunk comes first, then the earlier one. Those that share less than half of what the best one does are left.
    """
    asked = words_of(question)
    scored = [
        (len(asked & words_of(one.text)), -rank, -one.start, one)
        for rank, chunk in enumerate(chunks)
        for one in _evidence_in(chunk)
        if _WORD.search(one.text)
    ]
    scored.sort(key=lambda each: each[:3], reverse=True)
    chosen, seen = list[Evidence](), set[str]()
    for shared, _, _, one in scored:
        if not shared or 2 * shared < scored[0][0] or len(chosen) == most:
            break
        if one.text not in seen:
            seen.add(one.text)
            chosen.append(one)
    return chosen


def prove(sentence: str, chunks: Iterable[Any]) -> Evidence | None:
    """The sentence of a chunk that has most of its words; None where none has enough of them."""
    said = words_of(sentence)
    best, share = None, 0.0
    for chunk in chunks:
        for one in _evidence_in(chunk):
            found = len(said & words_of(one.text)) / len(said) if said else 0.0
            if found > share:
                best, share = one, found
    return best if share >= _PROVES else None


def _evidence_in(chunk: Any) -> Iterator[Evidence]:
    text, base = chunk["text"], chunk["start_offset"]
    for start, end in sentences_in(text):
        yield Evidence(chunk, text[start:end], base + start, base + end)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word

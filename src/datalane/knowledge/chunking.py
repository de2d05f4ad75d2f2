"""Cut canonical text into chunks with true offsets.

`text[start:end]` is the chunk, and so is `text.encode()[start_byte:end_byte]`. Chunks are ordered, never overlap and
together hold everything that is not white space. White space at their ends is left out, except a space that carries a
combining mark.

The splitter (`semantic-text-splitter`, offsets in characters) prefers paragraphs, then lines, sentences, words and
whole graphemes. Its time grows with the square of the text it is given, so it sees one window at a time; the last
chunk of a window is cut again at the head of the next one, so that a window's end leaves no mark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import chain, pairwise
from typing import NamedTuple

from semantic_text_splitter import TextSplitter

from datalane.knowledge.parsing.errors import TooManyChunks, WrongOffsets

CHUNKER_VERSION = "semantic-2000/1"
CHUNK_CHARACTERS = 2000
"""Most characters in a chunk; in running text most chunks are above 1,000."""
MAX_CHUNKS = 50_000

_WINDOW = 8192
_ZERO_WIDTH_JOINER = "\u200d"


class Chunk(NamedTuple):
    """Place of one chunk in the canonical text: characters `start:end`, UTF-8 bytes `start_byte:end_byte`."""

    ordinal: int
    start: int
    end: int
    start_byte: int
    end_byte: int


def chunk_text(text: str, max_chunks: int = MAX_CHUNKS) -> list[Chunk]:
    """Chunks of `text`, ordinals from 0. White space alone gives none.

    Raises TooManyChunks past `max_chunks`.
    """
    spans: list[tuple[int, int]] = []
    for span in _iterate_spans(text):
        if len(spans) == max_chunks:
            raise TooManyChunks(
                f"The document has more than {max_chunks:,} chunks of up to {CHUNK_CHARACTERS:,} characters, "
                "the limit per document (limits.chunks_per_document). Split it into several documents."
            )
        spans.append(span)
    return _locate_bytes(text, spans)


def check_places(text: str, chunks: list[Chunk]) -> None:
    """Hold chunks that somebody else has drawn to what is said of them above: in order, inside the text, and their
    bytes those of their characters.

    Raises WrongOffsets.
    """
    spans = [(chunk.start, chunk.end) for chunk in chunks]
    in_order = all(one <= next_one for one, next_one in pairwise((0, *chain.from_iterable(spans), len(text))))
    if not in_order or any(start == end for start, end in spans) or chunks != _locate_bytes(text, spans):
        raise WrongOffsets


@cache
def _splitter() -> TextSplitter:
    return TextSplitter(CHUNK_CHARACTERS)


def _iterate_spans(text: str) -> Iterator[tuple[int, int]]:
    position, previous_end = 0, 0
    while position < len(text):
        window_end = min(position + _WINDOW, len(text))
        pieces = _splitter().chunk_indices(text[position:window_end])
        spans = [(position + offset, position + offset + len(piece)) for offset, piece in pieces]
        if window_end == len(text) or not spans:
            position = window_end
        elif len(spans) == 1 and spans[0][0] == position:
            position = spans[0][1]
        else:
            position = spans.pop()[0]
        for start, end in spans:
            yield _grapheme_start(text, start, previous_end), end
            previous_end = end


def _grapheme_start(text: str, start: int, lowest: int) -> int:
    """`start`, or the grapheme border before it when that is not below `lowest`."""
    border = start
    while border > lowest and _inside_grapheme(text, border):
        border -= 1
    return start if _inside_grapheme(text, border) else border


def _inside_grapheme(text: str, index: int) -> bool:
    """Whether a cut before `text[index]` would part a mark, a modifier or a joined emoji from its base."""
    if index <= 0 or index >= len(text):
        return False
    character = text[index]
    if character < "\u0300" and text[index - 1] < "\u0300":
        return False
    return (
        character == _ZERO_WIDTH_JOINER
        or text[index - 1] == _ZERO_WIDTH_JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or unicodedata.category(character) in ("Mn", "Mc", "Me")
    )


def _locate_bytes(text: str, spans: list[tuple[int, int]]) -> list[Chunk]:
    if text.isascii():
        return [Chunk(i, start, end, start, end) for i, (start, end) in enumerate(spans)]
    chunks: list[Chunk] = []
    character = byte = 0
    for ordinal, (start, end) in enumerate(spans):
        start_byte = byte + len(text[character:start].encode("utf-8"))
        end_byte = start_byte + len(text[start:end].encode("utf-8"))
        chunks.append(Chunk(ordinal, start, end, start_byte, end_byte))
        character, byte = end, end_byte
    return chunks

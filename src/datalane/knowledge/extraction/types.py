"""What goes into extraction and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datalane.knowledge.chunking import MAX_CHUNKS, Chunk
from datalane.knowledge.headings import Heading
from datalane.knowledge.parsing import TITLE_CHARACTERS

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a document may have: chunks, and characters of a title that stands in the file (more is cut off)."""

    chunks: int = MAX_CHUNKS
    title_characters: int = TITLE_CHARACTERS


@dataclass(frozen=True, slots=True)
class Source:
    """A file to extract: its bytes, or a path the child opens. `title` wins over the title inside the file.

    Without `cut` it is parsed only: somebody else draws the chunks.
    """

    data: bytes | Path
    filename: str | None = None
    media_type: str | None = None
    title: str | None = None
    cut: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """A document ready to store. `embeddings` is float32, shape (len(chunks), dimensions), rows of length 1.

    `text[chunk.start:chunk.end]` is the chunk; what was embedded is `passage_text(title, chunk)`.
    """

    text: str
    title: str | None
    media_type: str
    chunks: list[Chunk]
    embeddings: Vectors
    page_starts: tuple[int, ...]
    headings: tuple[Heading, ...]
    parser_version: str
    chunker_version: str
    embedder_name: str
    embedder_version: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that cannot be extracted: its error class, a sentence for people, whether trying again can help."""

    error_class: str
    message: str
    retryable: bool

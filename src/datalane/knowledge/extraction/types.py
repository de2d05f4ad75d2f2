"""What goes into extraction and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datalane.knowledge.chunking import Chunk
from datalane.knowledge.embeddings import Vectors


@dataclass(frozen=True, slots=True)
class Source:
    """A file to extract: its bytes, or a path the child opens. `title` wins over the title inside the file."""

    data: bytes | Path
    filename: str | None = None
    media_type: str | None = None
    title: str | None = None


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

"""Extract a batch in this process: parse, chunk, embed. The children run this; it knows no pipes and no limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalane.knowledge.chunking import CHUNKER_VERSION, Chunk, chunk_text
from datalane.knowledge.embeddings import Embedder, passage_text
from datalane.knowledge.extraction.types import Bounds, Extracted, Failure, Source
from datalane.knowledge.parsing import Parsed, parse
from datalane.knowledge.parsing.errors import ExtractionError, ParseCrashed, SourceUnreadable
from datalane.knowledge.parsing.memory import is_out_of_memory
from datalane.knowledge.text import canonicalize_text

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors

DEFAULT_BOUNDS = Bounds()
_EMBED_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class _Draft:
    parsed: Parsed
    title: str | None
    chunks: list[Chunk]


def extract_batch(
    batch: Sequence[Source],
    embedder: Embedder,
    report_progress: Callable[[], None] = lambda: None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> list[Extracted | Failure]:
    """One result per source, in order. Raises MemoryError: after that, nothing in this process can be relied on."""
    drafts: list[_Draft | Failure] = []
    for source in batch:
        drafts.append(_draft(source, bounds))
        report_progress()
    passages = [
        passage_text(draft.title, draft.parsed.text[chunk.start : chunk.end])
        for draft in drafts
        if isinstance(draft, _Draft)
        for chunk in draft.chunks
    ]
    vectors = _embed(passages, embedder, report_progress)
    results: list[Extracted | Failure] = []
    position = 0
    for draft in drafts:
        if isinstance(draft, Failure):
            results.append(draft)
            continue
        rows = vectors[position : position + len(draft.chunks)]
        position += len(draft.chunks)
        results.append(_finish(draft, rows, embedder))
    return results


def _draft(source: Source, bounds: Bounds) -> _Draft | Failure:
    try:
        parsed = parse(_read(source), source.filename, source.media_type, bounds.title_characters)
        given = canonicalize_text(source.title).strip() if source.title else ""
        title = given[: bounds.title_characters] or parsed.title
        return _Draft(parsed, title, chunk_text(parsed.text, bounds.chunks) if source.cut else [])
    except ExtractionError as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        return Failure(error.code, str(error), error.retryable)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        # A fault of ours, or of a library: the class name helps to find it, the message might quote the document.
        return Failure(ParseCrashed.code, f"{ParseCrashed.sentence} ({type(error).__name__})", retryable=True)


def _read(source: Source) -> bytes:
    if isinstance(source.data, bytes):
        return source.data
    try:
        return source.data.read_bytes()
    except OSError as error:
        raise SourceUnreadable(f"{SourceUnreadable.sentence} ({error.strerror})") from error


def _embed(passages: list[str], embedder: Embedder, report_progress: Callable[[], None]) -> Vectors:
    import numpy as np

    vectors = np.empty((len(passages), embedder.dimensions), dtype=np.float32)
    for begin in range(0, len(passages), _EMBED_AT_ONCE):
        part = passages[begin : begin + _EMBED_AT_ONCE]
        vectors[begin : begin + len(part)] = embedder.embed(part)
        report_progress()
    return vectors


def _finish(draft: _Draft, vectors: Vectors, embedder: Embedder) -> Extracted:
    return Extracted(
        text=draft.parsed.text,
        title=draft.title,
        media_type=draft.parsed.media_type,
        chunks=draft.chunks,
        embeddings=vectors,
        page_starts=draft.parsed.page_starts,
        headings=draft.parsed.headings,
        parser_version=draft.parsed.parser_version,
        chunker_version=CHUNKER_VERSION,
        embedder_name=embedder.name,
        embedder_version=embedder.version,
    )

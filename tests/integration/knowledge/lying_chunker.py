"""A child that lies, as one could that a hostile document has taken over: its chunks of documents that begin with `Lie`
have byte offsets that are one too high.

Extraction children load it with `ExtractionPool(setup=("tests.integration.knowledge.lying_chunker:register",))`.
"""

from __future__ import annotations

from datalane.knowledge.chunking import MAX_CHUNKS, Chunk, chunk_text
from datalane.knowledge.extraction import extract


def register() -> None:
    vars(extract)["chunk_text"] = lie


def lie(text: str, max_chunks: int = MAX_CHUNKS) -> list[Chunk]:
    off = int(text.startswith("Lie"))
    return [
        chunk._replace(start_byte=chunk.start_byte + off, end_byte=chunk.end_byte + off)
        for chunk in chunk_text(text, max_chunks)
    ]

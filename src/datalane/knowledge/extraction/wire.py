"""Frames between the pool and its children: a JSON header and raw blobs, nothing that can carry code.

frame = length of header (4 bytes) · length of body (8 bytes) · header · body     (little endian)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datalane.knowledge.chunking import Chunk
from datalane.knowledge.extraction.types import Extracted, Failure, Source
from datalane.knowledge.headings import Heading

PREFIX = struct.Struct("<IQ")

Header = dict[str, Any]


def encode_frame(header: Header, blobs: Sequence[bytes] = ()) -> bytes:
    head = json.dumps(header).encode("ascii")
    body_length = sum(len(blob) for blob in blobs)
    return b"".join((PREFIX.pack(len(head), body_length), head, *blobs))


def decode_prefix(prefix: bytes) -> tuple[int, int]:
    """Lengths of header and body in bytes."""
    head_length, body_length = PREFIX.unpack(prefix)
    return head_length, body_length


def decode_header(head: bytes) -> Header:
    """Raises ValueError when it is not a JSON object."""
    header = json.loads(head)
    if not isinstance(header, dict):
        raise ValueError("a frame's header must be an object")
    return header


def encode_batch(batch: Sequence[Source]) -> bytes:
    entries: list[Header] = []
    blobs: list[bytes] = []
    for source in batch:
        entry: Header = {
            "filename": source.filename,
            "media_type": source.media_type,
            "title": source.title,
            "cut": source.cut,
        }
        if isinstance(source.data, bytes):
            entry["size"] = len(source.data)
            blobs.append(source.data)
        else:
            entry["path"] = str(source.data.absolute())
        entries.append(entry)
    return encode_frame({"batch": entries}, blobs)


def decode_batch(header: Header, body: memoryview) -> list[Source]:
    sources: list[Source] = []
    position = 0
    for entry in header["batch"]:
        data: bytes | Path
        if "path" in entry:
            data = Path(entry["path"])
        else:
            data = bytes(body[position : position + entry["size"]])
            position += len(data)
        sources.append(Source(data, entry["filename"], entry["media_type"], entry["title"], entry["cut"]))
    return sources


def encode_results(results: Sequence[Extracted | Failure]) -> bytes:
    import numpy as np

    entries: list[Header] = []
    blobs: list[bytes] = []
    for result in results:
        if isinstance(result, Failure):
            entries.append({"failure": [result.error_class, result.message, result.retryable]})
            continue
        text = result.text.encode("utf-8")
        offsets = np.array([chunk[1:] for chunk in result.chunks], dtype="<i8").tobytes()
        pages = np.array(result.page_starts, dtype="<i8").tobytes()
        vectors = result.embeddings.astype("<f4", copy=False).tobytes()
        blobs += (text, offsets, pages, vectors)
        entries.append({
            "sizes": [len(text), len(offsets), len(pages), len(vectors)],
            "dimensions": result.embeddings.shape[1],
            "title": result.title,
            "media_type": result.media_type,
            "headings": result.headings,
            "versions": [
                result.parser_version,
                result.chunker_version,
                result.embedder_name,
                result.embedder_version,
            ],
        })  # fmt: skip
    return encode_frame({"results": entries}, blobs)


def decode_results(header: Header, body: memoryview) -> list[Extracted | Failure]:
    """Raises ValueError, KeyError or TypeError when a child did not keep to the format."""
    results: list[Extracted | Failure] = []
    position = 0
    for entry in header["results"]:
        if "failure" in entry:
            error_class, message, retryable = entry["failure"]
            results.append(Failure(str(error_class), str(message), bool(retryable)))
            continue
        parts: list[memoryview] = []
        for size in entry["sizes"]:
            parts.append(body[position : position + size])
            position += size
        results.append(_decode_extracted(entry, *parts))
    return results


def _decode_extracted(
    entry: Header, text: memoryview, offsets: memoryview, pages: memoryview, vectors: memoryview
) -> Extracted:
    import numpy as np

    spans = np.frombuffer(offsets, dtype="<i8").reshape(-1, 4).tolist()
    parser_version, chunker_version, embedder_name, embedder_version = entry["versions"]
    return Extracted(
        text=str(text, "utf-8"),
        title=entry["title"],
        media_type=entry["media_type"],
        chunks=[Chunk(ordinal, *span) for ordinal, span in enumerate(spans)],
        # A copy, so that one kept document does not hold the whole batch's message in memory.
        embeddings=np.frombuffer(vectors, dtype="<f4").reshape(len(spans), int(entry["dimensions"])).copy(),
        page_starts=tuple(np.frombuffer(pages, dtype="<i8").tolist()),
        headings=tuple(Heading(int(start), int(level), str(title)) for start, level, title in entry["headings"]),
        parser_version=parser_version,
        chunker_version=chunker_version,
        embedder_name=embedder_name,
        embedder_version=embedder_version,
    )

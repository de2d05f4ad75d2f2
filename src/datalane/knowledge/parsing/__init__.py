"""Bytes of a file to canonical text.

`parse` is pure: no database, no network, no files. It is meant to run in a bounded child process
(`datalane.knowledge.extraction`), because a hostile file can take any amount of time or memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from datalane.knowledge.headings import Heading
from datalane.knowledge.parsing.detect import detect_media_type
from datalane.knowledge.parsing.errors import EmptyText, ExtractionError, UnsupportedMediaType
from datalane.knowledge.parsing.media import Extraction, find_format, register_parser

__all__ = ["Extraction", "ExtractionError", "Parsed", "detect_media_type", "parse", "register_parser"]

TITLE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Parsed:
    """Canonical text of a document. `page_starts` are character offsets, empty for formats without pages."""

    text: str
    title: str | None
    media_type: str
    parser_version: str
    page_starts: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()


def parse(
    data: bytes,
    filename: str | None = None,
    media_type: str | None = None,
    title_characters: int = TITLE_CHARACTERS,
) -> Parsed:
    """Parse `data`; a title that stands in the file is cut to `title_characters`.

    Raises a subclass of ExtractionError, with its class in `code` and a sentence for people.
    """
    detected = detect_media_type(data, filename, media_type)
    found = find_format(detected)
    if found is None:
        raise UnsupportedMediaType()
    read, version = found.load()
    extraction = read(data)
    if not extraction.text or extraction.text.isspace():
        raise EmptyText()
    title = extraction.title[:title_characters] if extraction.title else None
    return Parsed(extraction.text, title, detected, version, extraction.page_starts, extraction.headings)

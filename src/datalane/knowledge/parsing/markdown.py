"""Markdown: kept as written, so that offsets point into the author's own file; the first heading is the title."""

from __future__ import annotations

import re

from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import decode_text

PARSER_VERSION = "markdown/1"

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S[^\n]*)$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def parse(data: bytes) -> Extraction:
    """Raises UndecodableText."""
    text = decode_text(data)
    return Extraction(text, title=_find_title(text))


def _find_title(text: str) -> str | None:
    heading = _HEADING.search(text)
    # A `#` inside a code block is a comment, not a heading.
    if heading is None or len(_FENCE.findall(text, 0, heading.start())) % 2:
        return None
    return heading.group(1).rstrip().rstrip("#").rstrip() or None

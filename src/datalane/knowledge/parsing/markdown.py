"""Markdown: kept as written, so that offsets point into the author's own file; the first heading is the title."""

from __future__ import annotations

import re
from collections.abc import Iterator

from datalane.knowledge.headings import tidy
from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import decode_text

PARSER_VERSION = "markdown/2"

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S[^\n]*)$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_NO_PARAGRAPH = re.compile(r"^(?: {4}|\t| {0,3}(?:[>#|]|[-*+] |\d+[.)] ))")
"""Lines that an underline makes no heading of."""


def parse(data: bytes) -> Extraction:
    """Raises UndecodableText."""
    text = decode_text(data)
    found = [one for one in _find_headings(text) if one[2]]
    return Extraction(text, title=found[0][2] if found else None, headings=tidy(found))


def _find_headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Headings with number signs and underlined ones, outside of code blocks (CommonMark 0.31, 4.2 and 4.3)."""
    start, fence, before = 0, "", ""
    for line in text.split("\n"):
        said, mark = line, _FENCE.match(line)
        if fence:
            fence = "" if mark is not None and mark[1].startswith(fence) else fence
            said = ""
        elif mark is not None:
            fence, said = mark[1], ""
        elif heading := _HEADING.match(said):
            yield start, len(heading[1]), heading[2].rstrip().rstrip("#").rstrip()
            said = ""
        elif before.strip() and not _NO_PARAGRAPH.match(before) and (underline := _UNDERLINE.match(said)):
            yield start - len(before) - 1, 1 if underline[1][0] == "=" else 2, before
            said = ""
        start, before = start + len(line) + 1, said

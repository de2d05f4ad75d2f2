"""Word documents: paragraphs and tables in reading order."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import docx
from docx.table import Table

from datalane.knowledge.headings import tidy
from datalane.knowledge.parsing.archive import check_archive
from datalane.knowledge.parsing.errors import ArchiveBomb, BrokenDocx, MediaTypeMismatch
from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import repair_text

PARSER_VERSION = f"docx/2 python-docx/{docx.__version__}"

_MAIN_PART = "word/document.xml"
_NESTED_TABLES = 20
_HEADING_STYLE = re.compile(r"heading ([1-9])", re.IGNORECASE)


def parse(data: bytes) -> Extraction:
    """Raises ArchiveBomb, BrokenDocx, MediaTypeMismatch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if _MAIN_PART not in archive.namelist():
                raise MediaTypeMismatch("The file is a zip archive, but not a Word document.")
            check_archive(archive, len(data))
        document = docx.Document(io.BytesIO(data))
        lines = [(level, repair_text(text)) for level, text in _iterate_blocks(document)]
        text = "\n".join(line for _, line in lines)
        headings = tidy(_place(lines, len(text) - len(text.lstrip("\n"))))
        return Extraction(text.strip("\n"), title=_find_title(document), headings=headings)
    except (ArchiveBomb, MediaTypeMismatch, MemoryError):
        raise
    except Exception as error:
        # A damaged file surfaces as nearly any exception (BadZipFile, KeyError, XMLSyntaxError and so on).
        raise BrokenDocx(f"{BrokenDocx.sentence} ({type(error).__name__})") from error


def _iterate_blocks(document: Any) -> Iterator[tuple[int, str]]:
    """Paragraphs and tables with the level of what Word calls Heading 1 to 9, else 0."""
    levels = _find_levels(document)
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            yield 0, "\n".join(_iterate_rows(block, 0))
        else:
            yield levels.get(block._p.style, 0), block.text


def _find_levels(document: Any) -> dict[str, int]:
    """Of the styles that are headings, by their id."""
    try:
        styles = [(style.style_id, _HEADING_STYLE.fullmatch(style.name or "")) for style in document.styles]
    except Exception:
        # Headings are a courtesy as the title is: damaged styles must not cost the document.
        return {}
    return {style_id: int(level[1]) for style_id, level in styles if level}


def _place(lines: Iterable[tuple[int, str]], cut: int) -> Iterator[tuple[int, int, str]]:
    """Those that are headings, with their places in the text whose first `cut` characters go."""
    start = -cut
    for level, line in lines:
        if level:
            yield max(0, start), level, line
        start += len(line) + 1


def _iterate_lines(container: Any, depth: int) -> Iterator[str]:
    for block in container.iter_inner_content():
        if not isinstance(block, Table):
            yield block.text
        elif depth < _NESTED_TABLES:
            yield from _iterate_rows(block, depth)


def _iterate_rows(table: Table, depth: int) -> Iterator[str]:
    for row in table.rows:
        yield "\t".join(_iterate_cells(row, depth))


def _iterate_cells(row: Any, depth: int) -> Iterator[str]:
    seen = None
    for cell in row.cells:
        # A merged cell is listed once per column it covers.
        if cell._tc is not seen:
            seen = cell._tc
            yield "\n".join(_iterate_lines(cell, depth + 1))


def _find_title(document: Any) -> str | None:
    try:
        title = document.core_properties.title
    except Exception:
        # The title is a courtesy: damaged properties must not cost the document.
        return None
    return " ".join(repair_text(title).split()) or None if title else None

"""Word documents: paragraphs and tables in reading order."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.table import Table

from datalane.knowledge.parsing.archive import check_archive
from datalane.knowledge.parsing.errors import ArchiveBomb, BrokenDocx, MediaTypeMismatch
from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import repair_text

PARSER_VERSION = f"docx/1 python-docx/{docx.__version__}"

_MAIN_PART = "word/document.xml"
_NESTED_TABLES = 20


def parse(data: bytes) -> Extraction:
    """Raises ArchiveBomb, BrokenDocx, MediaTypeMismatch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if _MAIN_PART not in archive.namelist():
                raise MediaTypeMismatch("The file is a zip archive, but not a Word document.")
            check_archive(archive, len(data))
        document = docx.Document(io.BytesIO(data))
        text = "\n".join(_iterate_lines(document))
        return Extraction(repair_text(text).strip("\n"), title=_find_title(document))
    except (ArchiveBomb, MediaTypeMismatch, MemoryError):
        raise
    except Exception as error:
        # A damaged file surfaces as nearly any exception (BadZipFile, KeyError, XMLSyntaxError and so on).
        raise BrokenDocx(f"{BrokenDocx.sentence} ({type(error).__name__})") from error


def _iterate_lines(container: Any, depth: int = 0) -> Iterator[str]:
    for block in container.iter_inner_content():
        if not isinstance(block, Table):
            yield block.text
        elif depth < _NESTED_TABLES:
            for row in block.rows:
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

"""PDF: the text layer, page by page."""

from __future__ import annotations

import io
import logging
import re

import pypdf
from pypdf.errors import DependencyError, FileNotDecryptedError, WrongPasswordError

from datalane.knowledge.parsing.errors import BrokenPdf, EncryptedPdf, ImageOnlyPdf
from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import repair_text

PARSER_VERSION = f"pdf/1 pypdf/{pypdf.__version__}"

_PAGE_BREAK = "\n\n"
_HEADER = re.compile(rb"%PDF-")
# pypdf reports every small flaw of a file; what matters to people becomes an error class here.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def parse(data: bytes) -> Extraction:
    """Raises BrokenPdf, EncryptedPdf, ImageOnlyPdf."""
    try:
        return _read(data)
    except (EncryptedPdf, ImageOnlyPdf, BrokenPdf, MemoryError):
        raise
    except (DependencyError, FileNotDecryptedError, WrongPasswordError) as error:
        raise EncryptedPdf() from error
    except RecursionError as error:
        raise BrokenPdf("The PDF nests its objects too deeply to be read.") from error
    except Exception as error:
        # A damaged file surfaces as nearly any exception (KeyError, AssertionError, zlib.error and so on).
        raise BrokenPdf(f"{BrokenPdf.sentence} ({type(error).__name__})") from error


def _read(data: bytes) -> Extraction:
    header = _HEADER.search(data)
    reader = pypdf.PdfReader(io.BytesIO(data[header.start() if header else 0 :]), strict=False)
    # Many PDFs only restrict printing or copying: those open with the empty password.
    if reader.is_encrypted and not reader.decrypt(""):
        raise EncryptedPdf()
    pages = [repair_text(page.extract_text() or "").strip() for page in reader.pages]
    if not pages:
        raise BrokenPdf("The PDF has no pages.")
    if not any(pages) and any(_has_image(page) for page in reader.pages):
        raise ImageOnlyPdf()
    starts, position = [], 0
    for page in pages:
        starts.append(position)
        position += len(page) + len(_PAGE_BREAK)
    return Extraction(_PAGE_BREAK.join(pages), title=_find_title(reader), page_starts=tuple(starts))


def _has_image(page: pypdf.PageObject) -> bool:
    """Whether the page shows an image, inline ones and those inside forms included."""
    return len(page.images) > 0


def _find_title(reader: pypdf.PdfReader) -> str | None:
    try:
        title = reader.metadata.title if reader.metadata else None
    except Exception:
        # The title is a courtesy: a damaged information dictionary must not cost the document.
        return None
    return " ".join(repair_text(title).split()) or None if isinstance(title, str) else None

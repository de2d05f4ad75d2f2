"""Canonical text: the one form of a document's text that every offset refers to.

Decoded, NUL removed, CRLF and CR written as LF; no other normalisation, so what people wrote is what they get back.

Lone surrogates: in bytes and strings that people hand in they are refused as `undecodable_text`, because the text would
silently change; in text that an extractor made (a PDF font map can produce them) they become U+FFFD, because the
author of the document cannot mend them.
"""

from __future__ import annotations

import codecs

from datalane.knowledge.parsing.errors import UndecodableText

# UTF-32 little endian begins with the UTF-16 mark, so it is looked at first.
BYTE_ORDER_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(data: bytes, declared_encoding: str = "utf-8") -> str:
    """Canonical text of `data`. A byte order mark wins over `declared_encoding`.

    Raises UndecodableText naming the encoding and the first bad byte.
    """
    encoding, skip = declared_encoding, 0
    for mark, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            encoding, skip = name, len(mark)
            break
    try:
        decoded = data[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        raise UndecodableText(
            f"The text is not valid {encoding.upper()}: byte {error.start + skip} cannot be decoded. "
            "Save the file as UTF-8 and upload it again."
        ) from error
    return canonicalize_text(decoded)


def canonicalize_text(text: str) -> str:
    """Remove NUL, turn CRLF and CR into LF. Raises UndecodableText for a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UndecodableText(
            f"The text holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}, "
            "which is half of a character. Mend the source of the text."
        ) from error
    return _clean(text)


def repair_text(text: str) -> str:
    """Canonical text of an extractor's output: surrogate pairs are joined, lone surrogates become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _clean(text)


def _clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text

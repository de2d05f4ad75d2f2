"""Which kind of file this is: the declared media type, the extension and the first bytes must agree."""

from __future__ import annotations

from pathlib import PurePosixPath

from datalane.knowledge.parsing import media
from datalane.knowledge.parsing.errors import EmptyFile, MediaTypeMismatch, UnsupportedMediaType

# What clients send when they do not know better, or know only the container.
_UNSPECIFIC = frozenset({
    "", "application/octet-stream", "binary/octet-stream", "application/zip", "application/x-zip-compressed",
})  # fmt: skip
_ALIASES = {
    "text/x-markdown": media.MARKDOWN,
    "application/xhtml+xml": media.HTML,
    "application/x-pdf": media.PDF,
}
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive (docx, xlsx and the like)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or password-protected Office file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF file"),
)
_PDF_HEADER_WITHIN = 1024


def detect_media_type(data: bytes, filename: str | None, declared: str | None = None) -> str:
    """The media type to parse `data` as.

    Raises UnsupportedMediaType, MediaTypeMismatch, or EmptyFile for no bytes of a supported kind.
    """
    named = _resolve_names(filename or "", declared or "")
    if not data:
        raise EmptyFile()
    if named is None:
        return _sniff(data)
    _check_content(data, named, filename or "the file")
    return named


def _resolve_names(filename: str, declared: str) -> str | None:
    """The media type that file name and declaration agree on; None when neither says anything."""
    declared = declared.split(";", 1)[0].strip().lower()
    declared = _ALIASES.get(declared, declared)
    extension = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    from_name = media.media_type_of_extension(extension)
    if declared in _UNSPECIFIC:
        if from_name is None and extension:
            raise UnsupportedMediaType(
                f"Files ending in {extension} are not supported. Supported: {media.supported_extensions()}."
            )
        return from_name
    if media.find_format(declared) is None:
        raise UnsupportedMediaType(
            f"The media type {declared} is not supported. Supported: {media.supported_extensions()}."
        )
    if from_name is None or from_name == declared:
        return declared
    # Markdown is plain text with habits: either name may be used for it, and html may be sent as plain text.
    if declared == media.TEXT and from_name in media.TEXT_FAMILY:
        return from_name
    if declared == media.MARKDOWN and from_name == media.TEXT:
        return declared
    raise MediaTypeMismatch(f"{filename} was declared as {declared}, but its extension says {from_name}.")


def _check_content(data: bytes, named: str, filename: str) -> None:
    found = _signature(data)
    if named in media.TEXT_FAMILY and found is not None:
        raise MediaTypeMismatch(f"{filename} should be {named}, but its content is {found}.")
    if named == media.PDF and b"%PDF-" not in data[:_PDF_HEADER_WITHIN]:
        raise MediaTypeMismatch(f"{filename} should be a PDF, but its content is {found or 'something else'}.")
    if named == media.DOCX and not data.startswith(b"PK\x03\x04"):
        raise MediaTypeMismatch(f"{filename} should be a docx, but its content is {found or 'something else'}.")


def _sniff(data: bytes) -> str:
    if b"%PDF-" in data[:_PDF_HEADER_WITHIN]:
        return media.PDF
    if data.startswith(b"PK\x03\x04"):
        return media.DOCX
    if (found := _signature(data)) is not None:
        raise UnsupportedMediaType(f"The file is {found}. Supported: {media.supported_extensions()}.")
    head = data[:_PDF_HEADER_WITHIN].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return media.HTML if head.startswith((b"<!doctype html", b"<html")) else media.TEXT


def _signature(data: bytes) -> str | None:
    return next((kind for mark, kind in _SIGNATURES if data.startswith(mark)), None)

"""Why a document could not be turned into text.

    ExtractionError
    ├── EmptyFile             empty_file              no bytes at all
    ├── EmptyText             empty_text              nothing to read once the text is out
    ├── UndecodableText       undecodable_text        not UTF-8, UTF-16 or UTF-32, or a lone surrogate
    ├── UnsupportedMediaType  unsupported_media_type  no parser for this kind of file
    ├── MediaTypeMismatch     media_type_mismatch     name, declared type and bytes disagree
    ├── BrokenPdf             broken_pdf              not readable as PDF
    ├── EncryptedPdf          encrypted_pdf           needs a password
    ├── ImageOnlyPdf          image_only_pdf          scanned pages without a text layer
    ├── BrokenDocx            broken_docx             not readable as a Word document
    ├── ArchiveBomb           archive_bomb            unpacks to far more than it should
    ├── TooManyChunks         too_many_chunks         past the limit of chunks per document
    ├── ParseTimeout          parse_timeout           took longer than the limit per document
    ├── ParseMemory           parse_memory            needed more memory than the limit
    ├── OriginalChanged       original_changed        the stored file is not the one that was uploaded
    ├── WrongOffsets          wrong_offsets           what stands in the text is not where its chunks say
    ├── ParseCrashed          parse_crashed           the child process died; worth retrying
    └── SourceUnreadable      source_unreadable       the stored file cannot be opened; worth retrying

`code` is the error class a failed job carries; the message is a sentence for the person who uploaded the file.
"""

from __future__ import annotations

from typing import ClassVar

from datalane.errors import DatalaneError


class ExtractionError(DatalaneError):
    """Base of the failures of one document. `retryable` says whether trying again can help."""

    code: ClassVar[str] = "extraction_failed"
    status: ClassVar[int] = 422
    retryable: ClassVar[bool] = False
    sentence: ClassVar[str] = "The document could not be read."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.sentence)


class EmptyFile(ExtractionError):
    code = "empty_file"
    sentence = "The file is empty: it has 0 bytes. Upload the file again."


class EmptyText(ExtractionError):
    code = "empty_text"
    sentence = "The document holds no text: 0 characters are left after extraction."


class UndecodableText(ExtractionError):
    code = "undecodable_text"
    sentence = "The text is not valid UTF-8. Save the file as UTF-8 and upload it again."


class UnsupportedMediaType(ExtractionError):
    code = "unsupported_media_type"
    status = 415
    sentence = "This kind of file is not supported. Use txt, markdown, html, pdf or docx."


class MediaTypeMismatch(ExtractionError):
    code = "media_type_mismatch"
    status = 415
    sentence = "The file name, the declared media type and the content do not agree."


class BrokenPdf(ExtractionError):
    code = "broken_pdf"
    sentence = "The PDF is damaged and cannot be read. Open it, save it again and upload the new file."


class EncryptedPdf(ExtractionError):
    code = "encrypted_pdf"
    sentence = "The PDF is protected by a password. Remove the password and upload it again."


class ImageOnlyPdf(ExtractionError):
    code = "image_only_pdf"
    sentence = "The PDF holds only images of pages. Run text recognition (OCR) on it and upload the result."


class BrokenDocx(ExtractionError):
    code = "broken_docx"
    sentence = "The Word document is damaged and cannot be read. Save it again as docx and upload the new file."


class ArchiveBomb(ExtractionError):
    code = "archive_bomb"
    sentence = "The file unpacks to far more data than a document should; it was not opened."


class TooManyChunks(ExtractionError):
    code = "too_many_chunks"
    status = 413
    sentence = "The document is too long. Split it into several documents."


class ParseTimeout(ExtractionError):
    code = "parse_timeout"
    sentence = "Reading the document took longer than the limit."


class ParseMemory(ExtractionError):
    code = "parse_memory"
    sentence = "Reading the document needed more memory than the limit."


class OriginalChanged(ExtractionError):
    code = "original_changed"
    status = 500
    sentence = (
        "The stored file is not the one that was uploaded: its SHA-256 differs. Put the file back and retry the job, "
        "or delete the document and upload it again."
    )


class WrongOffsets(ExtractionError):
    code = "wrong_offsets"
    status = 500
    sentence = (
        "The chunks of the document do not lie where their offsets say; nothing of it was stored. The lane or its "
        "parser is at fault: report it, and upload the document in another form meanwhile."
    )


class ParseCrashed(ExtractionError):
    code = "parse_crashed"
    status = 500
    retryable = True
    sentence = "The process that read the document stopped unexpectedly."


class SourceUnreadable(ExtractionError):
    code = "source_unreadable"
    status = 500
    retryable = True
    sentence = "The stored file could not be opened."

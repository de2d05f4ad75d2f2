"""Originals in the file store, before and beside their rows.

An original is stored under a key of its own, and only then a short transaction writes the rows that name it. So a crash
leaves either a file that nobody names, which the sweep removes once it is old, or a document whose job completes it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.jsonlimits import encode_within
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.files import FileStore, FileStoreUnavailable
from datalane.settings import Limits

LONGEST_WAIT = timedelta(minutes=30)
"""Between the storing of an original and its rows; well below the least age of an orphan."""

_DEFAULTS = Limits()
_LARGE = 1024 * 1024

OriginalIdentity: TypeAlias = tuple[bytes, UUID | str | None]
"""The digest of the bytes with the document that they are to be a version of, or else with their source."""


@dataclass(frozen=True, slots=True)
class Original:
    """An original that is in the file store since `stored_at` or later, waiting for its rows."""

    document: NewDocument
    version_id: UUID
    file_key: str
    size: int
    sha256: bytes
    stored_at: datetime

    @property
    def identity(self) -> OriginalIdentity:
        return self.sha256, self.document.document_id or self.document.source_uri


async def store_original(
    files: FileStore, workspace_id: UUID, document: NewDocument, data: bytes, limits: Limits = _DEFAULTS
) -> Original:
    """Check what was said of the file and keep its bytes. Call it while no transaction is open.

    Raises `LimitExceeded` naming the limit, `InvalidInput`, `FileStoreUnavailable`.
    """
    check_document(document, len(data), limits)
    version_id, stored_at = uuid7(), utc_now()
    key = files.key(workspace_id, version_id)
    sha256 = await digest(data)
    await files.put(key, data)
    return Original(document, version_id, key, len(data), sha256, stored_at)


async def digest(data: bytes) -> bytes:
    """The SHA-256 of an original; that of a large one is computed in a thread."""
    return await asyncio.to_thread(_digest, data) if len(data) > _LARGE else _digest(data)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def check_document(document: NewDocument, size: int, limits: Limits) -> None:
    if size > limits.upload:
        raise LimitExceeded(f"the file has {size:,} bytes, the limit of an upload is {limits.upload:,}")
    if document.title is not None and len(document.title) > limits.title_characters:
        fault = (
            f"the title has {len(document.title):,} characters, the limit is {limits.title_characters:,} "
            "(limits.title_characters)"
        )
        raise InvalidInput(fault, [{"field": "title", "message": fault}])
    if len(document.tags) > limits.tags:
        raise LimitExceeded(f"{len(document.tags)} tags, the limit is {limits.tags}")
    if any(not tag or len(tag) > limits.tag_characters for tag in document.tags):
        raise InvalidInput(f"a tag has 1 to {limits.tag_characters} characters")
    encode_within(document.metadata, "the metadata", limits.metadata, limits.metadata_depth)
    texts = (document.title, document.filename, document.source_uri, document.media_type, *document.tags)
    if any("\x00" in text for text in texts if text):
        raise InvalidInput("title, names and tags must hold no NUL character")


async def discard_original(files: FileStore, original: Original) -> None:
    """Remove an original that no row names. Never raises for a store that is away: the sweep removes it later."""
    with suppress(FileStoreUnavailable):
        await files.delete(original.file_key)


def refuse_late(originals: Sequence[Original], now: datetime) -> None:
    """Rows must not name what the sweep may have taken. Raises `FileStoreUnavailable`, which is worth retrying."""
    if any(now - original.stored_at > LONGEST_WAIT for original in originals):
        minutes = LONGEST_WAIT // timedelta(minutes=1)
        raise FileStoreUnavailable(f"more than {minutes} minutes passed since the original was stored; send it again")

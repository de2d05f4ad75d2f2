"""The originals: a local folder, S3, GCS or Azure, by URL. Keys begin with the workspace."""

from __future__ import annotations

import errno
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from datalane.errors import ConfigurationError, DatalaneError


class FileStoreUnavailable(DatalaneError):
    """The file store cannot be read or written; worth retrying."""

    code = "file_store_unavailable"
    status = 503


class StorageFull(FileStoreUnavailable):
    """The disk of the file store is full; nothing was stored."""

    code = "storage_full"
    status = 507


class FileStore:
    """Originals by key. Errors: `FileStoreUnavailable`."""

    def __init__(self, url: str) -> None:
        try:
            self._store: ObjectStore
            if url.startswith("file://"):
                folder = Path(unquote(urlsplit(url).path))
                folder.mkdir(parents=True, exist_ok=True)
                self._store = LocalStore(folder)
            else:
                self._store = from_url(url)
        except (BaseError, OSError, ValueError) as error:
            raise ConfigurationError(f"the file store {url} cannot be used: {error}") from error

    @staticmethod
    def key(workspace_id: UUID, version_id: UUID) -> str:
        return f"{workspace_id}/{version_id}"

    async def put(self, key: str, data: bytes) -> None:
        """Written whole or not at all. Raises `StorageFull` when there is no room."""
        try:
            await obstore.put_async(self._store, key, data)
        except (BaseError, OSError) as error:
            if _is_full(error):
                raise StorageFull("the disk of the file store is full; nothing was stored") from error
            raise FileStoreUnavailable(f"the original could not be stored: {error}") from error

    async def get(self, key: str) -> bytes:
        try:
            answer = await obstore.get_async(self._store, key)
            return bytes(await answer.bytes_async())
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the original could not be read: {error}") from error

    async def delete(self, key: str) -> None:
        """A missing file is as good as deleted."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the original could not be deleted: {error}") from error


def _is_full(error: BaseError | OSError) -> bool:
    """The store's own errors carry the system's only as text."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(f"(os error {number})" in str(error) for number in _FULL)


_FULL = (errno.ENOSPC, errno.EDQUOT)

"""The originals: a local folder, S3, GCS or Azure, by URL. Keys begin with the workspace."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from datalane.errors import ConfigurationError, DatalaneError


class FileStoreUnavailable(DatalaneError):
    """The file store cannot be read or written; worth retrying."""

    code = "file_store_unavailable"
    status = 503


class FileStore:
    """Originals by key. Errors: `FileStoreUnavailable`."""

    def __init__(self, url: str) -> None:
        try:
            self._store: ObjectStore
            if url.startswith("file://"):
                folder = Path(url.removeprefix("file://"))
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
        """Written whole or not at all."""
        try:
            await obstore.put_async(self._store, key, data)
        except (BaseError, OSError) as error:
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

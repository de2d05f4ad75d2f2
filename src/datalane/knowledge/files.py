"""The originals: a local folder, S3, GCS or Azure, by URL. Keys begin with the workspace.

A local folder is listed, flushed and cleared by ourselves: the store library lists in no order, hides the files of
writers that were killed (`<key>#<number>`) and does not bring a file to the disk.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the store lists it. `version_id` is None for a name that is not ours."""

    key: str
    modified: datetime
    size: int

    @property
    def version_id(self) -> UUID | None:
        name = self.key.rpartition("/")[2].partition("#")[0]
        with suppress(ValueError):
            version_id = UUID(name)
            return version_id if str(version_id) == name else None
        return None


class FileStore:
    """Originals by key. Errors: `FileStoreUnavailable`."""

    def __init__(self, url: str) -> None:
        self._folder: Path | None = None
        self._kept: set[Path] = set()  # folders whose own names were brought to the disk
        try:
            self._store: ObjectStore
            if url.startswith("file://"):
                self._folder = folder = Path(unquote(urlsplit(url).path))
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
        """Written whole or not at all, and kept when the machine stops. Raises `StorageFull` when there is no room."""
        try:
            await obstore.put_async(self._store, key, data)
            if self._folder is not None:
                await asyncio.to_thread(self._flush, self._folder, self._folder / key)
        except (BaseError, OSError) as error:
            if _is_full(error):
                raise StorageFull("the disk of the file store is full; nothing was stored") from error
            raise FileStoreUnavailable(f"the original could not be stored: {error}") from error

    def _flush(self, root: Path, path: Path) -> None:
        """Bring the file and its name to the disk; a file that cannot be is removed.

        The names of its folders go along once: they stay.
        """
        try:
            _sync(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        synced: list[Path] = []
        for folder in path.parents:
            with suppress(OSError):  # some file systems sync no folders
                _sync(folder)
            if folder == root or folder in self._kept:
                break
            synced.append(folder)
        self._kept.update(synced)

    async def get(self, key: str) -> bytes:
        try:
            answer = await obstore.get_async(self._store, key)
            return bytes(await answer.bytes_async())
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the original could not be read: {error}") from error

    async def delete(self, key: str) -> None:
        """A missing file is as good as deleted."""
        try:
            if self._folder is not None:
                await asyncio.to_thread((self._folder / key).unlink, missing_ok=True)
            else:
                await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the original could not be deleted: {error}") from error

    async def list_workspaces(self) -> list[UUID]:
        """Workspaces that have files; names that are no workspace's are passed over."""
        try:
            found = await obstore.list_with_delimiter_async(self._store)
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the originals could not be listed: {error}") from error
        workspaces = []
        for name in found["common_prefixes"]:
            with suppress(ValueError):
                workspaces.append(UUID(name))
        return workspaces

    async def list_files(self, workspace_id: UUID, after: str | None, most: int) -> list[StoredFile]:
        """The first `most` files of a workspace whose keys come after `after`, in the order of their keys.

        Keys end with version ids, so the oldest come first.
        """
        try:
            if self._folder is not None:
                return await asyncio.to_thread(_list_folder, self._folder, str(workspace_id), after or "", most)
            return await self._list_store(f"{workspace_id}/", after, most)
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable(f"the originals could not be listed: {error}") from error

    async def _list_store(self, prefix: str, after: str | None, most: int) -> list[StoredFile]:
        found: list[StoredFile] = []
        pieces = obstore.list(self._store, prefix, offset=after, chunk_size=min(most, _LISTED_AT_ONCE))
        async for piece in pieces:
            found += [StoredFile(one["path"], one["last_modified"], one["size"]) for one in piece]
            if len(found) >= most:
                break
        return found[:most]


def is_key_of(workspace_id: UUID, key: str) -> bool:
    """Whether `key` is that of an original of the workspace."""
    try:
        return key == FileStore.key(workspace_id, UUID(key.rpartition("/")[2]))
    except ValueError:
        return False


def _list_folder(root: Path, folder: str, after: str, most: int) -> list[StoredFile]:
    try:
        with os.scandir(root / folder) as entries:
            keys = (f"{folder}/{entry.name}" for entry in entries if entry.is_file(follow_symlinks=False))
            first = heapq.nsmallest(most, (key for key in keys if key > after))
    except FileNotFoundError:
        return []
    found = []
    for key in first:
        with suppress(FileNotFoundError):
            known = (root / key).lstat()
            found.append(StoredFile(key, datetime.fromtimestamp(known.st_mtime, UTC), known.st_size))
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(error: BaseError | OSError) -> bool:
    """The store's own errors carry the system's only as text."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(f"(os error {number})" in str(error) for number in _FULL)


_LISTED_AT_ONCE = 1_000
_FULL = (errno.ENOSPC, errno.EDQUOT)

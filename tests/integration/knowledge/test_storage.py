"""The file store: originals are kept whole or not at all, and a store that fails says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.knowledge.library import Library

from datalane.errors import ConfigurationError
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.files import FileStore, FileStoreUnavailable, StorageFull


async def test_a_full_disk_is_an_error_with_a_name_and_leaves_nothing(library: Library, full_disk: Path) -> None:
    store = FileStore(full_disk.as_uri())
    with pytest.raises(StorageFull, match="disk of the file store is full"):
        await store_original(store, library.context.workspace_id, NewDocument(filename="a.txt"), b"x" * 1_000_000)
    assert [path for path in full_disk.rglob("*") if path.is_file()] == []
    assert set((await library.counts()).values()) == {0}
    await store.put("small", b"there is room for this")
    assert await store.get("small") == b"there is room for this"


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = FileStore(folder.as_uri())
    folder.rmdir()
    folder.write_text("a file stands where the folder was")
    with pytest.raises(FileStoreUnavailable, match="could not be stored"):
        await store.put("a/b", b"data")


def test_a_store_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        FileStore((tmp_path / "taken").as_uri())
    with pytest.raises(ConfigurationError, match="cannot be used"):
        FileStore("gopher://nowhere")


async def test_an_original_that_is_lost_is_tried_again(library: Library) -> None:
    store = library.knowledge.files
    with pytest.raises(FileStoreUnavailable, match="could not be read"):
        await store.get(FileStore.key(library.context.workspace_id, uuid7()))
    assert FileStoreUnavailable.status == 503


async def test_a_folder_with_spaces_is_used_as_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces and ümläut"
    store = FileStore(folder.as_uri())
    await store.put("one", b"1")
    assert (folder / "one").read_bytes() == b"1"
    assert os.listdir(tmp_path) == [folder.name]

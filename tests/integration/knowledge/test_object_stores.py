"""Originals in object stores: kept, read, listed in order and removed, over the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.knowledge.object_server import object_server

from datalane.kit.ids import uuid7
from datalane.knowledge.files import FileStore, FileStoreUnavailable

Kept = tuple[FileStore, dict[str, bytes]]


@pytest.fixture(params=["s3", "gs"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """A store by the URL of the setting, and the objects that the other side has."""
    with object_server() as (url, objects):
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        settings = {
            "AWS_ENDPOINT": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "here",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "GOOGLE_SERVICE_ACCOUNT": str(tmp_path / "account.json"),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield FileStore(f"{request.param}://originals"), objects


async def test_an_original_is_kept_read_and_removed(kept: Kept) -> None:
    store, objects = kept
    key = FileStore.key(uuid7(), uuid7())
    await store.put(key, "ümläut".encode())
    assert objects == {key: "ümläut".encode()}
    assert await store.get(key) == "ümläut".encode()
    for _ in range(2):
        await store.delete(key)  # a missing file is as good as deleted
    assert objects == {}
    with pytest.raises(FileStoreUnavailable, match="could not be read"):
        await store.get(key)


async def test_originals_are_listed_by_workspace_in_the_order_of_their_keys(kept: Kept) -> None:
    store, _ = kept
    ours, theirs = uuid7(), uuid7()
    keys = sorted(FileStore.key(ours, uuid7()) for _ in range(5))
    for key in [*keys[::-1], FileStore.key(theirs, uuid7()), "no workspace/x"]:
        await store.put(key, b"12345")
    assert sorted(await store.list_workspaces()) == sorted([ours, theirs])
    assert [one.key for one in await store.list_files(ours, None, 10)] == keys
    rest = await store.list_files(ours, keys[1], 2)
    assert [(one.key, one.size, str(one.version_id) == one.key[-36:]) for one in rest] == [
        (key, 5, True) for key in keys[2:4]
    ]


def test_azure_is_named_by_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert FileStore("az://originals") is not None

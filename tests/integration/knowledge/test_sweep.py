"""The sweep removes what no document names once it is old, and nothing else, whoever else is at work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from tests.integration.knowledge.library import Library, a_job
from tests.integration.knowledge.site import TEXT, Site, open_site

from datalane.contracts.context import Context
from datalane.engine.jobs import list_jobs
from datalane.errors import ConfigurationError
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import upload
from datalane.knowledge.documents.sweep import SWEEP, Sweep
from datalane.knowledge.files import FileStore, FileStoreUnavailable
from datalane.settings import load_settings

AGE = timedelta(hours=24)


@pytest.fixture
async def site(idle_library: Library) -> AsyncIterator[Site]:
    """No worker runs."""
    async with open_site(idle_library) as opened:
        yield opened


def a_sweep(library: Library, page: int = 10_000) -> Sweep:
    return Sweep(library.lane.database, library.knowledge.files, AGE, page)


async def an_orphan(library: Library, workspace_id: UUID | None = None) -> Path:
    """The file of an upload that never came to its transaction."""
    home = workspace_id or library.context.workspace_id
    original = await store_original(library.knowledge.files, home, NewDocument(filename="a.txt"), TEXT)
    return library.lane.settings.home / "files" / original.file_key


async def strangers_workspace(site: Site) -> UUID:
    me = await site.client.get("/auth/me", headers=await site.known("stranger"))
    return UUID(me.json()["workspace_id"])


def make_old(path: Path, age: timedelta = AGE) -> None:
    past = (utc_now() - age).timestamp() - 1
    os.utime(path, (past, past))


# What is removed ------------------------------------------------------------------------------------------------


async def test_an_orphan_goes_when_it_has_its_age_and_documents_keep_their_originals(site: Site) -> None:
    document = await site.library.upload(b"first", filename="a.txt")
    await site.library.upload(b"second", filename="a.txt", document_id=document.document_id)
    orphan, now, sweep = await an_orphan(site.library), utc_now(), a_sweep(site.library)
    young = await sweep.sweep(site.library.context, now + timedelta(hours=23, minutes=59))
    assert (young.examined, young.orphans, orphan.exists()) == (3, [], True)
    old = await sweep.sweep(site.library.context, now + timedelta(hours=24, minutes=1))
    assert ([file.key for file in old.orphans], orphan.exists()) == (
        [f"{site.workspace_id}/{orphan.name}"],
        False,
    )
    assert await site.library.stored_files() == 2


async def test_no_workspaces_sweep_touches_a_file_of_another(site: Site) -> None:
    other = await strangers_workspace(site)
    mine, theirs = await an_orphan(site.library), await an_orphan(site.library, other)
    tomorrow, sweep = utc_now() + timedelta(hours=25), a_sweep(site.library)
    await sweep.sweep(site.library.context, tomorrow)
    assert (mine.exists(), theirs.exists()) == (False, True)
    await sweep.sweep(Context.system(other), tomorrow)
    assert not theirs.exists()


async def test_a_document_of_another_workspace_does_not_name_mine(site: Site) -> None:
    """The same version id in two workspaces: the row of one is no reason to keep the other's file."""
    other = await strangers_workspace(site)
    kept = await site.library.upload(TEXT, filename="a.txt")
    folder = site.library.lane.settings.home / "files"
    twin = folder / str(other) / str(kept.version_id)
    twin.parent.mkdir()
    twin.write_bytes(TEXT)
    await a_sweep(site.library).sweep(Context.system(other), utc_now() + timedelta(hours=25))
    assert not twin.exists()
    assert (folder / str(site.workspace_id) / str(kept.version_id)).exists()


async def test_a_workspace_that_this_database_does_not_know_is_left_alone(site: Site) -> None:
    orphan = await an_orphan(site.library, uuid7())
    sweep, tomorrow = a_sweep(site.library), utc_now() + timedelta(hours=25)
    assert (await sweep.sweep(Context.system(UUID(orphan.parent.name)), tomorrow)).orphans == []
    assert await sweep.schedule(tomorrow) == 0
    assert orphan.exists()


async def test_what_is_not_named_like_an_original_is_left_alone(site: Site) -> None:
    orphan = await an_orphan(site.library)
    strange = [
        orphan.parent / name for name in ("notes.txt", ".keep", uuid7().hex, f"{uuid7()}.bak", f"{uuid7()}".upper())
    ]
    for path in strange:
        path.write_bytes(b"not ours")
    (orphan.parent / str(uuid7())).mkdir()
    link = orphan.parent / str(uuid7())
    link.symlink_to(strange[0])
    found = await a_sweep(site.library).sweep(site.library.context, utc_now() + timedelta(hours=25))
    assert [file.key for file in found.orphans] == [f"{site.workspace_id}/{orphan.name}"]
    assert all(path.exists() for path in (*strange, link))


WRITE_AND_DIE = """
import asyncio, resource, signal, sys
from datalane.knowledge.files import FileStore
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
asyncio.run(FileStore(sys.argv[1]).put(sys.argv[2], b"x" * 1_000_000))
"""


async def test_the_rest_of_a_writer_that_was_killed_while_writing_goes_too(site: Site) -> None:
    """The kernel kills it in the middle of the file."""
    folder = site.library.lane.settings.home / "files"
    key = FileStore.key(site.workspace_id, uuid7())
    writer = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", WRITE_AND_DIE, folder.as_uri(), key], check=False
    )
    assert writer.returncode == -signal.SIGXFSZ
    (rest,) = (path for path in folder.rglob("*") if path.is_file())
    assert (rest.name != key.rpartition("/")[2], rest.stat().st_size) == (True, 100_000)
    await a_sweep(site.library).sweep(site.library.context, utc_now() + timedelta(hours=25))
    assert not rest.exists()


# Together with others -------------------------------------------------------------------------------------------


async def test_an_upload_that_is_about_to_commit_keeps_its_file(site: Site) -> None:
    library = site.library
    original = await store_original(library.knowledge.files, site.workspace_id, NewDocument(filename="a.txt"), TEXT)
    async with library.lane.transaction(library.context) as tx:
        uploaded = await upload(tx, original)
        swept = await asyncio.create_task(a_sweep(library).sweep(library.context, utc_now() + timedelta(hours=23)))
        assert (swept.examined, swept.orphans) == (1, [])
    async with library.working():
        assert await library.through() == [("document.ingested", str(uploaded.document_id))]


async def test_sweeps_at_the_same_time_do_no_harm(site: Site) -> None:
    kept = await site.library.upload(TEXT, filename="a.txt")
    orphans = [await an_orphan(site.library) for _ in range(40)]
    sweep, tomorrow = a_sweep(site.library), utc_now() + timedelta(hours=25)
    await asyncio.gather(*(sweep.sweep(site.library.context, tomorrow) for _ in range(4)))
    assert not any(path.exists() for path in orphans)
    assert await site.library.stored_files() == 1
    assert await site.library.knowledge.files.get(FileStore.key(site.workspace_id, kept.version_id)) == TEXT


async def test_a_deleted_documents_file_goes_even_if_its_job_never_ran(site: Site) -> None:
    uploaded = (await site.upload()).json()
    path = f"/documents/{uploaded['document_id']}"
    assert (await site.client.delete(path, headers=site.headers["owner"])).status_code == 200
    assert await site.library.stored_files() == 1
    await a_sweep(site.library).sweep(site.library.context, utc_now() + timedelta(hours=25))
    assert await site.library.stored_files() == 0


# Rounds and pages -----------------------------------------------------------------------------------------------


async def test_a_run_looks_at_one_page_and_enqueues_the_next_once(site: Site) -> None:
    orphans = [await an_orphan(site.library) for _ in range(5)]
    for path in orphans:
        make_old(path)
    sweep, context = a_sweep(site.library, page=2), Context.system(site.workspace_id)
    job, seen = a_job(context, SWEEP, {}), []
    while True:
        for _ in range(2):  # a job may run more than once
            await sweep.run(job)
        seen.append(sum(path.exists() for path in orphans))
        async with site.library.lane.transaction(context) as tx:
            jobs = await list_jobs(tx, kind=SWEEP)
        if len(jobs) == len(seen) - 1:
            break
        job = a_job(context, SWEEP, max((dict(each.args or {}) for each in jobs), key=lambda args: args["after"]))
    assert seen[-1] == 0


async def test_each_round_sweeps_each_workspace_once_however_many_workers_there_are(site: Site) -> None:
    other = await strangers_workspace(site)
    await an_orphan(site.library)
    await an_orphan(site.library, other)
    first, second = a_sweep(site.library), a_sweep(site.library)
    now = utc_now()
    assert await first.schedule(now) == 0  # nothing is old yet
    tomorrow = now + AGE
    assert sorted([await first.schedule(tomorrow), await second.schedule(tomorrow)]) == [0, 2]
    assert await first.schedule(tomorrow + AGE) == 2


async def test_a_worker_runs_the_sweep_that_its_keeper_enqueued(site: Site) -> None:
    library, orphan = site.library, await an_orphan(site.library)
    kept = await library.upload(TEXT, filename="a.txt")
    make_old(orphan)
    stop = asyncio.Event()
    keeping = asyncio.create_task(library.knowledge.sweep(library.lane.database).keep(stop))
    async with library.working():
        await library.through()
        async with asyncio.timeout(30):
            while orphan.exists():
                await asyncio.sleep(0)
        stop.set()
        await keeping
    assert (await library.document(kept.document_id)).chunks == 1


# Stores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_store_lists_in_order_and_in_pages(kind: str, tmp_path: Path) -> None:
    store = FileStore("memory:///" if kind == "memory" else tmp_path.as_uri())
    mine, other = uuid7(), uuid7()
    keys = sorted(FileStore.key(mine, uuid7()) for _ in range(7))
    for key in (*reversed(keys), FileStore.key(other, uuid7())):
        await store.put(key, b"12345")
    assert set(await store.list_workspaces()) == {mine, other}
    first = await store.list_files(mine, None, 3)
    rest = await store.list_files(mine, first[-1].key, 100)
    assert [file.key for file in (*first, *rest)] == keys
    assert {file.size for file in rest} == {5}
    assert abs(utc_now() - first[0].modified) < timedelta(minutes=5)
    await store.delete(keys[0])
    await store.delete(keys[0])
    assert [file.key for file in await store.list_files(mine, None, 2)] == keys[1:3]
    assert await store.list_files(uuid7(), None, 10) == []


async def test_a_store_that_is_away_is_an_error_with_a_name(site: Site) -> None:
    folder = site.library.lane.settings.home / "files"
    folder.rmdir()
    folder.write_text("a file stands where the folder was")
    with pytest.raises(FileStoreUnavailable, match="could not be listed"):
        await a_sweep(site.library).sweep(site.library.context, utc_now())


def test_an_age_below_an_hour_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_RETENTION__ORPHANED_ORIGINALS", "PT59M")
    with pytest.raises(ConfigurationError, match="DATALANE_RETENTION__ORPHANED_ORIGINALS"):
        load_settings()

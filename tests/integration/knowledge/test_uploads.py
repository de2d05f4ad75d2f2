"""Uploads hold no database connection while files move, and leave either a whole document or nothing that is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import psycopg
import pytest
from tests.integration.knowledge.gate import Gate
from tests.integration.knowledge.library import Library, a_job, until_somebody_waits
from tests.integration.knowledge.site import TEXT, Site, open_site
from tests.integration.knowledge.slow_store import SlowStore

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.engine.failures import JobError
from datalane.engine.jobs import list_jobs
from datalane.errors import LimitExceeded
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.originals import LONGEST_WAIT, store_original
from datalane.knowledge.documents.removal import REMOVE_FILES
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import add_ready, upload
from datalane.knowledge.files import FileStore, FileStoreUnavailable
from datalane.knowledge.indexing import IndexChunks
from datalane.knowledge.runtime import WRITTEN_AT_ONCE

LARGE = b"A line of a large file.\n" * 100_000


@pytest.fixture
async def site(idle_library: Library) -> AsyncIterator[Site]:
    """No worker runs."""
    async with open_site(idle_library) as opened:
        yield opened


@pytest.fixture
async def slow_store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowStore]:
    store = SlowStore()
    monkeypatch.setenv("AWS_ENDPOINT", await store.start())
    for name, value in (("ALLOW_HTTP", "true"), ("REGION", "x"), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    yield store
    await store.stop()


@pytest.fixture
async def slow_site(idle_library: Library, slow_store: SlowStore) -> AsyncIterator[Site]:
    """Its originals go to the slow store."""
    async with open_site(idle_library, replace(idle_library.knowledge, files=FileStore("s3://originals"))) as opened:
        yield opened


def connections_in_use(library: Library) -> int:
    pool = library.lane.database.pool
    return int(pool.get_size() - pool.get_idle_size())


# While files move -----------------------------------------------------------------------------------------------


async def test_an_upload_that_is_stuck_in_the_store_holds_no_connection(slow_site: Site, slow_store: SlowStore) -> None:
    stuck = [asyncio.create_task(slow_site.upload(LARGE + bytes([65 + n]))) for n in range(3)]
    await slow_store.until(3)
    assert (await slow_site.get("/documents/list")).json()["data"] == []
    assert connections_in_use(slow_site.library) == 0
    slow_store.leave.set()
    assert [(await each).status_code for each in stuck] == [202] * 3
    assert len((await slow_site.get("/documents/list")).json()["data"]) == 3


async def test_no_more_than_some_uploads_are_in_memory_at_once(slow_site: Site, slow_store: SlowStore) -> None:
    stuck = [asyncio.create_task(slow_site.upload(TEXT + bytes([65 + n]))) for n in range(WRITTEN_AT_ONCE + 4)]
    await slow_store.until(WRITTEN_AT_ONCE)
    assert (await slow_site.get("/documents/list")).status_code == 200
    slow_store.leave.set()
    assert {(await each).status_code for each in stuck} == {202}
    assert slow_store.most == WRITTEN_AT_ONCE


async def test_indexing_a_text_holds_no_connection_during_the_extraction(gated_library: Library, gate: Gate) -> None:
    async with open_site(gated_library) as site:
        indexing = asyncio.create_task(site.post("/retrieval/index-chunks", json={"text": gate.text}))
        await gate.entered()
        assert connections_in_use(gated_library) == 0
        await gate.leave("Herons stand still.")
        assert (await indexing).status_code == 201
        answer = await site.post("/retrieval/query", json={"query": "herons", "method": "keyword"})
        assert [result["text"] for result in answer.json()["data"]] == ["Herons stand still."]


async def test_a_worker_holds_no_connection_of_the_pool_during_the_extraction(
    gated_library: Library, gate: Gate
) -> None:
    async with gated_library.working():
        uploaded = await gated_library.upload(gate.text.encode(), filename="a.txt")
        await gate.entered()
        assert connections_in_use(gated_library) == 0
        await gate.leave("Herons stand still.")
        assert await gated_library.through() == [("document.ingested", str(uploaded.document_id))]


async def test_the_limits_of_a_document_hold_for_an_indexed_text_and_cost_no_extraction(
    gated_library: Library,
) -> None:
    limits = gated_library.lane.settings.limits
    request = IndexChunks(text="never parsed", tags=["t"] * (limits.tags + 1))
    with pytest.raises(LimitExceeded, match="tags"):
        await gated_library.prepare(request)


# A key that is used again ---------------------------------------------------------------------------------------


async def test_a_repeated_upload_is_answered_from_its_key_and_stores_nothing_again(
    slow_site: Site, slow_store: SlowStore
) -> None:
    slow_store.leave.set()
    key = {"Idempotency-Key": "upload-1"}
    first = await slow_site.upload(headers=key)
    again = await slow_site.upload(headers=key)
    assert (first.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert len(slow_store.arrived) == 1
    assert (await slow_site.upload(b"other bytes", headers=key)).status_code == 422
    assert len(slow_store.arrived) == 1


async def test_of_uploads_with_one_key_that_meet_in_the_store_one_takes_effect(
    slow_site: Site, slow_store: SlowStore
) -> None:
    key = {"Idempotency-Key": "upload-1"}
    racing = []
    for place in range(4):  # one after another, as two that look for a stored answer at once are told so
        racing.append(asyncio.create_task(slow_site.upload(headers=key)))
        await slow_store.until(place + 1)
    slow_store.leave.set()
    answers = [await each for each in racing]
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    (document,) = (await slow_site.get("/documents/list")).json()["data"]
    kept = f"/originals/{slow_site.workspace_id}/{document['version_id']}"
    assert kept in slow_store.arrived
    assert set(slow_store.removed) == set(slow_store.arrived) - {kept}


# When something fails -------------------------------------------------------------------------------------------


@pytest.fixture
def commits_fail(site: Site, urls: Prepared) -> None:
    """From now on each transaction that adds a document fails at its COMMIT."""
    with psycopg.connect(urls.maintenance_url, autocommit=True) as connection:
        connection.execute("SET ROLE datalane_owner")
        connection.execute(
            "CREATE FUNCTION datalane.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'this commit fails'; END $$"
        )
        connection.execute("GRANT EXECUTE ON FUNCTION datalane.refuse() TO datalane_app")
        connection.execute(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON datalane.documents DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION datalane.refuse()"
        )


@pytest.mark.usefixtures("commits_fail")
async def test_a_commit_that_fails_leaves_no_row_and_its_file_to_the_sweep(site: Site) -> None:
    assert (await site.upload()).status_code == 500
    assert set((await site.library.counts()).values()) == {0}
    async with site.library.lane.transaction(site.library.context) as tx:
        assert await list_jobs(tx) == []
    # Whether a commit that failed took effect is not for the API to guess.
    assert await site.library.stored_files() == 1
    sweep = site.library.knowledge.sweep(site.library.lane.database)
    await sweep.sweep(site.library.context, utc_now() + timedelta(hours=25))
    assert await site.library.stored_files() == 0


async def test_an_upload_refused_inside_its_transaction_leaves_no_file(site: Site) -> None:
    assert (await site.upload(document_id=str(uuid7()))).status_code == 404
    text = {"text": "Herons.", "document_id": str(uuid7())}
    assert (await site.post("/retrieval/index-chunks", json=text)).status_code == 404
    assert await site.library.stored_files() == 0


async def test_an_upload_that_is_cancelled_in_its_transaction_leaves_nothing(site: Site) -> None:
    async with site.library.lane.transaction(site.library.context) as tx:
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", str(site.workspace_id))
        uploading = asyncio.create_task(site.upload())
        await until_somebody_waits(tx.connection)
        assert await site.library.stored_files() == 1
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
    assert await site.library.stored_files() == 0
    assert set((await site.library.counts()).values()) == {0}


async def test_rows_that_come_too_late_for_their_file_are_refused(idle_library: Library) -> None:
    files, context = idle_library.knowledge.files, idle_library.context
    fresh = await store_original(files, context.workspace_id, NewDocument(filename="a.txt"), TEXT)
    late = replace(fresh, stored_at=fresh.stored_at - LONGEST_WAIT - timedelta(minutes=1))
    for write in (upload, add_ready):
        with pytest.raises(FileStoreUnavailable, match="send it again"):
            async with idle_library.lane.transaction(context) as tx:
                await write(tx, late)
    assert set((await idle_library.counts()).values()) == {0}


# The wall -------------------------------------------------------------------------------------------------------


async def test_no_job_removes_a_file_of_another_workspace(idle_library: Library, other_context: Context) -> None:
    mine = await idle_library.upload(TEXT, filename="a.txt")
    key = FileStore.key(idle_library.context.workspace_id, mine.version_id)
    remove = idle_library.lane.handlers.get(REMOVE_FILES).prepare
    assert remove is not None
    for wrong in (key, f"{other_context.workspace_id}/../{key}", f"{other_context.workspace_id}/x", "", "/"):
        with pytest.raises(JobError, match="none of this workspace's originals"):
            await remove([a_job(other_context, REMOVE_FILES, {"file_keys": [wrong]})])
    assert await idle_library.stored_files() == 1


async def test_no_row_names_a_file_of_another_workspace(idle_library: Library, other_context: Context) -> None:
    mine = await store_original(
        idle_library.knowledge.files, idle_library.context.workspace_id, NewDocument(filename="a.txt"), TEXT
    )
    with pytest.raises(asyncpg.CheckViolationError, match="an_original_lies_in_its_workspace"):
        async with idle_library.lane.transaction(other_context) as tx:
            await add_ready(tx, mine)

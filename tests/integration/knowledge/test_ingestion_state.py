"""What a document says of its ingestion is what the jobs tables know: while it waits, at its end, after replays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from tests.integration.engine.lab import Lab
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Role
from datalane.db.provision import Prepared
from datalane.engine.jobs import get_job, replay_jobs
from datalane.knowledge.documents.schemas import Ingestion
from datalane.knowledge.documents.service import INGEST, list_documents
from datalane.knowledge.indexing import IndexChunks, index_chunks


@pytest.fixture
async def lab(idle_library: Library) -> AsyncIterator[Lab]:
    async with Lab.opened(idle_library.lane.database) as opened:
        yield opened


async def fail(lab: Lab, times: int) -> None:
    """Fail the waiting ingestion `times`, each worth another attempt at once."""
    for _ in range(times):
        job = await lab.claim_one(INGEST, now=None)
        await lab.fail(job, "parse_crashed", "it stopped", retry_after=timedelta(), now=None)


async def replay(library: Library, job_id: UUID | None) -> UUID:
    assert job_id is not None
    async with library.lane.transaction(library.acting(Role.ADMIN)) as tx:
        return (await replay_jobs(tx, [job_id]))[job_id]


async def state(library: Library, document_id: UUID) -> Ingestion:
    """As one document and as a list say it, which must be the same."""
    one = (await library.document(document_id)).ingestion
    async with library.lane.transaction(library.context) as tx:
        page = await list_documents(tx)
    assert [document.ingestion for document in page.data if document.document_id == document_id] == [one]
    return one


async def test_a_completed_ingestion_says_how_many_attempts_it_took(idle_library: Library, lab: Lab) -> None:
    library = idle_library
    uploaded = await library.upload(b"Otters float.", filename="a.txt")
    assert (await state(library, uploaded.document_id)).attempt_count == 0
    await fail(lab, 1)
    waiting = await state(library, uploaded.document_id)
    assert (waiting.status, waiting.attempt_count, waiting.error_class) == ("retrying", 1, "parse_crashed")
    async with library.working():
        await library.through()
    ended = await state(library, uploaded.document_id)
    async with library.lane.transaction(library.context) as tx:
        job = await get_job(tx, uploaded.job_id or UUID(int=0))
    assert (ended.job_id, ended.status, ended.attempt_count) == (job.id, "completed", 2)
    assert (ended.attempt_count, ended.error_class) == (job.attempt_count, job.last_error_class)
    assert not ended.replay_eligible


async def test_a_replayed_ingestion_says_what_its_last_replay_does(idle_library: Library, lab: Lab) -> None:
    library = idle_library
    uploaded = await library.upload(b"Otters float.", filename="a.txt")
    job_id = uploaded.job_id
    for _ in range(2):
        await fail(lab, 3)
        dead = await state(library, uploaded.document_id)
        assert (dead.job_id, dead.status, dead.attempt_count) == (job_id, "dead_letter", 3)
        assert (dead.error_class, dead.error_message, dead.replay_eligible) == ("parse_crashed", "it stopped", True)
        job_id = await replay(library, job_id)
        again = await state(library, uploaded.document_id)
        assert (again.job_id, again.status, again.attempt_count) == (job_id, "queued", 0)
        assert (again.error_class, again.replay_eligible) == (None, False)
    async with library.working():
        while ("document.ingested", str(uploaded.document_id)) not in await library.through():
            pass
    ended = await state(library, uploaded.document_id)
    assert (ended.job_id, ended.status, ended.attempt_count) == (job_id, "completed", 1)
    assert (await library.document(uploaded.document_id)).chunks == 1


async def test_a_text_that_was_indexed_directly_has_no_job_and_no_attempts(idle_library: Library) -> None:
    library = idle_library
    prepared = await library.prepare(IndexChunks(text="Otters float."))
    async with library.lane.transaction(library.context) as tx:
        indexed = await index_chunks(tx, prepared)
    said = await state(library, indexed.document_id)
    assert (said.job_id, said.status, said.attempt_count) == (None, "completed", None)


async def test_past_the_retention_of_history_a_document_is_still_completed(library: Library, urls: Prepared) -> None:
    document = await library.bring_in("Otters float.")
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_owner")
        connection.execute("SELECT app.drop_partitions('datalane.job_history', now() + interval '2 months')")
    said = await state(library, document.document_id)
    assert (said.job_id, said.status, said.attempt_count) == (document.ingestion.job_id, "completed", None)

"""An original that was changed in the file store is not ingested: its digest is that of another file."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.integration.engine.lab import Lab
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Role
from datalane.engine.jobs import retry_jobs
from datalane.knowledge.documents.schemas import Document
from datalane.knowledge.documents.service import INGEST
from datalane.knowledge.files import FileStore
from datalane.knowledge.methods import Method

UPLOADED, OTHER = b"The heron stands in the reeds.", b"The pelican sits on the pier!!"


async def overwrite(library: Library, version_id: UUID, data: bytes) -> None:
    """Behind the lane's back."""
    await library.knowledge.files.put(FileStore.key(library.context.workspace_id, version_id), data)


def is_refused(document: Document) -> bool:
    said = document.ingestion
    return (said.status, said.error_class, said.attempt_count) == ("failed", "original_changed", 1)


async def test_a_file_that_was_changed_fails_its_document_and_no_other(idle_library: Library) -> None:
    library = idle_library
    changed = await library.upload(UPLOADED, filename="a.txt")
    whole = await library.upload(UPLOADED, filename="a.txt", source_uri="file:b")
    await overwrite(library, changed.version_id, OTHER)
    async with library.working():
        outcomes = set(await library.through(2))
    assert outcomes == {
        ("document.failed", str(changed.document_id)),
        ("document.ingested", str(whole.document_id)),
    }
    refused = await library.document(changed.document_id)
    assert is_refused(refused)
    assert "its SHA-256 differs" in str(refused.ingestion.error_message)
    assert (await library.ask("pelican", Method.KEYWORD)).data == []
    assert [found.document_id for found in (await library.ask("heron", Method.KEYWORD)).data] == [whole.document_id]


async def test_a_version_whose_file_was_changed_leaves_the_one_before_as_it_was(idle_library: Library) -> None:
    library = idle_library
    async with library.working():
        first = await library.bring_in(UPLOADED)
    second = await library.upload(b"The heron flew off.", filename="a.txt", document_id=first.document_id)
    await overwrite(library, second.version_id, OTHER)
    async with library.working():
        await library.through()
    document = await library.document(first.document_id)
    assert is_refused(document)
    assert (document.version, document.current_version_id) == (2, first.version_id)
    assert [found.version_id for found in (await library.ask("heron", Method.KEYWORD)).data] == [first.version_id]


async def test_a_file_that_was_changed_between_two_attempts_is_refused_until_it_is_put_back(
    idle_library: Library,
) -> None:
    library = idle_library
    uploaded = await library.upload(UPLOADED, filename="a.txt")
    async with Lab.opened(library.lane.database) as lab:
        job = await lab.claim_one(INGEST, now=None)
        await lab.fail(job, "parse_crashed", "it stopped", retry_after=timedelta(), now=None)
    await overwrite(library, uploaded.version_id, OTHER)
    async with library.working():
        assert await library.through() == [("document.failed", str(uploaded.document_id))]
        assert (await library.document(uploaded.document_id)).ingestion.error_class == "original_changed"
        await overwrite(library, uploaded.version_id, UPLOADED)
        async with library.lane.transaction(library.acting(Role.ADMIN)) as tx:
            assert await retry_jobs(tx, [job.id]) == 1
        assert await library.through() == [("document.ingested", str(uploaded.document_id))]
    assert len((await library.ask("heron", Method.KEYWORD)).data) == 1

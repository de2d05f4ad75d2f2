"""A deletion takes everything along, and its receipt says how much that was."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from tests.integration.engine.lab import Lab, eventually
from tests.integration.knowledge.library import Library, a_job

from datalane.contracts.context import Context, Role
from datalane.engine.audit import AuditRecord, list_records
from datalane.engine.running import completion
from datalane.errors import Forbidden, LeaseLost, NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.removal import FILES_OF_A_JOB, REMOVE_FILES, enqueue_removal
from datalane.knowledge.documents.service import delete_document, list_documents
from datalane.knowledge.files import FileStore
from datalane.knowledge.methods import Method

GONE = ("documents", "document_versions", "chunks", "chunk_vectors", "search_postings", "search_entries")


async def test_the_receipt_equals_what_was_stored_and_nothing_is_left(library: Library) -> None:
    document = await library.bring_in("Willows by the river. " * 200)
    await library.bring_in("Willows by the pond. " * 150, document_id=document.document_id)
    before = await library.counts()
    async with library.lane.transaction(library.context) as tx:
        receipt = await delete_document(tx, document.document_id)
    assert (receipt.versions, receipt.files) == (before["document_versions"], before["document_versions"])
    assert (receipt.chunks, receipt.vectors) == (before["chunks"], before["chunk_vectors"])
    assert receipt.postings == before["search_postings"] > receipt.vectors
    after = await library.counts()
    assert {table: after[table] for table in GONE} == dict.fromkeys(GONE, 0)
    for method in Method:
        assert (await library.ask("willows", method)).data == []


async def records_of_removal(library: Library, document_id: UUID) -> list[AuditRecord]:
    async with library.lane.transaction(library.context) as tx:
        return await list_records(tx, action="document.files_removed", resource_id=str(document_id))


async def test_a_job_removes_the_originals_and_leaves_a_record_when_they_are_gone(idle_library: Library) -> None:
    library = idle_library
    uploaded = await library.upload(b"Willows.", filename="a.txt")
    await library.upload(b"More willows.", filename="a.txt", document_id=uploaded.document_id)
    deleting = replace(library.context, correlation_id="the-deletion")
    async with library.lane.transaction(deleting) as tx:
        receipt = await delete_document(tx, uploaded.document_id)
    assert (receipt.files, await library.stored_files()) == (2, 2)
    assert await records_of_removal(library, uploaded.document_id) == []
    async with library.working():
        [record] = await eventually(lambda: records_of_removal(library, uploaded.document_id))
    assert (record.after, record.correlation_id) == ({"files": 2}, "the-deletion")
    assert await library.stored_files() == 0


async def test_a_removal_that_runs_twice_leaves_one_record(idle_library: Library) -> None:
    library, handler = idle_library, idle_library.lane.handlers.get(REMOVE_FILES)
    uploaded = await library.upload(b"Willows.", filename="a.txt")
    async with library.lane.transaction(library.context) as tx:
        await delete_document(tx, uploaded.document_id)
    async with Lab.opened(library.lane.database) as lab:
        held = await lab.claim_one(REMOVE_FILES, now=None)
    said = {"id": held.id, "lease_token": held.lease_token, "subject_id": str(uploaded.document_id)}
    job = replace(a_job(library.context, REMOVE_FILES, held.args), **said)

    async def run() -> None:
        assert handler.prepare is not None
        removed = await handler.prepare([job])
        async with library.lane.transaction(job.context) as tx:
            await handler.function(tx, [job], removed)
            tx.close_with(completion([job]))

    await run()
    assert await library.stored_files() == 0
    with pytest.raises(LeaseLost):
        await run()
    [record] = await records_of_removal(library, uploaded.document_id)
    assert record.after == {"files": 1}


async def test_the_files_of_very_many_versions_are_removed_by_several_jobs(idle_library: Library) -> None:
    library, document_id = idle_library, uuid7()
    keys = [FileStore.key(library.context.workspace_id, uuid7()) for _ in range(FILES_OF_A_JOB + 1)]
    async with library.lane.transaction(library.context) as tx:
        await enqueue_removal(tx, document_id, keys)
    async with library.working():
        await eventually(lambda: has_records(library, document_id, 2))
    files = [record.after["files"] for record in await records_of_removal(library, document_id)]
    assert sorted(files) == [1, FILES_OF_A_JOB]


async def has_records(library: Library, document_id: UUID, count: int) -> bool:
    return len(await records_of_removal(library, document_id)) == count


async def test_a_deletion_leaves_other_documents_alone(library: Library) -> None:
    gone = await library.bring_in("Willows by the river.")
    kept = await library.bring_in("Willows by the pond.")
    async with library.lane.transaction(library.context) as tx:
        await delete_document(tx, gone.document_id)
        assert [one.document_id for one in (await list_documents(tx)).data] == [kept.document_id]
    answer = await library.ask("willows", Method.HYBRID)
    assert [result.document_id for result in answer.data] == [kept.document_id]


async def test_a_deletion_takes_an_admin(library: Library) -> None:
    document = await library.bring_in("Willows.")
    before = await library.counts()
    with pytest.raises(Forbidden, match="admin"):
        async with library.lane.transaction(library.acting(Role.MEMBER)) as tx:
            await delete_document(tx, document.document_id)
    assert await library.counts() == before


async def test_another_workspace_cannot_delete(library: Library, other_context: Context) -> None:
    document = await library.bring_in("Willows.")
    foreign = library.acting(Role.OWNER, other_context.workspace_id)
    with pytest.raises(NotFound):
        async with library.lane.transaction(foreign) as tx:
            await delete_document(tx, document.document_id)
    assert (await library.document(document.document_id)).chunks == 1


async def test_pages_of_documents_follow_one_another(library: Library) -> None:
    ids = [(await library.upload(f"Page {n}".encode(), filename="a.txt")).document_id for n in range(5)]
    seen, after = [], None
    async with library.lane.transaction(library.context) as tx:
        while True:
            page = await list_documents(tx, after, 2)
            seen += [one.document_id for one in page.data]
            after = page.next_cursor
            if after is None:
                break
    assert seen == ids[::-1]

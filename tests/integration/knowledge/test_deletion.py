"""A deletion takes everything along, and its receipt says how much that was."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context, Role
from datalane.engine.handlers import Job
from datalane.engine.jobs import list_jobs
from datalane.errors import Forbidden, NotFound
from datalane.knowledge.documents.service import delete_document, list_documents
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
    after = await library.counts()
    assert {table: after[table] for table in GONE} == dict.fromkeys(GONE, 0)
    for method in Method:
        assert (await library.ask("willows", method)).data == []


async def test_the_originals_are_removed_by_a_job(idle_library: Library) -> None:
    library = idle_library
    uploaded = await library.upload(b"Willows.", filename="a.txt")
    assert await library.stored_files() == 1
    async with library.lane.transaction(library.context) as tx:
        await delete_document(tx, uploaded.document_id)
        jobs = await list_jobs(tx, kind="document.delete_file")
    assert len(jobs) == 1
    shared = {field.name: getattr(jobs[0], field.name) for field in fields(Job) if hasattr(jobs[0], field.name)}
    job = Job(
        **{**shared, "lease_token": 1, "actor_id": library.context.actor_id, "causation_id": None, "causation_depth": 0}
    )
    remove = library.lane.handlers.get("document.delete_file").function
    for _ in range(2):  # a job may run more than once
        await remove(job)
    assert await library.stored_files() == 0


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

"""What rules may do with documents: the action leaves a job, and the job brings the document in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.integration.knowledge.library import Library, a_job

from datalane.contracts.context import Role
from datalane.engine.actions import ActionCall, Actions
from datalane.errors import DatalaneError, InvalidInput, LimitExceeded
from datalane.kit.ids import uuid7
from datalane.kit.outbound import FetchRefused
from datalane.knowledge.documents.actions import BRING, Bringing, register_actions
from datalane.knowledge.methods import Method


@pytest.fixture
def actions() -> Actions:
    known = Actions()
    register_actions(known)
    return known


async def call(library: Library, actions: Actions, run: ActionCall | None = None, **arguments: Any) -> str:
    """Call the action as a run does; the id of the job that it leaves."""
    run = run or ActionCall(uuid7(), 0, uuid7())
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        read = actions.read("document.ingest", arguments)
        done = await actions.get("document.ingest").run(tx, read, run)
    return str(done["job_id"])


async def test_a_text_becomes_a_document_and_another_text_of_its_source_the_next_version(
    library: Library, actions: Actions
) -> None:
    for text in ("Herons stand in the reeds.", "Herons fly away."):
        await call(library, actions, text=text, title="Herons", source_uri="till:7", tags=["birds"])
        [(event_type, document_id)] = await library.through()
        assert event_type == "document.ingested"
    document = await library.document(UUID(document_id))
    assert (document.version, document.title, document.tags) == (2, "Herons", ["birds"])
    assert await library.count("documents") == 1
    assert [one.text for one in (await library.ask("herons", Method.KEYWORD)).data] == ["Herons fly away."]
    [(by,)] = await library.fetch("SELECT DISTINCT created_by_actor_id FROM datalane.documents")
    assert by == library.context.actor_id


async def test_an_action_that_is_called_again_leaves_one_job(idle_library: Library, actions: Actions) -> None:
    run = ActionCall(uuid7(), 3, uuid7())
    jobs = {await call(idle_library, actions, run, text="Herons.") for _ in range(3)}
    assert len(jobs) == 1
    assert await idle_library.count("documents") == 0


async def test_a_job_that_comes_again_makes_no_second_document(idle_library: Library) -> None:
    knowledge = idle_library.knowledge
    bringing = Bringing(idle_library.lane.database, knowledge.files, knowledge.fetching, knowledge.writing)
    for _ in range(3):
        await bringing.bring(a_job(idle_library.acting(), BRING, {"text": "Herons.", "title": "Herons"}))
    assert (await idle_library.count("documents"), await idle_library.count("document_versions")) == (1, 1)
    assert await idle_library.stored_files() == 1, "what was kept again has gone again"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, InvalidInput),
        ({"text": "a", "url": "https://example.com"}, InvalidInput),
        ({"url": "https://example.com", "source_uri": "till:7"}, InvalidInput),
        ({"text": ""}, InvalidInput),
        ({"text": "a\x00b"}, InvalidInput),
        ({"text": "a", "document_id": str(uuid7())}, InvalidInput),
        ({"text": "a", "title": "x" * 501}, InvalidInput),
        ({"text": "a", "tags": ["x"] * 51}, LimitExceeded),
        ({"text": "x" * 300_000}, LimitExceeded),
        ({"url": "file:///etc/passwd"}, FetchRefused),
    ],
)
async def test_what_is_no_document_is_refused_by_the_action_and_leaves_no_job(
    idle_library: Library, actions: Actions, arguments: dict[str, Any], error: type[DatalaneError]
) -> None:
    with pytest.raises(error):
        await call(idle_library, actions, **arguments)
    assert await idle_library.count("jobs") == 0


async def test_an_address_inside_is_not_fetched(idle_library: Library) -> None:
    knowledge = idle_library.knowledge
    bringing = Bringing(idle_library.lane.database, knowledge.files, knowledge.fetching, knowledge.writing)
    with pytest.raises(FetchRefused):
        await bringing.bring(a_job(idle_library.acting(), BRING, {"url": "http://127.0.0.1:1/"}))
    assert await idle_library.stored_files() == 0

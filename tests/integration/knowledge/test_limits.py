"""The limits of documents are the settings', and past one the answer names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import a_context
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.site import Site, open_site

from datalane.contracts.context import Role
from datalane.db.provision import Prepared
from datalane.errors import InvalidInput
from datalane.knowledge.methods import Method
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Limits, Settings

LIMITS = Limits(title_characters=20, chunks_per_document=2, page_size=3, tags=2)
LONG_TITLE = "t" * 21
TWO_CHUNKS = b"A line of text.\n\n" * 200
THREE_CHUNKS = TWO_CHUNKS * 2


@pytest.fixture
async def site(library: Library) -> AsyncIterator[Site]:
    async with open_site(library) as opened:
        yield opened


@pytest.fixture
async def idle_library(urls: Prepared, tmp_path: Path) -> AsyncIterator[Library]:
    settings, lane = Settings(home=tmp_path, limits=LIMITS), Lane()
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
        knowledge.register(lane.handlers, lane.database)
        yield Library(lane, knowledge, a_context(role=Role.OWNER))


async def nothing_is_kept(library: Library) -> bool:
    return set((await library.counts()).values()) == {0} and await library.stored_files() == 0


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


async def test_a_title_over_the_limit_is_refused_by_the_library_before_anything_is_kept(idle_library: Library) -> None:
    await idle_library.upload(b"text", filename="a.txt", title=LONG_TITLE[:20])
    before = await idle_library.counts(), await idle_library.stored_files()
    with pytest.raises(
        InvalidInput, match=r"has 21 characters, the limit is 20 \(limits\.title_characters\)"
    ) as caught:
        await idle_library.upload(b"other text", filename="b.txt", title=LONG_TITLE)
    assert [error["field"] for error in caught.value.errors] == ["title"]
    assert (await idle_library.counts(), await idle_library.stored_files()) == before


@pytest.mark.parametrize("route", ["upload", "index-chunks"])
async def test_a_title_over_the_limit_is_422_naming_it(site: Site, route: str) -> None:
    if route == "upload":
        answer = await site.upload(title=LONG_TITLE)
    else:
        answer = await site.post("/retrieval/index-chunks", json={"text": "short", "source_title": LONG_TITLE})
    assert problem(answer) == (422, "the title has 21 characters, the limit is 20 (limits.title_characters)")
    assert [error["field"] for error in answer.json()["errors"]] == ["title"]
    assert await nothing_is_kept(site.library)


async def test_a_file_name_that_is_too_long_is_the_callers_fault(site: Site) -> None:
    answer = await site.upload(name="n" * 500 + ".txt")
    assert problem(answer) == (
        422,
        "the file is described wrongly: filename: String should have at most 500 characters",
    )
    assert await nothing_is_kept(site.library)


async def test_a_title_inside_a_file_is_cut_to_the_limit(library: Library) -> None:
    await library.bring_in(b"# " + b"h" * 40 + b"\n\nbody", filename="a.md")
    assert (await library.ask("body", Method.KEYWORD)).data[0].source_title == "h" * 20


async def test_a_document_of_too_many_chunks_fails_with_its_class_and_leaves_nothing_half_written(
    library: Library,
) -> None:
    document = await library.bring_in(THREE_CHUNKS)
    assert (document.ingestion.status, document.ingestion.error_class) == ("failed", "too_many_chunks")
    assert "more than 2 chunks" in str(document.ingestion.error_message)
    assert "limits.chunks_per_document" in str(document.ingestion.error_message)
    left = {table: count for table, count in (await library.counts()).items() if count}
    assert left == {"documents": 1, "document_versions": 1}
    assert (await library.bring_in(TWO_CHUNKS)).chunks == 2


async def test_a_new_version_of_too_many_chunks_leaves_the_old_one_as_it_was(library: Library) -> None:
    document = await library.bring_in("The granary stores barley.")
    before = await library.counts()
    after = await library.bring_in(THREE_CHUNKS, document_id=document.document_id)
    assert (after.ingestion.error_class, after.current_version_id) == ("too_many_chunks", document.current_version_id)
    assert await library.counts() == {**before, "document_versions": 2}
    assert len((await library.ask("granary", Method.KEYWORD)).data) == 1


async def test_a_text_that_is_indexed_directly_is_held_to_the_limit_of_chunks(site: Site) -> None:
    answer = await site.post("/retrieval/index-chunks", json={"text": THREE_CHUNKS.decode()})
    assert problem(answer)[0] == 413
    assert "limits.chunks_per_document" in problem(answer)[1]
    spans = [{"start_offset": place, "end_offset": place + 1} for place in range(3)]
    answer = await site.post("/retrieval/index-chunks", json={"text": "abc", "chunks": spans})
    assert problem(answer) == (413, "3 chunks, the limit of a document is 2 (limits.chunks_per_document)")
    assert await nothing_is_kept(site.library)


async def test_the_callers_own_chunks_count_and_not_those_the_lane_would_draw(site: Site) -> None:
    spans = [{"start_offset": 0, "end_offset": len(THREE_CHUNKS)}]
    answer = await site.post("/retrieval/index-chunks", json={"text": THREE_CHUNKS.decode(), "chunks": spans})
    assert answer.status_code == 201, answer.text
    assert answer.json()["chunks"] == 1


async def test_tags_of_a_text_that_is_indexed_directly_are_held_to_their_limit(site: Site) -> None:
    answer = await site.post("/retrieval/index-chunks", json={"text": "short", "tags": ["a", "b", "c"]})
    assert problem(answer) == (413, "3 tags, the limit is 2")


@pytest.mark.parametrize("path", ["/documents/list", "/workspaces/members/list", "/api-keys/list"])
async def test_a_page_has_at_most_as_many_rows_as_the_setting_says(site: Site, path: str) -> None:
    assert (await site.get(path, page_size=4)).status_code == 422
    answer = await site.get(path)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    assert page["page_size"] == 3


async def test_the_reference_of_the_api_states_the_limit_of_a_title(site: Site) -> None:
    api = (await site.client.get("/openapi.json")).json()
    (form,) = [schema for name, schema in api["components"]["schemas"].items() if name.startswith("Body_upload")]
    assert form["properties"]["title"]["maxLength"] == 20

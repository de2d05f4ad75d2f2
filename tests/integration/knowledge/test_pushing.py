"""Documents that connectors push, and withdraw, by their source."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.site import Site, open_site

SOURCE = "cms:page/7"


@pytest.fixture
async def site(library: Library) -> Any:
    async with open_site(library) as opened:
        yield opened


async def push(site: Site, data: bytes, who: str = "owner", source: str = SOURCE, **form: Any) -> httpx.Response:
    files = {"file": ("page.txt", data)}
    return await site.post("/documents/push", who, files=files, data={"source_uri": source, **form})


async def pushed(site: Site, data: bytes, **form: Any) -> dict[str, Any]:
    """What is answered, when it is ingested."""
    answer = await push(site, data, **form)
    assert answer.status_code == 202, answer.text
    if answer.json()["created"]:
        await site.library.through()
    return dict(answer.json())


async def found(site: Site, words: str, **filters: Any) -> list[str]:
    asked = {"query": words, "method": "keyword", **({"filters": filters} if filters else {})}
    return [result["text"] for result in (await site.post("/retrieval/query", json=asked)).json()["data"]]


async def test_a_source_is_one_document_and_other_bytes_are_its_next_version(site: Site) -> None:
    first = await pushed(site, b"Herons of yesterday.")
    again = await pushed(site, b"Herons of yesterday.")
    newer = await pushed(site, b"Herons of today.")
    assert (again["created"], newer["created"]) == (False, True)
    assert {first["document_id"], again["document_id"]} == {newer["document_id"]}
    assert await found(site, "herons") == ["Herons of today."], "nothing stale is found"
    back = await pushed(site, b"Herons of yesterday.")
    assert (back["created"], await found(site, "herons")) == (True, ["Herons of yesterday."])


async def test_another_source_is_another_document_also_with_the_same_bytes(site: Site) -> None:
    one, other = await pushed(site, b"Herons."), await pushed(site, b"Herons.", source="cms:page/8")
    assert one["document_id"] != other["document_id"]


async def test_tags_and_metadata_become_what_is_said_and_stay_where_nothing_is(site: Site) -> None:
    await pushed(site, b"Herons.", tags=["draft"], metadata='{"year": 2024}')
    await pushed(site, b"Herons.", tags=["public"])
    assert await found(site, "herons", tags={"any": ["draft"]}) == []
    assert await found(site, "herons", tags={"any": ["public"]}, metadata={"year": 2024}) == ["Herons."]
    await pushed(site, b"More herons.", metadata='{"year": 2025}')
    assert await found(site, "herons", tags={"any": ["public"]}, metadata={"year": 2025}) == ["More herons."]
    await pushed(site, b"Last herons.")
    assert await found(site, "herons", tags={"any": ["public"]}, metadata={"year": 2025}) == ["Last herons."]


async def test_pushes_of_one_source_at_once_are_one_document(site: Site) -> None:
    answers = await asyncio.gather(*(push(site, f"Herons {n}.".encode()) for n in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["document_id"] for answer in answers}) == 1
    await site.library.through(8)
    assert await site.library.count("documents") == 1
    assert len(await found(site, "herons")) == 1, "one version is current"


async def test_an_upload_is_not_taken_for_a_push_unless_it_is_named(site: Site) -> None:
    uploaded = await site.bring_in(b"Herons.", source_uri=SOURCE)
    same = await pushed(site, b"Herons.", tags=["public"])
    assert same["document_id"] == uploaded["document_id"], "it holds the same bytes"
    assert await found(site, "herons", tags={"any": ["public"]}) == ["Herons."]
    other = await site.bring_in(b"Owls.", source_uri="cms:page/8")
    apart = await pushed(site, b"More owls.", source="cms:page/8")
    assert apart["document_id"] != other["document_id"]
    named = await pushed(site, b"All owls.", source="cms:page/8", document_id=other["document_id"])
    later = await pushed(site, b"Last owls.", source="cms:page/8")
    assert {named["document_id"], later["document_id"]} == {other["document_id"]}


async def test_what_is_withdrawn_is_gone_and_may_come_back(site: Site) -> None:
    first = await pushed(site, b"Herons.")
    gone = await site.post("/documents/withdraw", json={"source_uri": SOURCE})
    assert (gone.status_code, gone.json()["document_id"]) == (200, first["document_id"])
    assert await found(site, "herons") == []
    assert (await site.post("/documents/withdraw", json={"source_uri": SOURCE})).status_code == 404
    assert (await pushed(site, b"Herons."))["document_id"] != first["document_id"]


async def test_a_source_of_another_workspace_is_not_there(site: Site) -> None:
    first = await pushed(site, b"Herons.")
    other = await push(site, b"Owls.", "stranger")
    assert (other.status_code, other.json()["document_id"] != first["document_id"]) == (202, True)
    await site.library.through()
    await pushed(site, b"Herons.", source="cms:page/9")
    assert (await site.post("/documents/withdraw", "stranger", json={"source_uri": "cms:page/9"})).status_code == 404
    assert await found(site, "herons") == ["Herons.", "Herons."]


@pytest.mark.parametrize("source", ["", "x" * 2_001, "a\x00b"])
async def test_a_source_that_cannot_be_one_is_refused_and_nothing_is_kept(site: Site, source: str) -> None:
    answer = await push(site, b"Herons.", source=source)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert (await site.library.count("documents"), await site.library.stored_files()) == (0, 0)


async def test_a_viewer_pushes_nothing_and_a_member_withdraws_nothing(site: Site) -> None:
    assert (await push(site, b"Herons.", "viewer")).status_code == 403
    assert (await push(site, b"Herons.", "member")).status_code == 202
    await site.library.through()
    refused = await site.post("/documents/withdraw", "member", json={"source_uri": SOURCE})
    assert (refused.status_code, await found(site, "herons")) == (403, ["Herons."])

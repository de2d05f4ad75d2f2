"""A document from a URL, over HTTP: fetched, kept and ingested as an upload, or refused with nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.site import Site, open_site
from tests.unit.test_outbound import HERE, MOST, always, answering, said

from datalane.kit.outbound import Outbound
from datalane.knowledge.documents.fetching import AT_ONCE, Fetching

PAGE = (
    b"<html><head><title>Herons</title></head><body><main><p>Herons stand still in the reeds.</p></main></body></html>"
)


@pytest.fixture
async def site(library: Library) -> AsyncIterator[Site]:
    """It may fetch from this machine."""
    fetching = Fetching(Outbound(HERE, timedelta(seconds=5)))
    async with open_site(library, replace(library.knowledge, fetching=fetching)) as opened:
        yield opened


async def test_a_page_is_fetched_ingested_and_found_with_its_url_as_source(site: Site) -> None:
    async with answering(always(said(PAGE, "200 OK", "Content-Type: text/html; charset=utf-8"))) as (at, _):
        url = f"http://{at}/birds/index.php"
        body = {"url": url, "tags": ["birds"], "metadata": {"year": 2024}}
        answer = await site.post("/documents/fetch", json=body)
        assert answer.status_code == 202, answer.text
        await site.library.through()
        document = (await site.get(f"/documents/{answer.json()['document_id']}")).json()
    assert (document["source_uri"], document["title"], document["tags"]) == (url, "Herons", ["birds"])
    found = await site.post("/retrieval/query", json={"query": "reeds", "method": "keyword"})
    assert [(result["source_uri"], result["source_title"]) for result in found.json()["data"]] == [(url, "Herons")]


async def test_the_same_bytes_of_the_same_url_are_one_document_and_others_its_next_version(site: Site) -> None:
    body = b"The first text."

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(said(body, "200 OK", "Content-Type: text/plain"))

    async with answering(answer) as (at, _):
        url = {"url": f"http://{at}/note.txt"}
        first = (await site.post("/documents/fetch", json=url)).json()
        await site.library.through()
        again = (await site.post("/documents/fetch", json=url)).json()
        body = b"The second text."
        newer = await site.post("/documents/fetch", json=url)
        await site.library.through()
    assert (again["document_id"], again["created"]) == (first["document_id"], False)
    assert (newer.json()["document_id"], newer.json()["version_id"] != first["version_id"]) == (
        first["document_id"],
        True,
    )


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://169.254.169.254/latest/meta-data", 422, "fetch_refused"),
        ("http://127.0.0.2:5432/", 422, "fetch_refused"),
        ("file:///etc/passwd", 422, "fetch_refused"),
        ("http://127.0.0.1:1/", 502, "fetch_failed"),
        ("", 422, "invalid_input"),
    ],
)
async def test_a_url_that_gives_nothing_is_told_and_nothing_is_kept(
    site: Site, url: str, status: int, code: str
) -> None:
    answer = await site.post("/documents/fetch", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await site.library.count("documents"), await site.library.stored_files()) == (0, 0)


async def test_a_viewer_makes_the_lane_ask_nobody(site: Site) -> None:
    async with answering(always(said(b"words"))) as (at, asked):
        answer = await site.post("/documents/fetch", "viewer", json={"url": f"http://{at}/"})
    assert (answer.status_code, asked) == (403, [])


async def test_a_slow_source_holds_up_its_own_workspace_only(site: Site) -> None:
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/slow"):
            entered.release()
            await leave.wait()
        writer.write(said(path.encode(), "200 OK", "Content-Type: text/plain"))

    async with answering(answer) as (at, _):
        slow = [
            asyncio.create_task(site.post("/documents/fetch", json={"url": f"http://{at}/slow{number}"}))
            for number in range(AT_ONCE)
        ]
        for _ in slow:
            await entered.acquire()
        mine = await site.post("/documents/fetch", json={"url": f"http://{at}/quick"})
        theirs = await site.post("/documents/fetch", "stranger", json={"url": f"http://{at}/quick"})
        leave.set()
        answers = await asyncio.gather(*slow)
        after = await site.post("/documents/fetch", json={"url": f"http://{at}/quick"})
    assert (mine.status_code, mine.headers["Retry-After"], theirs.status_code) == (429, "1", 202)
    assert [answer.status_code for answer in (*answers, after)] == [202] * (AT_ONCE + 1)


async def test_a_document_over_the_limit_is_cut_off_and_not_kept(library: Library) -> None:
    library.lane.settings.limits.upload = MOST
    fetching = Fetching(Outbound(HERE))
    async with open_site(library, replace(library.knowledge, fetching=fetching)) as site:
        async with answering(always(said(b"x" * (MOST + 1)))) as (at, _):
            answer = await site.post("/documents/fetch", json={"url": f"http://{at}/"})
        assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")
        assert await library.stored_files() == 0

"""Knowledge over HTTP, through the real application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.runs import a_run, judged_results
from tests.integration.knowledge.site import TEXT, Site, calling, open_site

from datalane.engine.jobs import enqueue
from datalane.kit.cursors import Cursors
from datalane.kit.ids import uuid7
from datalane.knowledge.confidence.service import calibrate
from datalane.knowledge.evaluation.service import record_run
from datalane.knowledge.files import FileStore


@pytest.fixture
async def site(library: Library) -> AsyncIterator[Site]:
    async with open_site(library) as opened:
        yield opened


def without_correlation(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    body = answer.json()
    assert body.pop("correlation_id") == answer.headers["x-correlation-id"]
    return answer.status_code, body


async def test_upload_query_cite_and_verify(site: Site) -> None:
    uploaded = await site.bring_in(title="Birds", source_uri="file:herons", tags=["reeds", "birds"])
    document = (await site.get(f"/documents/{uploaded['document_id']}", "viewer")).json()
    assert (document["ingestion"]["status"], document["tags"], document["chunks"]) == (
        "completed",
        ["reeds", "birds"],
        1,
    )
    for method in ("semantic", "keyword", "hybrid"):
        answer = await site.post("/retrieval/query", "viewer", json={"query": "herons", "method": method})
        assert answer.status_code == 200
        result = answer.json()["data"][0]
        assert (result["source_title"], result["retrieval_method"]) == ("Birds", method)
        assert result["workspace_id"] == str(site.workspace_id)
        assert result["correlation_id"] == answer.headers["x-correlation-id"]
    citation = {"chunk_id": result["chunk_id"], "confidence_score": 0.6, "evidence_type": "supporting"}
    body = {"segments": [{"text": "They stand still.", "citations": [citation]}]}
    created = await site.post("/retrieval/citations", "member", json=body)
    assert created.status_code == 201, created.text
    listed = await site.get("/retrieval/citations", "viewer", response_id=created.json()["response_id"])
    cited = listed.json()["data"][0]
    assert (cited["quote"], cited["verified"], cited["confidence_band"]) == (TEXT.decode(), True, "medium")


async def test_what_an_upload_says_of_a_document_is_what_a_query_filters_by(site: Site) -> None:
    await site.bring_in(b"Herons in the reeds.", tags=["reeds"], metadata='{"year": 2024, "draft": false}')
    body = {"text": "Herons by the sea.", "tags": ["sea"], "metadata": {"year": 2023}}
    assert (await site.post("/retrieval/index-chunks", "member", json=body)).status_code == 201
    for filters, found in (
        ({"tags": {"any": ["sea", "reeds"]}}, {"Herons in the reeds.", "Herons by the sea."}),
        ({"metadata": {"year": 2024, "draft": False}}, {"Herons in the reeds."}),
        ({"metadata": {"year": 2023}}, {"Herons by the sea."}),
        ({"metadata": {"year": 1}}, set()),
    ):
        asked = {"query": "herons", "filters": filters, "highlight": True, "neighbours": 1}
        answer = await site.post("/retrieval/query", "viewer", json=asked)
        assert answer.status_code == 200, answer.text
        assert {result["text"] for result in answer.json()["data"]} == found
        for result in answer.json()["data"]:
            assert (result["matched_terms"], result["surroundings"]["text"]) == (["heron"], result["text"])
            assert result["highlights"] == [{"start_offset": 0, "end_offset": 6}]


@pytest.mark.parametrize("metadata", ["[1]", "1", "{", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\u0000"}', "null"])
async def test_metadata_that_is_no_object_is_refused_and_leaves_nothing(site: Site, metadata: str) -> None:
    answer = await site.upload(metadata=metadata)
    assert answer.status_code == 422, answer.text
    assert "metadata" in answer.json()["detail"]
    assert all(error["field"].startswith("metadata") for error in answer.json().get("errors", []))
    assert set((await site.library.counts()).values()) == {0}
    assert await site.library.stored_files() == 0


async def test_a_filter_that_is_unknown_is_named(site: Site) -> None:
    answer = await site.post("/retrieval/query", json={"query": "herons", "filters": {"tag": {"any": ["a"]}}})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["body.filters.tag"]


async def test_a_viewer_reads_and_does_not_write(site: Site) -> None:
    assert (await site.upload(who="viewer")).status_code == 403
    segments = {"segments": [{"text": "x"}]}
    assert (await site.post("/retrieval/citations", "viewer", json=segments)).status_code == 403
    assert (await site.post("/retrieval/index-chunks", "viewer", json={"text": "x"})).status_code == 403
    assert (await site.get("/documents/list", "viewer")).status_code == 200
    assert set((await site.library.counts()).values()) == {0}
    assert await site.library.stored_files() == 0


async def test_only_admins_delete(site: Site) -> None:
    document_id = (await site.bring_in())["document_id"]
    path = f"/documents/{document_id}"
    assert (await site.client.delete(path, headers=await site.known("member"))).status_code == 403
    receipt = await site.client.delete(path, headers=await site.known("admin"))
    assert receipt.status_code == 200
    counts = {"versions": 1, "chunks": 1, "vectors": 1, "postings": 4, "files": 1}
    assert receipt.json() == {"document_id": document_id, **counts}
    assert (await site.get(path)).status_code == 404


async def test_a_stranger_cannot_tell_a_foreign_thing_from_a_missing_one(site: Site) -> None:
    document_id = (await site.bring_in())["document_id"]
    chunk_id = (await site.post("/retrieval/query", json={"query": "herons"})).json()["data"][0]["chunk_id"]
    nothing = str(uuid7())
    for foreign, missing in (
        (await site.get(f"/documents/{document_id}", "stranger"), await site.get(f"/documents/{nothing}", "stranger")),
        (
            await site.upload(b"mine", "stranger", document_id=document_id),
            await site.upload(b"mine", "stranger", document_id=nothing),
        ),
        (await _cite(site, chunk_id), await _cite(site, nothing)),
    ):
        assert without_correlation(foreign) == without_correlation(missing)
        assert foreign.status_code == 404
    answer = await site.post("/retrieval/query", "stranger", json={"query": "herons"})
    assert answer.json()["data"] == []
    assert await site.library.stored_files() == 1


async def _cite(site: Site, chunk_id: str) -> httpx.Response:
    citation = {"chunk_id": chunk_id, "confidence_score": 1}
    return await site.post(
        "/retrieval/citations", "stranger", json={"segments": [{"text": "x", "citations": [citation]}]}
    )


async def test_a_repeated_upload_with_its_key_is_answered_from_store(site: Site) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first = await site.upload(headers=key)
    second = await site.upload(headers=key)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert await site.library.count("documents") == 1
    assert (await site.upload(b"other bytes", headers=key)).status_code == 422


async def test_a_duplicate_upload_says_that_it_is_one(site: Site) -> None:
    first, second = (await site.upload()).json(), (await site.upload()).json()
    assert (first["created"], second["created"]) == (True, False)
    assert first["document_id"] == second["document_id"]
    assert await site.library.stored_files() == 1


async def test_wrong_queries_are_problems(site: Site) -> None:
    for body, status in (
        ({"query": "x" * 100_000}, 413),
        ({"query": ""}, 422),
        ({"query": "x", "limit": 101}, 422),
        ({"query": "x", "method": "telepathy"}, 422),
        ({"query": "\x00"}, 422),
    ):
        answer = await site.post("/retrieval/query", json=body)
        assert answer.status_code == status, body
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "code", "correlation_id"} <= answer.json().keys()


async def test_a_lone_surrogate_in_json_is_a_problem(site: Site) -> None:
    for path, body in (
        ("/retrieval/query", b'{"query": "half \\ud800"}'),
        ("/retrieval/index-chunks", b'{"text": "half \\ud800"}'),
        ("/retrieval/citations", b'{"segments": [{"text": "half \\ud800"}]}'),
    ):
        answer = await site.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (path, answer.text)


async def test_nul_in_what_is_stored_is_a_problem(site: Site) -> None:
    answer = await site.post("/retrieval/citations", json={"segments": [{"text": "a\x00b"}]})
    assert answer.status_code == 422
    assert await site.library.count("responses") == 0


async def test_stop_words_alone_are_an_empty_answer(site: Site) -> None:
    await site.bring_in()
    answer = await site.post("/retrieval/query", json={"query": "in the", "method": "keyword"})
    assert (answer.json()["data"], answer.json()["keyword_terms_found"]) == ([], False)


async def test_a_failed_document_shows_its_class(site: Site) -> None:
    uploaded = await site.bring_in(b"", name="empty.txt")
    ingestion = (await site.get(f"/documents/{uploaded['document_id']}")).json()["ingestion"]
    assert (ingestion["status"], ingestion["error_class"], ingestion["attempt_count"]) == ("failed", "empty_file", 1)


async def test_a_page_over_the_limit_is_an_error(site: Site) -> None:
    assert (await site.get("/documents/list", page_size=101)).status_code == 422


async def test_indexed_text_is_searchable_when_the_answer_arrives(site: Site) -> None:
    made = await site.post(
        "/retrieval/index-chunks", "member", json={"text": "Kingfishers dive.", "source_title": "Blue"}
    )
    assert made.status_code == 201, made.text
    answer = await site.post("/retrieval/query", json={"query": "kingfishers", "method": "keyword"})
    assert answer.json()["data"][0]["document_id"] == made.json()["document_id"]


async def test_citations_need_one_id(site: Site) -> None:
    assert (await site.get("/retrieval/citations")).status_code == 422
    both = {"response_id": str(uuid7()), "citation_id": str(uuid7())}
    assert (await site.get("/retrieval/citations", **both)).status_code == 422


async def test_a_full_disk_is_said_and_nothing_is_half_written(site: Site, full_disk: Path) -> None:
    knowledge = replace(site.library.knowledge, files=FileStore(full_disk.as_uri()))
    async with calling(site.library, knowledge) as client:
        files = {"file": ("a.txt", b"x" * 1_000_000)}
        answer = await client.post("/documents/upload", files=files, headers=await site.known("member"))
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert "disk is full" in answer.json()["detail"]
    assert set((await site.library.counts()).values()) == {0}
    assert [path for path in full_disk.rglob("*") if path.is_file()] == []


async def fill(site: Site) -> dict[str, str]:
    """Three of everything that is listed in pages; the key under which each list's rows are known."""
    for who in ("viewer", "member"):
        await site.known(who)
    for number in range(3):
        await site.bring_in(f"Page {number}".encode(), name=f"{number}.txt")
        await site.post("/api-keys/create", json={"name": f"key {number}"})
        async with site.library.lane.transaction(site.library.acting(workspace_id=site.workspace_id)) as tx:
            run = await record_run(tx, a_run({"q": 0.5}))
            await calibrate(tx, run.run_id, judged_results())
            await enqueue(tx, "work.of.nobody")
        found = await site.post("/retrieval/query", json={"query": f"page {number}"})
        evidence = {"chunk_id": found.json()["data"][0]["chunk_id"], "confidence_score": 0.5}
        said = {"segments": [{"text": "Nobody knows.", "citations": [evidence]}]}
        cited = await site.post("/retrieval/citations", json=said)
        suppressed = {"citation_id": cited.json()["citations"][0]["citation_id"], "category": "privacy"}
        assert (await site.post("/retrieval/citations/suppress", json=suppressed)).status_code == 201
        opinion = {"response_id": cited.json()["response_id"], "rating": "down"}
        assert (await site.post("/feedback/give", json=opinion)).status_code == 201
    await site.post("/workspaces/invites/create", json={"email": "late@example.com", "role": "viewer"})
    return {
        "/documents/list": "document_id",
        "/workspaces/members/list": "user_id",
        "/workspaces/invites/list": "invite_id",
        "/api-keys/list": "key_id",
        "/jobs/list": "id",
        "/evaluations/list": "run_id",
        "/evaluations/calibrations/list": "calibration_id",
        "/feedback/list": "feedback_id",
        "/retrieval/moderations/list": "moderation_id",
        "/retrieval/queries/list": "query_id",
    }


async def test_every_list_in_pages_is_walked_by_its_cursor_and_refuses_any_other(site: Site) -> None:
    lists = await fill(site)
    document = (await site.client.get("/openapi.json")).json()
    paged = {
        path
        for path, operations in document["paths"].items()
        if any(parameter["name"] == "cursor" for parameter in operations.get("get", {}).get("parameters", []))
        and "x-permission" in operations["get"]
    }
    assert paged == set(lists), "every list in pages of a workspace is tried here"
    cursors = {}
    for path, key in lists.items():
        everything = [row[key] for row in (await site.get(path)).json()["data"]]
        page = (await site.get(path, page_size=1)).json()
        cursors[path] = page["next_cursor"]
        walked = [row[key] for row in page["data"]]
        while page["next_cursor"] is not None:
            page = (await site.get(path, page_size=1, cursor=page["next_cursor"])).json()
            walked += [row[key] for row in page["data"]]
        assert walked == everything
        assert len(walked) == 3
        assert not any(one in cursors[path] for one in everything), "a cursor is opaque"
    for path in lists:
        wrong = [*(cursor for other, cursor in cursors.items() if other != path), "", "x", str(uuid7()), "A" * 5_000]
        wrong += [cursors[path][:-1], cursors[path] + "A", cursors[path].swapcase(), "\x00", "é"]
        for cursor in wrong:
            answer = await site.get(path, cursor=cursor)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), f"{path} {cursor}"
            assert [fault["field"] for fault in answer.json()["errors"]] == ["query.cursor"]


async def test_a_cursor_of_another_workspace_gets_422_and_no_rows(site: Site) -> None:
    for path in await fill(site):
        theirs = (await site.get(path, page_size=1)).json()["next_cursor"]
        answer = await site.get(path, "stranger", cursor=theirs)
        assert answer.status_code == 422
        assert "data" not in answer.json()


async def test_a_forged_cursor_is_refused_also_in_ones_own_workspace(site: Site) -> None:
    await site.bring_in()
    place = str(UUID(int=2**128 - 1))
    forged = Cursors(b"a key of somebody else's").make("documents", site.workspace_id, place)
    answer = await site.get("/documents/list", cursor=forged)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_cursor")


async def test_whoever_had_the_key_would_still_page_through_their_own_rows_only(site: Site) -> None:
    """The signature is no part of the wall."""
    uploaded, cursors = await site.bring_in(), site.library.lane.database.cursors
    me = (await site.get("/auth/me", "stranger")).json()
    place = str(UUID(int=2**128 - 1))
    forged = cursors.make("documents", UUID(me["workspace_id"]), place)
    assert (await site.get("/documents/list", "stranger", cursor=forged)).json()["data"] == []
    forged = cursors.make("documents", site.workspace_id, place)
    assert (await site.get("/documents/list", "stranger", cursor=forged)).status_code == 422
    own = await site.get("/documents/list", cursor=forged)
    assert [row["document_id"] for row in own.json()["data"]] == [uploaded["document_id"]]

"""A key with the scope for one thing does that whole, with the records, jobs and events that the lane makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import OpenLane, Person
from tests.integration.api.test_job_routes import left, stopped

from datalane.api.app import create_app
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import domain_routers, open_runtime
from datalane.engine.registration import register
from datalane.settings import Settings

pytestmark = pytest.mark.one_database

TEXT = {"file": ("herons.txt", b"Herons in the reeds.", "text/plain")}


@pytest.fixture
async def lane(database: Database, tmp_path: Path) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings(home=tmp_path))


@pytest.fixture
async def app(lane: OpenLane) -> AsyncIterator[FastAPI]:
    async with open_runtime(lane.settings) as runtime:
        yield create_app(lane, domain_routers(runtime))


class Keys:
    """Asks with a key that has one scope and nothing else."""

    def __init__(self, client: httpx.AsyncClient, owner: Person) -> None:
        self._client = client
        self._owner = owner
        self._keys: dict[str, dict[str, str]] = {}

    async def ask(self, scope: str, path: str, method: str = "POST", **said: Any) -> Any:
        if scope not in self._keys:
            new = {"name": scope, "role": "admin", "scopes": [scope]}
            made = await self._client.post("/api-keys/create", json=new, headers=self._owner.headers)
            self._keys[scope] = {"Authorization": f"Bearer {made.json()['key']}"}
        answer = await self._client.request(method, path, headers=self._keys[scope], **said)
        assert answer.is_success, f"{scope} is not enough for {path}: {answer.text}"
        return answer.json()

    async def refused(self, scope: str, path: str, **said: Any) -> None:
        answer = await self._client.post(path, json=said, headers=self._keys[scope])
        assert (answer.status_code, "scopes" in answer.json()["detail"]) == (403, True)


@pytest.fixture
def keys(client: httpx.AsyncClient, ada: Person) -> Keys:
    return Keys(client, ada)


async def test_projects_and_items(keys: Keys) -> None:
    for noun in ("project", "item"):
        made = await keys.ask(f"{noun}.create", f"/{noun}s/create", json={"title": "A heron"})
        of = {f"{noun}_id": made[f"{noun}_id"]}
        changes = {**of, "version": 1, "changes": {"title": "Two herons"}}
        await keys.ask(f"{noun}.update", f"/{noun}s/update", json=changes)
        stale = {**changes, "changes": {"description": "by the sea"}, "on_conflict": "merge"}
        await keys.ask(f"{noun}.update", f"/{noun}s/update", json=stale)
        await keys.ask(f"{noun}.update", f"/{noun}s/transition", json={**of, "version": 3, "status": "active"})
        await keys.ask(f"{noun}.update", f"/{noun}s/delete", json={**of, "version": 4})
        restored = await keys.ask(f"{noun}.update", f"/{noun}s/restore", json={**of, "version": 5})
        assert (restored["title"], restored["description"], restored["version"]) == ("Two herons", "by the sea", 6)
    await keys.ask("item.create", "/items/bulk/create", json={"items": [{"title": "Another"}]})
    await keys.refused("item.create", "/automation/events/publish", event_type="item.seen", payload={})
    await keys.refused("item.create", "/items/fields/define", key="size", type="text")


async def test_fields_and_views(keys: Keys) -> None:
    await keys.ask("item.create", "/items/create", json={"title": "A heron", "metadata": {"size": "tall"}})
    field = await keys.ask(
        "field.define", "/items/fields/define", json={"key": "size", "type": "text", "indexed": True}
    )
    of = {"field_id": field["field_id"]}
    for number, indexed in enumerate((False, True, False), 1):
        change = {**of, "version": number, "changes": {"indexed": indexed}}
        await keys.ask("field.define", "/items/fields/change", json=change)
    renamed = await keys.ask("field.define", "/items/fields/rename", json={**of, "new_key": "height"})
    assert (renamed["key"], renamed["indexed"]) == ("height", False)
    await keys.ask("field.define", "/items/fields/remove", json=of)
    for scope, path, removing in (
        ("view.keep", "/items/views", "view.keep"),
        ("view.share", "/items/views/shared", "view.unshare"),
    ):
        new = {"name": scope, "query": {"filters": {"status": "active"}}}
        view = await keys.ask(scope, f"{path}/create", json=new)
        change = {"view_id": view["view_id"], "version": 1, "changes": {"name": f"{scope} again"}}
        changed = await keys.ask(scope, f"{path}/update", json=change)
        assert (changed["name"], changed["version"]) == (f"{scope} again", 2)
        await keys.ask(removing, f"{path}/delete", json={"view_id": view["view_id"]})


async def test_documents(keys: Keys) -> None:
    uploaded = await keys.ask("document.create", "/documents/upload", files=TEXT)
    assert uploaded["job_id"] is not None
    pushed = {"source_uri": "file:herons", "title": "Herons"}
    await keys.ask("document.create", "/documents/push", files=TEXT, data=pushed)
    await keys.ask("document.delete", f"/documents/{uploaded['document_id']}", "DELETE")
    await keys.ask("document.delete", "/documents/withdraw", json={"source_uri": "file:herons"})
    await keys.refused("document.create", "/jobs/pause", kind="document.ingest")


async def test_chunks_citations_and_models(keys: Keys) -> None:
    indexed = await keys.ask("retrieval.index", "/retrieval/index-chunks", json={"text": "Herons in the reeds."})
    assert indexed["chunks"] == 1
    [found] = (await keys.ask("retrieval.query", "/retrieval/query", json={"query": "herons"}))["data"]
    citation = {"chunk_id": found["chunk_id"], "confidence_score": 0.9}
    response = {"segments": [{"text": "They stand.", "citations": [citation]}]}
    cited = (await keys.ask("citation.create", "/retrieval/citations", json=response))["citations"][0]
    of = {"citation_id": cited["citation_id"], "reason": "a name"}
    await keys.ask("citation.moderate", "/retrieval/citations/suppress", json={**of, "category": "privacy"})
    await keys.ask("citation.moderate", "/retrieval/citations/restore", json=of)
    await keys.ask("feedback.give", "/feedback/give", json={"chunk_id": found["chunk_id"], "rating": "up"})
    models = (await keys.ask("embedding_model.read", "/embeddings/models/list", "GET"))["data"]
    [target] = [{"model_version": one["model_version"]} for one in models if one["status"] == "active"]
    for verb in ("register", "activate"):
        await keys.ask("embedding_model.change", f"/embeddings/models/{verb}", json=target)


async def test_a_workspace_and_its_jobs(keys: Keys, database: Database, ada: Person) -> None:
    renamed = await keys.ask("workspace.rename", "/workspaces/rename", json={"name": "Herons"})
    assert renamed["name"] == "Herons"
    language = {"search_language": "english"}
    await keys.ask("workspace.set_search_language", "/workspaces/search-language/set", json=language)
    head, _ = (
        await stopped(database, ada, retryable=True, order_key="line"),
        await left(database, ada, order_key="line"),
    )
    await keys.ask("job.operate", "/jobs/skip", json={"job_id": head})
    await keys.ask("job.operate", "/jobs/replay", json={"ids": [head]})
    for verb in ("pause", "resume"):
        await keys.ask("job.operate", f"/jobs/{verb}", json={"kind": "send"})
    await keys.ask("job.operate", "/jobs/cancel", json={"where": {}})

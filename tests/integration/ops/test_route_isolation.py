"""The isolation proof over HTTP: the lane's own routes hold, and faults that are put in are found and named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from datalane.cli.isolation_routes import prove_application, settings_of
from datalane.contracts.context import Context
from datalane.contracts.http import Door
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.errors import Forbidden, NotFound
from datalane.knowledge.permissions import DELETE_DOCUMENTS, READ_DOCUMENTS
from datalane.ops.isolation.cells import Verdict
from datalane.ops.isolation.report import Uncovered
from datalane.ops.isolation.route_cells import SLIPPED
from datalane.ops.isolation.routes import Portion, RouteProof

TITLES = "SELECT title FROM datalane.documents WHERE workspace_id = $1 ORDER BY title"
Prove = Callable[..., Awaitable[RouteProof]]
PROMISED = {
    *(f"POST /integrations/connectors/{verb}" for verb in ("register", "health", "revoke")),
    *("GET /integrations/connectors", "POST /automation/rules/create", "GET /automation/rules"),
    *("POST /automation/events/publish", "GET /automation/events/ingestion", "GET /automation/runs"),
    *(f"POST /webhooks/outbound/{verb}" for verb in ("enqueue", "attempt", "replay")),
    *("GET /webhooks/outbound/list", "POST /notifications/preferences/update"),
    *("GET /notifications/preferences", "GET /notifications/preferences/list"),
    *("POST /retrieval/index-chunks", "POST /retrieval/query", "POST /retrieval/citations", "GET /retrieval/citations"),
}
"""Routes that keep their names."""


@pytest.fixture
def superuser_url(cluster: EmbeddedPostgres, urls: Prepared) -> str:
    return cluster.url(urlsplit(urls.database_url).path.removeprefix("/"))


@pytest.fixture
def prove(superuser_url: str, urls: Prepared, tmp_path: Path) -> Prove:
    async def prove(*routers: Callable[[Door], APIRouter], every: int = 1) -> RouteProof:
        """The report on the routes of `routers`, or without any on the lane's own."""
        return await prove_application(
            superuser_url,
            urls.database_url,
            settings_of(tmp_path),
            routers,
            Portion(lambda route: not routers or route.path.startswith("/faulty"), every),
        )

    return prove


async def test_the_lane_s_own_routes_hold(prove: Prove) -> None:
    """One cell in thirty-two of the routes, and one mutant; the long run tries a quarter, and `isolation prove` all."""
    report = await prove(every=32)
    assert (report.leaks, report.uncovered, report.survivors) == ([], [], [])
    assert report.routes >= 70
    assert {cell.subject for cell in report.cells} >= PROMISED
    assert len(report.cells) >= 150
    assert len(report.kills) >= 20
    slipped = {cell.subject for cell in report.cells if cell.probe.startswith(SLIPPED)}
    assert len(slipped) >= 70, "what a route refuses is known before mutants of it are hunted"


class Question(BaseModel):
    workspace_id: UUID


class Named(BaseModel):
    animal: str


def faulty(superuser_url: str) -> Callable[[Door], APIRouter]:
    """A router with one fault in each of its routes."""

    def router(door: Door) -> APIRouter:
        routes = door.router(prefix="/faulty")

        @routes.get("/unguarded")
        async def unguarded(workspace_id: UUID) -> list[str]:
            async with door.transaction(Context.system(workspace_id)) as tx:
                return [row["title"] for row in await tx.fetch(TITLES, workspace_id)]

        @routes.post("/believing")
        async def believing(body: Question, context: Context = door.caller(READ_DOCUMENTS)) -> list[str]:
            async with door.transaction(replace(context, workspace_id=body.workspace_id)) as tx:
                return [row["title"] for row in await tx.fetch(TITLES, body.workspace_id)]

        @routes.get("/telling/{document_id}")
        async def telling(document_id: UUID, tx: Transaction = door.reader(READ_DOCUMENTS)) -> UUID:
            superuser = await asyncpg.connect(superuser_url)
            query = "SELECT workspace_id FROM datalane.documents WHERE document_id = $1"
            found = await superuser.fetchval(query, document_id)
            await superuser.close()
            if found is None:
                raise NotFound("no such document")
            if found != tx.workspace_id:
                raise Forbidden("this document belongs to another workspace")
            return document_id

        @routes.get("/door-only")
        async def door_only(tx: Transaction = door.reader(DELETE_DOCUMENTS)) -> str:
            return "whoever the door lets in"

        @routes.get("/unbound")
        async def unbound(tx: Transaction = door.reader(READ_DOCUMENTS)) -> int:
            return int(await tx.fetchval("SELECT count(*) FROM datalane.documents"))

        @routes.get("/broken")
        async def broken(tx: Transaction = door.reader(READ_DOCUMENTS)) -> str:
            raise NotFound("nothing here, for nobody")

        @routes.post("/unknown")
        async def unknown(body: Named, tx: Transaction = door.reader(READ_DOCUMENTS)) -> str:
            return body.animal

        @routes.get("/deaf")
        async def deaf(tx: Transaction = door.reader(READ_DOCUMENTS)) -> str:
            return "the same for every workspace"

        return routes

    return router


async def test_each_fault_is_found_and_named(prove: Prove, superuser_url: str) -> None:
    report = await prove(faulty(superuser_url))

    def told(route: str, fault: str) -> bool:
        return any(fault in leak.detail for leak in report.leaks if leak.subject == route)

    assert not report.holds
    assert told("GET /faulty/unguarded", "answered without a good credential")
    assert told("POST /faulty/believing", "of another workspace")
    assert told("GET /faulty/telling/{document_id}", "told from what does not exist: 403")
    assert told("GET /faulty/door-only", "the role is too low for document.delete, and the answer is 200")
    assert told("GET /faulty/unbound", "a query does not name the workspace: SELECT count(*)")
    assert told("GET /faulty/unbound", "not the usual answer")
    assert told("GET /faulty/broken", "too tight: the role may, and the answer is 404")
    assert report.uncovered == [Uncovered("POST /faulty/unknown", "no seed says what body.animal is")]
    assert "GET /faulty/deaf: believes a workspace_id in the request" in report.survivors
    assert {leak.key for leak in report.leaks} >= {
        ("GET /faulty/unguarded", "request", "no credential"),
        ("GET /faulty/door-only", "request, without the door's check of the role", "member"),
        ("GET /faulty/telling/{document_id}", "document_id of another workspace in path document_id", "owner"),
    }
    assert "GET /faulty/deaf" not in {leak.subject for leak in report.leaks}
    broken = next(leak for leak in report.leaks if leak.subject == "GET /faulty/broken")
    assert broken.verdict is Verdict.TOO_TIGHT

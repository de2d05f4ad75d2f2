"""What holds for every route: problems, health, logs, documentation."""

from __future__ import annotations

import errno
from dataclasses import replace
from uuid import UUID

import httpx
import psycopg
import pytest
from fastapi import APIRouter, FastAPI
from tests.integration.api.conftest import PASSWORD, Join, Log, OpenLane, Person

from datalane.api.app import create_app
from datalane.api.openapi import access_by_operation
from datalane.contracts.context import Context, Role
from datalane.contracts.http import Door
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.revision import newest_revision
from datalane.db.transaction import Transaction
from datalane.engine.permissions import PUBLISH, READ_JOBS

pytestmark = pytest.mark.one_database

MEMBERS = {"type", "title", "status", "detail", "code", "correlation_id"}


def broken_router(door: Door) -> APIRouter:
    """Routes that fail in every way a route can."""
    routes = door.router(prefix="/broken", tags=["broken"])

    @routes.post("/bug")
    async def bug(tx: Transaction = door.writer(PUBLISH)) -> None:
        await tx.execute("SELECT datalane.audit('broken.bug', 'bug', 'b')")
        raise RuntimeError("password=hunter2 in /srv/secret/place.py")

    @routes.post("/sql")
    async def sql(tx: Transaction = door.writer(PUBLISH)) -> None:
        await tx.execute("SELECT 1/0")

    @routes.post("/table")
    async def table(tx: Transaction = door.writer(PUBLISH)) -> None:
        await tx.execute("UPDATE datalane.workspaces SET name = 'x'")

    @routes.post("/nul")
    async def nul(tx: Transaction = door.writer(PUBLISH)) -> None:
        await tx.execute("SELECT $1::text", "a\x00b")

    @routes.post("/disk")
    async def disk(tx: Transaction = door.writer(PUBLISH)) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/files")

    return routes


def shelf_router(door: Door) -> APIRouter:
    """A prefix that holds a parameter."""
    routes = door.router(prefix="/shelves/{shelf}/books")

    @routes.get("/list")
    async def list_books(shelf: str, tx: Transaction = door.reader(READ_JOBS)) -> dict[str, str]:
        return {"shelf": shelf}

    return routes


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return create_app(lane, [broken_router, shelf_router])


async def test_a_router_may_have_a_parameter_in_its_prefix(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.get("/shelves/top/books/list", headers=ada.headers)
    assert (answer.status_code, answer.json()) == (200, {"shelf": "top"})


async def test_a_lane_may_stand_under_a_path_of_a_proxy(app: FastAPI, ada: Person) -> None:
    transport = httpx.ASGITransport(app, root_path="/lane")
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        for path in ("/shelves/top/books/list", "/lane/shelves/top/books/list"):
            assert (await client.get(path, headers=ada.headers)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/broken/bug", 500, "internal_error"),
        ("/broken/sql", 500, "internal_error"),
        ("/broken/table", 403, "forbidden"),
        ("/broken/nul", 422, "invalid_input"),
        ("/broken/disk", 507, "storage_full"),
    ],
)
async def test_a_failure_inside_says_nothing_about_the_inside(
    client: httpx.AsyncClient, ada: Person, path: str, status: int, code: str, log: Log
) -> None:
    answer = await client.post(path, headers=ada.headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == MEMBERS
    for inside in ("hunter2", "place.py", "division", "datalane.workspaces", "permission", "/srv"):
        assert inside not in answer.text
    if status >= 500:
        correlated = [line for line in log.lines if line["correlation_id"] == answer.json()["correlation_id"]]
        assert any("exception" in line for line in correlated), "the log has the traceback"


async def test_a_failure_inside_rolls_everything_back(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    await client.post("/broken/bug", headers=ada.headers)
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.audit_log WHERE action = 'broken.bug'") == 0


async def test_every_404_and_405_is_a_problem(client: httpx.AsyncClient) -> None:
    missing = await client.get("/no/such/path")
    assert (missing.status_code, missing.json()["code"], set(missing.json())) == (404, "not_found", MEMBERS)
    wrong = await client.get("/auth/sign-in")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert wrong.headers["content-type"] == missing.headers["content-type"] == "application/problem+json"


async def test_a_database_that_does_not_answer_is_503(lane: OpenLane, ada: Person) -> None:
    dead = await Database.connect(lane.database.url)
    await dead.close()
    transport = httpx.ASGITransport(create_app(replace(lane, database=dead)))
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        answer = await client.get("/auth/me", headers=ada.headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).json() == {"status": "alive"}


async def test_ready_means_the_schema_this_version_needs(client: httpx.AsyncClient, urls: Prepared) -> None:
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "revision": newest_revision()})
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_owner")
        connection.execute("UPDATE app.schema_version SET version_num = '0001'")
    outdated = await client.get("/readyz")
    assert (outdated.status_code, outdated.json()["code"]) == (503, "schema_outdated")


async def test_a_request_leaves_one_line_that_tells_what_happened(
    client: httpx.AsyncClient, ada: Person, log: Log
) -> None:
    answer = await client.get("/workspaces/members/list?cursor=", headers={**ada.headers, "X-Correlation-Id": "c-1"})
    assert answer.status_code == 422
    lines = [line for line in log.lines if line["event"] == "request"]
    assert len(lines) == 1
    assert isinstance(lines[0].pop("duration_ms"), float)
    assert lines[0].pop("timestamp").endswith("Z")
    assert lines[0] == {
        "event": "request",
        "component": "datalane.api",
        "service": "datalane",
        "level": "info",
        "method": "GET",
        "route": "/workspaces/members/list",
        "status": 422,
        "correlation_id": "c-1",
        "workspace_id": str(ada.workspace_id),
        "actor_id": str(ada.user_id),
    }


async def test_denied_attempts_are_logged_with_class_and_target(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join, log: Log
) -> None:
    there = await join(ada, bob, "viewer")
    await client.post("/api-keys/create", json={"name": "k"}, headers=there)
    await client.get("/auth/me", headers=bob.within(UUID(int=5)))
    await client.get("/auth/me")
    denied = [(line["denial"], line["target"]) for line in log.lines if line["event"] == "access_denied"]
    assert denied == [
        ("role", "POST /api-keys/create"),
        ("workspace", "GET /auth/me"),
        ("unauthenticated", "GET /auth/me"),
    ]


async def test_no_secret_reaches_the_log(client: httpx.AsyncClient, ada: Person, log: Log) -> None:
    key = (await client.post("/api-keys/create", json={"name": "k"}, headers=ada.headers)).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    await client.post("/auth/sign-in", json={"email": ada.email, "password": PASSWORD})
    await client.post("/broken/bug", headers=headers)
    await client.get(f"/auth/{key}", headers=headers)
    written = log.stream.getvalue()
    assert len(log.lines) >= 4
    for secret in (PASSWORD, ada.token, key.split("_", 3)[3], "hunter2"):
        assert secret not in written


async def test_the_documentation_tells_every_route_and_loads_nothing_from_elsewhere(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    page = await client.get("/docs")
    document = (await client.get("/openapi.json")).json()
    assert page.headers["content-type"].startswith("text/html")
    assert not any(outside in page.text for outside in ("<script", "http://", "https://"))
    for path in document["paths"]:
        assert path in page.text
    operations = {operation for operation in access_by_operation(app) if operation[0] != "HEAD"}
    hidden = {("GET", "/docs"), ("GET", "/openapi.json")}
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == operations - hidden


async def test_the_documentation_tells_how_to_authenticate_and_what_a_problem_is(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    create = document["paths"]["/api-keys/create"]["post"]
    assert (create["security"], create["x-role"]) == ([{"bearer": []}], "admin")
    assert {parameter["name"] for parameter in create["parameters"]} == {
        "X-Correlation-Id",
        "X-Workspace-Id",
        "Idempotency-Key",
    }
    assert "security" not in document["paths"]["/auth/sign-in"]["post"]
    assert set(document["components"]["schemas"]["Problem"]["required"]) == MEMBERS

"""Routes that are found in one look do what they do when they are looked for."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from tests.integration.api.conftest import OpenLane, Person

from datalane.api.app import create_app
from datalane.api.exact_routes import ExactRoutes
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.engine.permissions import READ_JOBS

pytestmark = pytest.mark.one_database


def _refuse() -> None:
    raise HTTPException(418, "the router's own dependency")


def _shelves(door: Door, prefix: str) -> APIRouter:
    routes = door.router(prefix=prefix)

    @routes.get("/list")
    async def list_shelves(tx: Transaction = door.reader(READ_JOBS)) -> dict[str, str]:
        return {"of": prefix}

    @routes.get("/{shelf}")
    async def get_shelf(shelf: str, tx: Transaction = door.reader(READ_JOBS)) -> dict[str, str]:
        return {"shelf": shelf}

    return routes


def plain(door: Door) -> APIRouter:
    return _shelves(door, "/shelves")


def nested(door: Door) -> APIRouter:
    """Routers in routers: as they are, under a prefix, and behind a dependency."""
    routes = APIRouter()
    routes.include_router(_shelves(door, "/inner"))
    routes.include_router(_shelves(door, "/under"), prefix="/outer")
    routes.include_router(_shelves(door, "/guarded"), dependencies=[Depends(_refuse)])
    return routes


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return create_app(lane, [plain, nested])


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/shelves/list", 200, {"of": "/shelves"}),
        ("/shelves/top", 200, {"shelf": "top"}),
        ("/inner/list", 200, {"of": "/inner"}),
        ("/outer/under/list", 200, {"of": "/under"}),
        ("/under/list", 404, None),
        ("/guarded/list", 418, None),
        ("/shelves/list/", 307, None),
    ],
)
async def test_every_path_leads_where_it_leads_without_them(
    app: FastAPI, client: httpx.AsyncClient, ada: Person, path: str, status: int, answer: dict[str, str] | None
) -> None:
    quick = await client.get(path, headers=ada.headers)
    app.router.routes.pop(0)
    slow = await client.get(path, headers=ada.headers)
    assert quick.status_code == slow.status_code == status
    assert quick.text.replace(quick.headers["x-correlation-id"], "") == slow.text.replace(
        slow.headers["x-correlation-id"], ""
    )
    assert answer is None or quick.json() == answer


async def test_another_method_is_refused_and_says_which_one_there_is(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.post("/shelves/list", headers=ada.headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_they_are_the_paths_without_parameters_that_nothing_was_added_to(app: FastAPI) -> None:
    exact = app.router.routes[0]
    assert isinstance(exact, ExactRoutes)
    assert {path for method, path in exact.known if "list" in path and method == "GET"} >= {
        *("/shelves/list", "/inner/list", "/jobs/list", "/workspaces/list")
    }
    assert not {("GET", path) for path in ("/under/list", "/guarded/list", "/shelves/{shelf}")} & exact.known

"""Datasets and evaluations over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.api.conftest import Join, OpenLane, Person, ada, bob, client, join, sign_up

from datalane.agents import routes
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.kit.ids import uuid7
from datalane.settings import Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]

CASES = [{"case_id": f"c{n:02}", "input": {"number": n}, "expected": n} for n in range(12)]


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)


async def add(client: httpx.AsyncClient, person: Person, **said: Any) -> str:
    body = {"name": "numbers", "cases": CASES, **said}
    answer = await client.post("/agents/datasets/add", json=body, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["dataset_version_id"])


def evaluation(dataset: str, *scores: Any, **said: Any) -> dict[str, Any]:
    results = [{"case_id": f"c{n:02}", "outcome": "graded", "scores": {"own": one}} for n, one in enumerate(scores)]
    graders = [{"name": "own", "scores": ["own"]}]
    return {"dataset_version_id": dataset, "agent": "helper", "graders": graders, "results": results, **said}


async def walk(client: httpx.AsyncClient, person: Person, path: str) -> list[Any]:
    """All pages of five."""
    found, cursor = [], None
    while True:
        params = {"page_size": 5, **({"cursor": cursor} if cursor else {})}
        page = (await client.get(path, params=params, headers=person.headers)).json()
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_a_dataset_is_evaluated_twice_and_compared(client: httpx.AsyncClient, ada: Person) -> None:
    dataset = await add(client, ada)
    again = {"name": "numbers", "cases": CASES[::-1]}
    answer = await client.post("/agents/datasets/add", json=again, headers=ada.headers)
    assert (answer.status_code, answer.json()["dataset_version_id"]) == (200, dataset)
    assert await walk(client, ada, f"/agents/datasets/{dataset}") == [{**case, "relevant": None} for case in CASES]
    ids = []
    for scores in ([1] * 12, [0] * 11):
        body = evaluation(dataset, *scores, thresholds={"own": 0.5})
        recorded = await client.post("/agents/evaluations/record", json=body, headers=ada.headers)
        assert recorded.status_code == 201, recorded.text
        ids.append(recorded.json()["evaluation_id"])
    listed = await walk(client, ada, "/agents/evaluations/list")
    assert [(each["evaluation_id"], each["passed"]) for each in listed] == [(ids[1], False), (ids[0], True)]
    assert listed[0] == recorded.json()
    assert [each["case_id"] for each in await walk(client, ada, f"/agents/evaluations/{ids[1]}")] == [
        f"c{n:02}" for n in range(11)
    ]
    params = {"evaluation_id": ids[1], "baseline_id": ids[0]}
    compared = (await client.get("/agents/evaluations/compare", params=params, headers=ada.headers)).json()
    assert (compared["pairs"], compared["scores"]["own"]["verdict"]) == (11, "worse")


async def test_what_cannot_be_is_refused_and_nothing_is_kept(client: httpx.AsyncClient, ada: Person) -> None:
    dataset = await add(client, ada)
    wrong: list[Any] = [
        *(evaluation(dataset, score) for score in (-0.1, 2.0, "1", None)),
        evaluation(dataset),
        evaluation(dataset, *[1] * 13),
        evaluation(dataset, 1, thresholds={"owl": 0.5}),
        evaluation(dataset, 1, thresholds={"own": 1.5}),
        evaluation(dataset, 1, coverage_threshold=0),
        evaluation(dataset, 1, workspace_id=str(uuid7())),
        {**evaluation(dataset, 1, 1), "results": evaluation(dataset, 1)["results"] * 2},
    ]
    for body in wrong:
        answer = await client.post("/agents/evaluations/record", json=body, headers=ada.headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), body
    raw = b'{"dataset_version_id": "x", "results": [{"case_id": "c00", "outcome": "graded", "scores": {"own": NaN}}]}'
    headers = {**ada.headers, "content-type": "application/json"}
    assert (await client.post("/agents/evaluations/record", content=raw, headers=headers)).status_code in (400, 422)
    assert await walk(client, ada, "/agents/evaluations/list") == []


async def test_a_stranger_finds_nothing_and_a_viewer_writes_nothing(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    dataset = await add(client, ada)
    made = await client.post("/agents/evaluations/record", json=evaluation(dataset, *[1] * 12), headers=ada.headers)
    mine = made.json()["evaluation_id"]
    reads = [f"/agents/datasets/{dataset}", f"/agents/evaluations/{mine}"]
    reads += [f"/agents/evaluations/compare?evaluation_id={mine}&baseline_id={mine}"]
    for path in reads:
        assert (await client.get(path, headers=bob.headers)).status_code == 404
    body = evaluation(dataset, 1)
    assert (await client.post("/agents/evaluations/record", json=body, headers=bob.headers)).status_code == 404
    viewer = await join(ada, bob, "viewer")
    for path in reads:
        assert (await client.get(path, headers=viewer)).status_code == 200
    for noun, said in (("evaluations/record", body), ("datasets/add", {"name": "x", "cases": CASES})):
        assert (await client.post(f"/agents/{noun}", json=said, headers=viewer)).status_code == 403

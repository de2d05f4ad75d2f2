"""Runs over HTTP, for runtimes in other languages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.agents.desk import ANYTHING
from tests.integration.api.conftest import Join, OpenLane, Person, ada, bob, client, join, sign_up

from datalane.agents import routes
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.settings import Settings

pytestmark = pytest.mark.one_database

__all__ = ["ada", "bob", "client", "join", "sign_up"]


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)


STEP = {"kind": "model", "name": "chat"}


class Runtime:
    """A runtime that acts as somebody. Every method answers the body of an answer that worked."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(f"/agents/{path}", json=body, headers=self.headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def refused(self, path: str, **body: Any) -> tuple[int, str]:
        answer = await self.client.post(f"/agents/{path}", json=body, headers=self.headers)
        return answer.status_code, answer.json()["code"]

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(f"/agents/{path}", params=query, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def hold(self, **said: Any) -> dict[str, Any]:
        begun = await self.post("runs/begin", **{"agent": "helper", "runtime": "elsewhere", **said})
        return {"run_id": begun["run_id"], "lease_token": begun["lease_token"]}


@pytest.fixture
async def runtime(client: httpx.AsyncClient, ada: Person) -> Runtime:
    return Runtime(client, ada.headers)


async def publish_tool(runtime: Runtime, name: str = "search", **said: Any) -> None:
    tool = {"tool_name": name, "description": "a", "input_schema": ANYTHING, "side_effect": "read", **said}
    await runtime.post("tools/publish", **tool)


async def test_a_runtime_elsewhere_records_a_run_from_its_beginning_to_its_end(runtime: Runtime) -> None:
    await publish_tool(runtime)
    thread = await runtime.post("threads/open", external_id="conversation 7", title="Herons")
    run = await runtime.hold(thread_id=thread["thread_id"], input={"question": "Which?"})
    step = {"kind": "model", "name": "chat", "input_tokens": 9, "output_tokens": 2, "seconds": 0.5}
    recorded = await runtime.post("runs/record-steps", **run, steps=[step, step])
    assert [each["cost"] for each in recorded["steps"]] == [None, None]
    assert (await runtime.post("runs/heartbeat", runs=[run]))["run_ids"] == [run["run_id"]]
    call = await runtime.post("tool-calls/request", **run, tool_name="search", arguments={"query": "heron"})
    assert (call["status"], call["rule_id"], call["attempt_count"]) == ("executing", "tool.default", 1)
    await runtime.post("tool-calls/succeed", **run, tool_call_id=call["tool_call_id"], result=["grey"])
    ended = await runtime.post("runs/end", **run, output="Grey ones.")
    assert (ended["status"], ended["conforms"]) == ("completed", None)
    told = await runtime.get(f"runs/{run['run_id']}")
    assert (told["input_tokens"], told["unpriced_steps"], told["cost"], told["known_cost"]) == (18, 2, None, "0")
    assert [each["to_status"] for each in told["transitions"] if each["tool_call_id"] is None][-1] == "completed"
    [listed] = (await runtime.get("runs/list", thread_id=thread["thread_id"], status="completed"))["data"]
    assert listed["run_id"] == run["run_id"]


async def test_an_attempt_that_fails_is_begun_again_over_http(runtime: Runtime) -> None:
    await publish_tool(runtime)
    run = await runtime.hold()
    call = {
        **run,
        "tool_call_id": (await runtime.post("tool-calls/request", **run, tool_name="search"))["tool_call_id"],
    }
    failed = await runtime.post("tool-calls/fail", **call, error_class="timeout", retryable=True)
    assert failed["status"] == "retrying"
    assert (await runtime.post("tool-calls/start", **call))["attempt_count"] == 2
    assert (await runtime.post("tool-calls/fail", **call, error_class="timeout"))["status"] == "failed"
    assert await runtime.refused("tool-calls/start", **call) == (409, "illegal_transition")


async def test_a_result_that_its_schema_refuses_names_what_is_wrong(runtime: Runtime) -> None:
    await publish_tool(runtime, output_schema={"type": "array", "items": {"type": "integer"}})
    run = await runtime.hold()
    call = await runtime.post("tool-calls/request", **run, tool_name="search")
    body = {**run, "tool_call_id": call["tool_call_id"], "result": ["one"]}
    answer = await runtime.client.post("/agents/tool-calls/succeed", json=body, headers=runtime.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_violation")
    assert answer.json()["errors"][0]["field"].startswith("result")


async def test_whether_the_output_conforms_is_kept(runtime: Runtime) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    version = await runtime.post("output-schemas/register", name="answer", json_schema=schema)
    for output, conforms in (({"answer": "Grey."}, True), ({"answer": 7}, False), (None, None)):
        run = await runtime.hold(output_schema_version_id=version["output_schema_version_id"])
        assert (await runtime.post("runs/end", **run, output=output))["conforms"] is conforms
        assert (await runtime.get(f"runs/{run['run_id']}"))["conforms"] is conforms


async def test_a_person_approves_over_http(runtime: Runtime) -> None:
    await publish_tool(runtime, "pay", side_effect="write", approval="always")
    run = await runtime.hold()
    asked = await runtime.post("tool-calls/request", **run, tool_name="pay", arguments={"amount": 3})
    assert asked["status"] == "requested"
    [waiting] = (await runtime.get("tool-calls/waiting"))["data"]
    assert (waiting["tool_call_id"], waiting["arguments"]) == (asked["tool_call_id"], {"amount": 3})
    resolved = await runtime.post("tool-calls/resolve", tool_call_id=asked["tool_call_id"], approve=True, reason="seen")
    taken = await runtime.post("runs/take", run_id=resolved["following_run_id"], runtime="elsewhere")
    held = {"run_id": resolved["following_run_id"], "lease_token": taken["lease_token"]}
    call = await runtime.post("tool-calls/request", **held, tool_name="pay", arguments={"amount": 3})
    assert call["status"] == "executing"
    assert (await runtime.get("tool-calls/waiting"))["data"] == []


async def test_a_stale_token_writes_nothing(runtime: Runtime) -> None:
    run = await runtime.hold()
    late = {**run, "lease_token": run["lease_token"] + 1}
    step = {"kind": "custom", "name": "late"}
    assert await runtime.refused("runs/record-steps", **late, steps=[step]) == (409, "lease_lost")
    assert await runtime.refused("runs/end", **late) == (409, "lease_lost")
    assert await runtime.refused("runs/take", run_id=run["run_id"], runtime="other") == (409, "conflict")
    assert (await runtime.get(f"runs/{run['run_id']}"))["steps"] == []


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("runs/begin", {}, "body.agent"),
        ("runs/begin", {"agent": "a\x00b"}, "body.agent"),
        ("runs/begin", {"agent": "a", "lease_seconds": 0}, "body.lease_seconds"),
        ("runs/begin", {"agent": "a", "max_attempts": 0}, "body.max_attempts"),
        ("runs/begin", {"agent": "a", "colour": "red"}, "body.colour"),
        (
            "runs/record-steps",
            {"steps": [{"kind": "model", "name": "m", "input_tokens": -1}]},
            "body.steps.0.input_tokens",
        ),
        ("runs/record-steps", {"steps": [{**STEP, "kind": "walk"}]}, "body.steps.0.kind"),
        ("runs/record-steps", {"steps": []}, "body.steps"),
        ("runs/record-steps", {"steps": [{**STEP, "cached_input_tokens": 1}]}, "body.steps.0"),
        ("runs/end", {"status": "running"}, "body.status"),
        ("runs/end", {"status": "failed"}, "body"),
        ("tool-calls/request", {"tool_name": ""}, "body.tool_name"),
        ("tool-calls/request", {"tool_name": "search", "arguments": [1]}, "body.arguments"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    runtime: Runtime, path: str, body: dict[str, Any], field: str
) -> None:
    run = {} if path == "runs/begin" else await runtime.hold()
    answer = await runtime.client.post(f"/agents/{path}", json={**run, **body}, headers=runtime.headers)
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}


async def test_a_version_of_another_workspace_is_not_there(
    runtime: Runtime, client: httpx.AsyncClient, bob: Person
) -> None:
    theirs = await Runtime(client, bob.headers).post("models/register", provider="owls", model="owl-1")
    version = theirs["model_version_id"]
    assert await runtime.refused("runs/begin", agent="a", runtime="r", model_version_id=version) == (404, "not_found")
    step = {"kind": "model", "name": "m", "model_version_id": version}
    run = await runtime.hold()
    assert await runtime.refused("runs/record-steps", **run, steps=[step]) == (404, "not_found")


async def test_a_viewer_reads_and_records_nothing_and_a_member_decides_nothing(
    runtime: Runtime, client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    run = await runtime.hold()
    viewer = Runtime(client, await join(ada, bob, "viewer"))
    assert (await viewer.get(f"runs/{run['run_id']}"))["status"] == "running"
    assert await viewer.refused("runs/end", **run) == (403, "forbidden")
    assert await viewer.refused("runs/begin", agent="a") == (403, "forbidden")
    decide = {"tool_call_id": run["run_id"], "approve": True, "reason": "me"}
    assert await viewer.refused("tool-calls/resolve", **decide) == (403, "forbidden")


async def test_lists_go_on_where_a_page_ended_and_cursors_are_of_their_list(runtime: Runtime) -> None:
    for number in range(3):
        await runtime.hold(agent=f"agent {number}")
        await runtime.post("threads/open", external_id=f"thread {number}")
    for listing in ("runs/list", "threads/list"):
        first = await runtime.get(listing, page_size=2)
        second = await runtime.get(listing, page_size=2, cursor=first["next_cursor"])
        assert (len(first["data"]), len(second["data"]), second["next_cursor"]) == (2, 1, None)
    answer = await runtime.client.get(
        "/agents/runs/list", params={"cursor": first["next_cursor"]}, headers=runtime.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_the_same_idempotency_key_begins_one_run(runtime: Runtime) -> None:
    headers = {**runtime.headers, "Idempotency-Key": "once"}
    body = {"agent": "helper", "runtime": "elsewhere"}
    answers = [await runtime.client.post("/agents/runs/begin", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await runtime.get("runs/list"))["data"]) == 1

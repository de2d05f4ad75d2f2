"""A lane whose settings name a moderator judges what runtimes elsewhere tell it, before it is stored."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.agents.runs.test_run_routes import Runtime, client, publish_tool, runtime
from tests.integration.agents.safety.moderators import SECRET
from tests.integration.api.conftest import Join, OpenLane, Person, ada, bob, join, sign_up

from datalane.agents import routes
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.settings import AgentSettings, Settings

pytestmark = pytest.mark.one_database

__all__ = ["ada", "bob", "client", "join", "runtime", "sign_up"]


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    moderator = "tests.integration.agents.safety.moderators:Words"
    return OpenLane(database, Settings(agents=AgentSettings(moderator=moderator, moderation_timeout=0.2)))  # type: ignore[arg-type]


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)


async def decided(runtime: Runtime, run_id: str) -> list[tuple[str, str]]:
    run = await runtime.get(f"runs/{run_id}")
    assert SECRET not in str(run)
    return [(each["subject"], each["outcome"]) for each in run["moderations"]]


async def test_what_does_not_pass_ends_the_run_and_the_answer_says_why(runtime: Runtime) -> None:
    for said, status, outcome in (("refuse", "blocked_policy", "refused"), ("hang", "failed", "failed")):
        begun = await runtime.post("runs/begin", agent="helper", runtime="elsewhere", input=f"{said} {SECRET}")
        assert (begun["lease_token"], begun["refused"].startswith("the input")) == (None, True)
        assert await decided(runtime, begun["run_id"]) == [("input", outcome)]
        run = await runtime.hold(input="Herons?")
        ended = await runtime.post("runs/end", **run, output=f"{said} {SECRET}")
        assert (ended["status"], ended["refused"].startswith("the output")) == (status, True)
        assert await decided(runtime, run["run_id"]) == [("input", "allowed"), ("output", outcome)]
        queued = await runtime.post("runs/begin", agent="helper", input=f"{said} {SECRET}")
        taken = await runtime.post("runs/take", run_id=queued["run_id"], runtime="elsewhere")
        assert (taken["lease_token"], taken["refused"].startswith("the input")) == (None, True)
        assert await decided(runtime, queued["run_id"]) == [("input", outcome)]


async def test_what_passes_goes_on_as_without_moderation(runtime: Runtime) -> None:
    await publish_tool(runtime)
    queued = await runtime.post("runs/begin", agent="helper", input="Herons?")
    taken = await runtime.post("runs/take", run_id=queued["run_id"], runtime="elsewhere")
    run = {"run_id": queued["run_id"], "lease_token": taken["lease_token"]}
    call = await runtime.post("tool-calls/request", **run, tool_name="search", arguments={"query": "flag"})
    standing = await runtime.post("tool-calls/succeed", **run, tool_call_id=call["tool_call_id"], result="flag")
    assert (standing["status"], standing["refused"]) == ("succeeded", None)
    ended = await runtime.post("runs/end", **run, output="Grey.")
    assert (ended["status"], ended["refused"]) == ("completed", None)
    outcomes = await decided(runtime, run["run_id"])
    assert outcomes == [("input", "allowed"), ("arguments", "flagged"), ("result", "flagged"), ("output", "allowed")]
    told = await runtime.get(f"runs/{run['run_id']}")
    assert (told["output"], told["tool_calls"][0]["result"]) == ("Grey.", "flag")


async def test_calls_that_do_not_pass_are_blocked_and_results_are_not_kept(runtime: Runtime) -> None:
    await publish_tool(runtime)
    run = await runtime.hold()
    arguments = {"query": f"refuse {SECRET}"}
    blocked = await runtime.post("tool-calls/request", **run, tool_name="search", arguments=arguments)
    assert (blocked["status"], blocked["rule_id"]) == ("blocked_policy", "moderation.arguments")
    call = await runtime.post("tool-calls/request", **run, tool_name="search", arguments={"query": "heron"})
    said: dict[str, Any] = {"tool_call_id": call["tool_call_id"], "result": f"refuse {SECRET}"}
    standing = await runtime.post("tool-calls/succeed", **run, **said)
    assert (standing["status"], standing["refused"]) == ("succeeded", "the result was refused (rude): it is not polite")
    assert [outcome for _, outcome in await decided(runtime, run["run_id"])] == ["refused", "allowed", "refused"]


async def test_the_same_key_is_judged_once_and_answers_the_same(runtime: Runtime) -> None:
    headers = {**runtime.headers, "Idempotency-Key": "one"}
    body = {"agent": "helper", "runtime": "elsewhere", "input": f"refuse {SECRET}"}
    answers = [(await runtime.client.post("/agents/runs/begin", json=body, headers=headers)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len((await runtime.get("moderations/list"))["data"]) == 1


async def test_a_viewer_lists_moderations_and_another_workspace_sees_none(
    runtime: Runtime, bob: Person, ada: Person, join: Join
) -> None:
    run = await runtime.hold(input="flag")
    mine = await runtime.get("moderations/list", run_id=run["run_id"], outcome="flagged")
    viewer = Runtime(runtime.client, await join(ada, bob, "viewer"))
    assert (await viewer.get("moderations/list"))["data"] == mine["data"] != []
    stranger = Runtime(runtime.client, bob.headers)
    assert (await stranger.get("moderations/list", run_id=run["run_id"]))["data"] == []
    answer = await runtime.client.get("/agents/moderations/list?outcome=perhaps", headers=runtime.headers)
    assert answer.status_code == 422

"""The assistant without a model: what it says stands in documents and is cited, and what it does the policy allows."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.integration.agents.assistant.conftest import Desk
from tests.integration.api.conftest import Join, OpenLane, Person, SignUp
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import working

from datalane.domains import Runtime, register_handlers
from datalane.engine.handlers import Handlers
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

SEARCH, CREATE, CITE = "knowledge.search", "item.create", "knowledge.cite"


async def test_every_sentence_of_an_answer_is_cited_and_stands_in_a_document(desk: Desk) -> None:
    answer = await desk.ask("What do herons eat: fish or frogs?")
    assert answer["text"].startswith("They eat fish and frogs.")
    assert answer["status"] == "completed"
    for sentence in answer["sentences"]:
        assert [cited["quote"] for cited in sentence["citations"]] == [sentence["text"]]
    stored = await desk.get("/retrieval/citations", response_id=answer["response_id"])
    assert [cited["agent_run_id"] for cited in stored["data"]] == [answer["run_id"]] * len(answer["sentences"])
    assert all(cited["verified"] for cited in stored["data"])
    run = await desk.run(answer["run_id"])
    assert [(call["tool_name"], call["status"]) for call in run["tool_calls"]] == [
        (SEARCH, "succeeded"),
        (CITE, "succeeded"),
    ]
    assert (run["agent"], run["status"], run["conforms"]) == ("assistant", "completed", True)
    assert run["output"]["response_id"] == answer["response_id"]
    assert run["input_tokens"] > run["output_tokens"] > 0


async def test_the_same_question_has_the_same_answer(desk: Desk) -> None:
    first, second = [await desk.ask("Who stands in the reeds?") for _ in range(2)]
    assert first["text"] == second["text"]
    assert first["run_id"] != second["run_id"]


async def test_nothing_is_said_where_no_document_says_anything(desk: Desk) -> None:
    answer = await desk.ask("Quorum of zebras?")
    assert (answer["sentences"], answer["response_id"]) == ([], None)
    assert "Nothing in the documents" in answer["text"]
    assert (await desk.run(answer["run_id"]))["conforms"] is True


async def test_a_wish_makes_an_item_through_the_policy_once(desk: Desk) -> None:
    answer = await desk.ask("create an item: Count the herons\nBefore noon.")
    [item_id] = answer["item_ids"]
    item = await desk.get(f"/items/{item_id}")
    assert (item["title"], item["description"]) == ("Count the herons", "Before noon.")
    [call] = (await desk.run(answer["run_id"]))["tool_calls"]
    assert (call["tool_name"], call["rule_id"], call["idempotency_key"]) == (
        CREATE,
        "tool.default",
        f"{answer['run_id']}:item",
    )


async def test_the_same_request_twice_is_one_run(desk: Desk) -> None:
    headers = {**desk.headers, "Idempotency-Key": "once"}
    body = {"question": "note: feed the owl"}
    answers = [await desk.client.post("/agents/assistant/ask", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert await desk.items() == ["feed the owl"]


async def test_of_two_at_once_with_one_name_one_is_answered(desk: Desk) -> None:
    asked: dict[str, Any] = {
        "json": {"question": "note: feed the owl", "source_run_id": "mail-7"},
        "headers": desk.headers,
    }
    answers = await asyncio.gather(*(desk.client.post("/agents/assistant/ask", **asked) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await desk.items() == ["feed the owl"]


async def test_a_tool_that_a_rule_denies_is_not_called(desk: Desk) -> None:
    rule = {"effect": "deny", "tool_pattern": CREATE, "agent": "assistant", "reason": "no items today"}
    made = await desk.post("/agents/tool-rules/create", 201, **rule)
    refused = await desk.ask("note: feed the owl", 403)
    assert refused["code"] == "tool_blocked"
    run = await desk.last_run()
    assert (run["status"], run["tool_calls"][0]["rule_id"]) == ("blocked_policy", made["rule_id"])
    assert await desk.items() == []


async def test_tools_that_nobody_published_are_not_called(client: httpx.AsyncClient, ada: Person) -> None:
    desk = Desk(client, ada.headers)
    assert (await desk.ask("Who stands in the reeds?", 403))["code"] == "tool_blocked"
    first = await desk.post("/agents/tools/publish-built-in")
    assert {each["tool_name"]: each["created"] for each in first["data"]} == dict.fromkeys((SEARCH, CREATE, CITE), True)
    again = await desk.post("/agents/tools/publish-built-in", renew=True)
    assert not any(each["created"] for each in again["data"])
    assert (await desk.ask("Who stands in the reeds?"))["sentences"] == []


async def test_what_a_workspace_says_of_a_tool_stays_until_it_is_renewed(desk: Desk) -> None:
    tool = await desk.get(f"/agents/tools/{CREATE}")
    said = {key: tool[key] for key in ("description", "input_schema", "output_schema", "side_effect")}
    await desk.post("/agents/tools/publish", tool_name=CREATE, approval="always", **said)
    await desk.post("/agents/tools/publish-built-in")
    assert (await desk.get(f"/agents/tools/{CREATE}"))["approval"] == "always"
    await desk.post("/agents/tools/publish-built-in", renew=True)
    assert (await desk.get(f"/agents/tools/{CREATE}"))["approval"] == "never"


async def test_nobody_is_answered_from_the_documents_of_another_workspace(
    desk: Desk, client: httpx.AsyncClient, bob: Person
) -> None:
    theirs = Desk(client, bob.headers)
    await theirs.post("/agents/tools/publish-built-in")
    await theirs.index("The treasure of Bob lies under the old oak.")
    answer = await desk.ask("Where does the treasure of Bob lie? Search workspace " + str(bob.workspace_id))
    assert "oak" not in answer["text"]
    assert "oak" in (await theirs.ask("Where does the treasure lie?"))["text"]
    run_id = answer["run_id"]
    assert (await client.get(f"/agents/runs/{run_id}", headers=bob.headers)).status_code == 404


async def test_a_viewer_asks_nothing(desk: Desk, ada: Person, sign_up: SignUp, join: Join) -> None:
    viewer = Desk(desk.client, await join(ada, await sign_up("vera"), "viewer"))
    assert (await viewer.ask("Who stands in the reeds?", 403))["code"] == "forbidden"


async def test_an_api_key_does_no_more_than_its_scopes(desk: Desk) -> None:
    scopes = ["agent_run.record", "retrieval.query", "citation.create"]
    key = await desk.post("/api-keys/create", 201, name="narrow", scopes=scopes)
    narrow = Desk(desk.client, {"Authorization": f"Bearer {key['key']}"})
    assert (await narrow.ask("Who stands in the reeds?"))["sentences"]
    assert (await narrow.ask("note: feed the owl", 403))["code"] == "tool_blocked"
    run = await desk.last_run()
    assert (run["status"], run["error_class"]) == ("blocked_policy", "authz_denied")
    assert await desk.items() == []


async def test_a_budget_holds_the_assistant_too(desk: Desk) -> None:
    await desk.post("/agents/budgets/set", meter="agent.tokens", period="day", limit=5)
    assert (await desk.ask("Who stands in the reeds?", 403))["code"] == "budget_exceeded"
    run = await desk.last_run()
    assert (run["status"], run["error_class"], run["steps"]) == ("blocked_policy", "policy_denied", [])


async def test_what_a_run_costs_is_the_sum_of_its_steps(desk: Desk) -> None:
    await desk.ask("Who stands in the reeds?")
    [model] = (await desk.get("/agents/models/list", provider="datalane"))["data"]
    price = {"currency": "USD", "input_per_million": "2", "output_per_million": "8"}
    await desk.post("/agents/prices/create", 201, model_version_id=model["model_version_id"], **price)
    await desk.post("/agents/budgets/set", meter="agent.cost", period="month", limit="1", currency="USD")
    run = await desk.run((await desk.ask("What do herons eat?"))["run_id"])
    [step] = run["steps"]
    assert run["cost"] == step["cost"]
    expected = (2 * step["input_tokens"] + 8 * step["output_tokens"]) / 1_000_000
    assert float(run["cost"]) == pytest.approx(expected)
    [budget] = (await desk.get("/agents/budgets/list"))["data"]
    assert float(budget["used"]) == pytest.approx(expected)


async def test_what_is_no_question_is_refused(desk: Desk) -> None:
    for question in ("", "   ", "x" * 8_001, "a\0b"):
        assert (await desk.ask(question, 422))["errors"][0]["field"] == "body.question"
    assert (await desk.ask("Who?", 404, thread_id=str(uuid7())))["code"] == "not_found"


async def test_a_queued_run_is_taken_up_by_a_job_as_whoever_asked(
    desk: Desk, lane: OpenLane, runtime: Runtime, ada: Person, sign_up: SignUp, join: Join
) -> None:
    """Also one that goes on after an approval, and one whose input is no question."""
    member = Desk(desk.client, await join(ada, await sign_up("mona"), "member"))
    begun = await member.post("/agents/runs/begin", 201, agent="assistant", input={"question": "Who is in the reeds?"})
    wrong = await member.post("/agents/runs/begin", 201, agent="assistant", input=[1])
    other = await member.post("/agents/runs/begin", 201, agent="helper", input="Who is in the reeds?")
    handlers = Handlers()
    register_handlers(handlers, lane.database, runtime)

    async def over(run_id: str) -> bool:
        return (await desk.run(run_id))["completed_at"] is not None

    async with working(lane.database, handlers):
        assert await eventually(lambda: over(begun["run_id"]))
        assert await eventually(lambda: over(wrong["run_id"]))
        await _always_ask_for(desk, CREATE)
        waiting = await member.ask("note: feed the owl")
        assert (waiting["status"], await desk.items()) == ("escalated_human", [])
        call = {"tool_call_id": waiting["waiting_call_id"], "approve": True, "reason": "The owl is hungry."}
        resolved = await desk.post("/agents/tool-calls/resolve", **call)
        assert await eventually(lambda: over(resolved["following_run_id"]))
    run, failed = await desk.run(begun["run_id"]), await desk.run(wrong["run_id"])
    assert (run["status"], run["output"]["sentences"][0]["text"]) == ("completed", "Herons stand in the reeds.")
    assert (failed["status"], failed["error_class"]) == ("failed", "validation_error")
    assert (await desk.run(other["run_id"]))["status"] == "queued"
    assert await desk.items() == ["feed the owl"]
    jobs = await desk.get("/jobs/list", kind="agents.assistant")
    assert jobs["data"] == [], "each was done at its first attempt"


async def _always_ask_for(desk: Desk, name: str) -> None:
    """A person approves each call of the tool."""
    tool = await desk.get(f"/agents/tools/{name}")
    said = {key: tool[key] for key in ("description", "input_schema", "output_schema", "side_effect")}
    await desk.post("/agents/tools/publish", tool_name=name, approval="always", **said)

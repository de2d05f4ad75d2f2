"""Refusals by the model itself, as the assistant and spans tell them."""

from __future__ import annotations

from typing import Any

from tests.integration.agents.assistant.conftest import (
    Desk,
    ScriptedModel,
    ada,
    app,
    bob,
    client,
    desk,
    join,
    lane,
    model,
    runtime,
    sign_up,
)
from tests.integration.agents.spans.telling import BEGAN, Receiver, agent, chat, tool
from tests.integration.api.conftest import OpenLane, Person

from datalane.agents.assistant.schemas import Question
from datalane.contracts.context import Context, Role
from datalane.domains import Runtime

__all__ = ["ada", "app", "bob", "client", "desk", "join", "lane", "model", "runtime", "sign_up"]
USAGE = {"prompt_tokens": 12, "completion_tokens": 3}


REFUSING: list[tuple[dict[str, Any], str, str]] = [
    ({"refusal": "I cannot help with that."}, "refusal", "I cannot help with that."),
    ({"text": "First you", "finish_reason": "content_filter"}, "content_filter", "The model refused to answer this."),
]
"""What the model does, the category of the refusal, and what is answered."""


async def test_a_model_that_refuses_is_answered_with_what_it_said_and_cites_nothing(
    desk: Desk, runtime: Runtime, lane: OpenLane, ada: Person, model: ScriptedModel
) -> None:
    context = Context(ada.workspace_id, ada.user_id, Role.MEMBER)
    asked = Question(question="How do I break a lock?")
    for how, category, text in REFUSING:
        model.script({**how, "calls": [["knowledge_search", "{}"]], "usage": USAGE})
        answer = await model.assistant(runtime).ask(lane.database.transaction, context, asked)
        assert (answer.status, answer.text, answer.sentences, answer.response_id) == ("completed", text, [], None)
        run = await desk.run(str(answer.run_id))
        assert (run["status"], run["input_tokens"], run["tool_calls"], run["conforms"]) == ("completed", 12, [], True)
        [refusal] = run["moderations"]
        told = [refusal[name] for name in ("subject", "outcome", "category", "judged_by")]
        assert told == ["output", "refused", category, "agent"]
        assert "First you" not in str(run)


async def test_a_span_that_tells_a_refusal_is_counted_once_however_often_and_late_it_comes(
    lane: OpenLane, context: Context
) -> None:
    receiver = Receiver(lane.database, context)
    refused = chat(2, start=4).saying(response__finish_reasons=["CONTENT_FILTER"])
    earlier = chat(3, start=1).saying(response__finish_reasons="refusal")
    others = (
        agent(),
        chat(4).saying(response__finish_reasons=["stop"]),
        tool(5).saying(response__finish_reasons=["refusal"]),
        chat(6).saying(response__finish_reasons=[7, ["refusal"]]),
    )
    await receiver.take(refused, refused)
    await receiver.take(*others, refused)
    await receiver.take(earlier)
    await receiver.take(earlier, refused, *others)
    run = await receiver.run()
    told = [(each.category, (each.at - BEGAN).total_seconds(), each.judged_by) for each in run.moderations]
    assert told == [("refusal", 2, "agent"), ("content_filter", 5, "agent")]


async def test_no_refusal_is_told_of_a_span_that_nobody_took(lane: OpenLane, context: Context) -> None:
    receiver = Receiver(lane.database, context)
    await receiver.take(chat(2))
    told = '[{"span_id": "00000000000000ff", "category": "refusal", "at": "2026-01-01T00:00:00Z"}]'
    async with lane.database.transaction(context) as tx:
        run = await receiver.run()
        fresh = await tx.fetchval("SELECT datalane.record_span_refusals($1, $2::text::jsonb)", run.source_run_id, told)
    assert (fresh, run.moderations) == (0, [])

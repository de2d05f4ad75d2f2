"""Citations that a verdict names are shown no more, by the id of the moderation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.agents.assistant.conftest import Desk, ada, app, bob, client, desk, join, lane, runtime, sign_up
from tests.integration.api.conftest import OpenLane, Person

from datalane.agents.assistant.schemas import Question
from datalane.agents.assistant.service import Assistant
from datalane.agents.recorder import ContentRefused
from datalane.agents.safety.judging import Safety
from datalane.agents.safety.moderator import About, Subject, Verdict
from datalane.contracts.context import Context, Role
from datalane.domains import Runtime
from datalane.knowledge.moderation.suppressing import CitationSuppressor

__all__ = ["ada", "app", "bob", "client", "desk", "join", "lane", "runtime", "sign_up"]


class Citing:
    """Says of an output that has citations what it was told to say, with all of them and some others."""

    name = "citing"
    version = "1"

    def __init__(self) -> None:
        self.outcome: Any = "flagged"
        self.others: list[UUID] = []
        self.seen: list[Any] = []

    async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
        self.seen.append(content)
        cited = [each for one in content.get("sentences", []) for each in one["citation_ids"]]
        if subject != "output" or not cited:
            return Verdict(outcome="allowed")
        named = (*map(UUID, cited), *self.others)
        return Verdict(outcome=self.outcome, category="wrong", reason="it misleads", citation_ids=named)


@pytest.fixture
def citing() -> Citing:
    return Citing()


@pytest.fixture
def assistant(runtime: Runtime, citing: Citing) -> Assistant:
    safety = Safety(citing, timedelta(seconds=5), CitationSuppressor())
    return Assistant(runtime.agents.tools, runtime.agents.meters, safety=safety)


@pytest.fixture
def context(ada: Person) -> Context:
    """A member, who may suppress no citation."""
    return Context(ada.workspace_id, ada.user_id, Role.MEMBER)


async def ask(assistant: Assistant, lane: OpenLane, context: Context) -> Any:
    return await assistant.ask(lane.database.transaction, context, Question(question="Where do herons stand?"))


async def test_the_lane_itself_suppresses_what_a_verdict_names_and_each_names_the_other(
    desk: Desk, assistant: Assistant, lane: OpenLane, context: Context
) -> None:
    answer = await ask(assistant, lane, context)
    [cited] = [each.citation_id for sentence in answer.sentences for each in sentence.citations]
    run = await desk.run(str(answer.run_id))
    assert (run["status"], run["actor_id"]) == ("completed", str(context.actor_id))
    [flagged] = [each for each in run["moderations"] if each["outcome"] == "flagged"]
    assert flagged["citation_ids"] == [str(cited)]
    [listed] = (await desk.get("/agents/moderations/list", outcome="flagged"))["data"]
    assert listed == flagged
    [decided] = (await desk.get("/retrieval/moderations/list"))["data"]
    assert (decided["citation_id"], decided["outcome"], decided["reference"]) == (
        str(cited),
        "suppressed",
        flagged["moderation_id"],
    )
    assert (decided["category"], decided["reason"]) == ("wrong", "it misleads")
    assert decided["actor_id"] != str(context.actor_id)
    [shown] = (await desk.get("/retrieval/citations", response_id=str(answer.response_id)))["data"]
    assert (shown["suppressed"], shown["quote"]) == (True, None)


async def test_what_is_suppressed_already_or_no_citation_of_the_workspace_changes_nothing(
    desk: Desk, assistant: Assistant, lane: OpenLane, context: Context, citing: Citing, bob: Person
) -> None:
    theirs = Desk(desk.client, bob.headers)
    await theirs.post("/agents/tools/publish-built-in")
    await theirs.index("Herons stand in the gardens of Bob.")
    foreign = (await theirs.ask("Where do herons stand?"))["sentences"][0]["citations"][0]["citation_id"]
    first = await ask(assistant, lane, context)
    suppressed = first.sentences[0].citations[0].citation_id
    citing.others = [UUID(foreign), UUID(int=7), suppressed]
    second = await ask(assistant, lane, context)
    run = await desk.run(str(second.run_id))
    [flagged] = [each for each in run["moderations"] if each["outcome"] == "flagged"]
    assert flagged["citation_ids"] == [str(second.sentences[0].citations[0].citation_id), str(suppressed)]
    decided = (await desk.get("/retrieval/moderations/list"))["data"]
    assert len(decided) == 2
    assert {each["reference"] for each in decided if each["citation_id"] == str(suppressed)} != {
        flagged["moderation_id"]
    }
    assert (await theirs.get("/retrieval/moderations/list"))["data"] == []


async def test_an_output_that_is_refused_loses_its_citations_in_the_same_transaction(
    desk: Desk, assistant: Assistant, lane: OpenLane, context: Context, citing: Citing
) -> None:
    citing.outcome = "refused"
    with pytest.raises(ContentRefused):
        await ask(assistant, lane, context)
    run = await desk.last_run()
    assert (run["status"], run["output"]) == ("blocked_policy", None)
    assert [each["arguments"] for each in run["tool_calls"]] == [None] * 2
    [decided] = (await desk.get("/retrieval/moderations/list"))["data"]
    assert decided["reference"] == run["moderations"][-1]["moderation_id"]


async def test_a_draft_that_is_refused_is_stored_as_no_answer(
    desk: Desk, runtime: Runtime, lane: OpenLane, context: Context
) -> None:
    class NoHerons:
        name, version = "no herons", "1"

        async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
            is_said = subject == "output" and "reeds" in content["text"]
            return Verdict(outcome="refused", category="birds") if is_said else Verdict(outcome="allowed")

    assistant = Assistant(runtime.agents.tools, runtime.agents.meters, safety=Safety(NoHerons()))
    with pytest.raises(ContentRefused):
        await ask(assistant, lane, context)
    run = await desk.last_run()
    assert (run["status"], [each["tool_name"] for each in run["tool_calls"]]) == (
        "blocked_policy",
        ["knowledge.search"],
    )
    assert [(each["input"], each["output"]) for each in run["steps"]] == [(None, None)]
    async with lane.database.transaction(context) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.responses") == 0

"""Citations that a verdict names are shown no more, by the id of the moderation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.agents.assistant.conftest import Desk, ada, app, bob, client, desk, join, lane, runtime, sign_up
from tests.integration.api.conftest import OpenLane, Person

from datalane.agents.assistant.schemas import Question
from datalane.agents.assistant.service import Assistant
from datalane.agents.recorder import ContentRefused
from datalane.agents.runs.recording import take_run
from datalane.agents.safety.judging import Safety
from datalane.agents.safety.moderator import About, Subject, Verdict
from datalane.contracts.context import Context, Role
from datalane.domains import Runtime
from datalane.errors import LeaseLost
from datalane.kit.clock import utc_now
from datalane.knowledge.moderation.suppressing import CitationSuppressor

__all__ = ["ada", "app", "bob", "client", "desk", "join", "lane", "runtime", "sign_up"]


class Citing:
    """Says of an output that has citations what it was told to say, with all of them and some others."""

    name = "citing"
    version = "1"

    def __init__(self) -> None:
        self.outcome: Any = "flagged"
        self.others: list[UUID] = []
        self.meanwhile: Callable[[UUID], Awaitable[None]] | None = None

    async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
        cited = [each for one in content.get("sentences", []) for each in one["citation_ids"]]
        if subject != "output" or not cited:
            return Verdict(outcome="allowed")
        named = (*map(UUID, cited), *self.others)
        if self.meanwhile is not None and about.run_id is not None:
            await self.meanwhile(about.run_id)
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


async def test_the_lane_itself_suppresses_what_a_verdict_names_once_and_each_names_the_other(
    desk: Desk, assistant: Assistant, lane: OpenLane, context: Context, citing: Citing, bob: Person
) -> None:
    answer = await ask(assistant, lane, context)
    [cited] = [each.citation_id for sentence in answer.sentences for each in sentence.citations]
    run = await desk.run(str(answer.run_id))
    assert (run["status"], run["actor_id"]) == ("completed", str(context.actor_id))
    [flagged] = [each for each in run["moderations"] if each["outcome"] == "flagged"]
    assert flagged["citation_ids"] == [str(cited)]
    assert (await desk.get("/agents/moderations/list", outcome="flagged"))["data"] == [flagged]
    [decided] = (await desk.get("/retrieval/moderations/list"))["data"]
    told = [decided[name] for name in ("citation_id", "outcome", "category", "reason", "reference")]
    assert told == [str(cited), "suppressed", "wrong", "it misleads", flagged["moderation_id"]]
    assert decided["actor_id"] != str(context.actor_id)
    [shown] = (await desk.get("/retrieval/citations", response_id=str(answer.response_id)))["data"]
    assert (shown["suppressed"], shown["quote"]) == (True, None)

    theirs = Desk(desk.client, bob.headers)
    await theirs.post("/agents/tools/publish-built-in")
    await theirs.index("Herons stand in the gardens of Bob.")
    foreign = (await theirs.ask("Where do herons stand?"))["sentences"][0]["citations"][0]["citation_id"]
    citing.others = [UUID(foreign), UUID(int=7), cited]
    second = await ask(assistant, lane, context)
    run = await desk.run(str(second.run_id))
    [named] = [each["citation_ids"] for each in run["moderations"] if each["outcome"] == "flagged"]
    assert named == [str(second.sentences[0].citations[0].citation_id), str(cited)]
    references = [
        each["reference"]
        for each in (await desk.get("/retrieval/moderations/list"))["data"]
        if each["citation_id"] == str(cited)
    ]
    assert references == [flagged["moderation_id"]], "what is suppressed already stays as it was decided"
    assert (await theirs.get("/retrieval/moderations/list"))["data"] == []


async def test_citations_are_suppressed_with_the_end_of_their_run_or_not_at_all(
    desk: Desk, assistant: Assistant, lane: OpenLane, context: Context, citing: Citing
) -> None:
    async def lose(run_id: UUID) -> None:
        async with lane.database.transaction(context) as tx:
            await take_run(tx, run_id, "another", now=utc_now() + timedelta(minutes=2))

    citing.meanwhile = lose
    with pytest.raises(LeaseLost):
        await ask(assistant, lane, context)
    run = await desk.last_run()
    assert (run["status"], run["error_class"]) == ("failed", "timeout")
    draft = ("output", "allowed")  # judged before it was stored as an answer
    assert [(each["subject"], each["outcome"]) for each in run["moderations"]] == [("input", "allowed"), draft]
    assert (await desk.get("/retrieval/moderations/list"))["data"] == []

    citing.meanwhile, citing.outcome = None, "refused"
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

"""The rollback report tells what was measured of a version that is taken back, beside what was measured before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.integration.agents.desk import SEARCH
from tests.integration.agents.evaluations.conftest import EvaluationDesk

from datalane.agents.evaluations.schemas import GraderSaid, NewCaseResult
from datalane.agents.rollback.schemas import Suspect, TouchedEvaluation
from datalane.agents.rollback.service import report_rollback
from datalane.agents.runs.schemas import NewStep
from datalane.agents.versions import models, prompts
from datalane.agents.versions.schemas import NewAgentModel, NewPrompt

pytestmark = pytest.mark.one_database


async def touched(bench: EvaluationDesk, **asked: Any) -> list[TouchedEvaluation]:
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        evaluations = (await report_rollback(tx, Suspect(**asked))).evaluations
    assert evaluations is not None
    return evaluations


async def a_model(bench: EvaluationDesk, name: str) -> UUID:
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        return (await models.register_model(tx, NewAgentModel(provider="owls", model=name))).model_version_id


async def of_run(bench: EvaluationDesk, case: int, score: float, model: UUID | None = None, tool: str = "") -> Any:
    """A result whose run has a step of the model or a call of the tool."""
    run = await bench.desk.hold()
    if model is not None:
        await bench.desk.record(run, NewStep(kind="model", name="chat", model_version_id=model))
    if tool:
        await bench.desk.succeed(run, (await bench.desk.ask(run, tool)).tool_call_id)
    await bench.desk.end(run)
    return NewCaseResult(case_id=str(case), outcome="graded", scores={"own": score}, run_id=run.run_id)


async def test_what_names_the_version_is_told_beside_the_newest_that_does_not(bench: EvaluationDesk) -> None:
    good, bad = await a_model(bench, "good"), await a_model(bench, "bad")
    dataset, other = [(await bench.add(2, name=name)).dataset_version_id for name in ("owls", "others")]
    await bench.record(dataset, [0.0, 0.0], model_version_id=good)
    before = await bench.record(dataset, [1.0, 0.5], model_version_id=good)
    await bench.record(dataset, [1.0], model_version_id=good)
    await bench.record(dataset, [0.0, 0.0], agent="another", model_version_id=good)
    await bench.record(other, [0.0, 0.0], model_version_id=good)
    first = await bench.record(dataset, [0.5, 0.5], model_version_id=bad, thresholds={"own": 0.7})
    second = await bench.record(dataset, [0.0, 0.0], model_version_id=bad)
    await bench.record(dataset, [1.0, 1.0], model_version_id=good)
    told = await touched(bench, model_version_id=bad)
    assert [(each.evaluation_id, each.baseline_id, each.change) for each in told] == [
        (second.evaluation_id, before.evaluation_id, {"own": -0.75}),
        (first.evaluation_id, before.evaluation_id, {"own": -0.25}),
    ]
    assert told[1].passed is False
    assert told[1].scores == first.scores


@pytest.mark.parametrize("by", ["step", "tool", "prompt"])
async def test_an_evaluation_is_touched_by_one_of_its_runs(bench: EvaluationDesk, by: str) -> None:
    bad = await a_model(bench, "bad")
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        prompt = (await prompts.register_prompt(tx, NewPrompt(name="a", template="Answer."))).prompt_version_id
    dataset = (await bench.add(2)).dataset_version_id
    before = await bench.record(dataset, [1.0, await of_run(bench, 1, 1.0)])
    how: dict[str, dict[str, Any]] = {"step": {"model": bad}, "tool": {"tool": SEARCH}, "prompt": {}}
    suspects: dict[str, dict[str, Any]] = {
        "step": {"model_version_id": bad},
        "tool": {"tool_name": SEARCH},
        "prompt": {"prompt_version_id": prompt},
    }
    said = suspects[by] if by == "prompt" else {}
    now = await bench.record(dataset, [1.0, await of_run(bench, 1, 0.0, **how[by])], **said)
    [told] = await touched(bench, **suspects[by])
    assert (told.evaluation_id, told.baseline_id, told.change) == (
        now.evaluation_id,
        before.evaluation_id,
        {"own": -0.5},
    )


async def test_without_one_before_or_with_another_grader_there_is_no_change(bench: EvaluationDesk) -> None:
    bad = await a_model(bench, "bad")
    dataset = (await bench.add(2)).dataset_version_id
    alone = await bench.record(dataset, [1.0, 1.0], model_version_id=bad, agent="alone")
    strict = GraderSaid(name="own", scores=["own"], settings={"strict": True})
    before = await bench.record(dataset, [1.0, 1.0], graders=[strict])
    refused = await bench.record(dataset, [1.0], model_version_id=bad)
    told = {each.evaluation_id: each for each in await touched(bench, model_version_id=bad)}
    assert (told[alone.evaluation_id].baseline_id, told[alone.evaluation_id].change) == (None, {})
    last = told[refused.evaluation_id]
    assert (last.scores, last.baseline_id, last.change) == (None, before.evaluation_id, {})


async def test_they_are_on_the_first_page_only_and_for_whoever_may_read_them(bench: EvaluationDesk) -> None:
    bad = await a_model(bench, "bad")
    for _ in range(2):
        await bench.desk.end(await bench.desk.hold(model_version_id=bad))
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        first = await report_rollback(tx, Suspect(model_version_id=bad), page_size=1)
        second = await report_rollback(tx, Suspect(model_version_id=bad), first.next_cursor, page_size=1)
    assert (first.evaluations, second.evaluations) == ([], None)
    narrow = replace(bench.desk.context, scopes=frozenset({"agent_run.read"}))
    async with bench.desk.database.transaction(narrow) as tx:
        assert (await report_rollback(tx, Suspect(model_version_id=bad))).evaluations is None

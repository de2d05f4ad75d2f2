"""Evaluating an agent: every case is a run, and whatever the agent or a grader does, the counts add up."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.integration.agents.desk import PAY, SEARCH
from tests.integration.agents.evaluations.conftest import EvaluationDesk
from tests.integration.engine.lab import eventually

from datalane.agents.budgets.schemas import TOKENS, NewBudget
from datalane.agents.budgets.service import set_budget
from datalane.agents.evaluations import Attempt, Citations, Custom, Exact, Retrieval, Schema, Ungradable
from datalane.agents.evaluations.schemas import AgentEvaluation, DatasetCase
from datalane.agents.recorder import RecordedRun
from datalane.agents.versions.output_schemas import get_output_schema, register_output_schema
from datalane.agents.versions.schemas import NewOutputSchema
from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.errors import DatabaseUnavailable, Forbidden, InvalidInput, NotFound
from datalane.kit.ids import uuid7


def numbered(case: DatasetCase) -> int:
    return int(case.input["number"])


async def echo(run: RecordedRun, case: DatasetCase) -> Any:
    return numbered(case)


def counts(evaluation: AgentEvaluation) -> tuple[int, int, int, int]:
    return (evaluation.attempted, evaluation.failed, evaluation.invalid, evaluation.graded)


async def test_each_case_is_a_run_of_the_ledger_with_its_input_and_output(bench: EvaluationDesk) -> None:
    dataset = await bench.add([DatasetCase(case_id=str(n), input={"number": n}, expected=n % 3) for n in range(3)])
    seen: list[tuple[int, int]] = []
    evaluation = await bench.evaluate(
        dataset.dataset_version_id, echo, Exact(), progress=lambda done, of: seen.append((done, of))
    )
    assert counts(evaluation) == (3, 0, 0, 3)
    assert evaluation.scores is not None
    assert evaluation.scores["exact"].value == 1.0
    assert sorted(seen) == [(1, 3), (2, 3), (3, 3)]
    for result in await bench.results(evaluation):
        assert result.run_id is not None
        run = await bench.desk.show(result.run_id)
        assert (run.agent, run.status, run.input) == ("helper", "completed", {"number": int(result.case_id)})
        assert run.output == int(result.case_id)


async def test_what_the_agent_raises_is_a_failed_case_with_its_class(bench: EvaluationDesk) -> None:
    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        match numbered(case):
            case 0:
                raise TimeoutError("it took too long")
            case 1:
                return None
            case 2:
                return {"a set": {1, 2}}
            case 3:
                await run.call("nobody", {})
            case 4:
                return "x" * 10_000_000
            case 5:
                async with run.tool(PAY, {}):
                    return "paid"
            case 6:
                raise asyncio.CancelledError
        return "good"

    dataset = await bench.add(8)
    evaluation = await bench.evaluate(dataset.dataset_version_id, answer, Custom("any", lambda attempt: 1.0))
    assert counts(evaluation) == (8, 7, 0, 1)
    assert evaluation.refusal is not None
    told = {result.case_id: result.error_class for result in await bench.results(evaluation)}
    wrong, denied = "validation_error", "policy_denied"
    assert told == {
        "0": "timeout",
        "1": wrong,
        "2": wrong,
        "3": denied,
        "4": wrong,
        "5": denied,
        "6": "unexpected_internal",
        "7": None,
    }
    for result in await bench.results(evaluation):
        assert result.run_id is not None
        assert (await bench.desk.show(result.run_id)).completed_at is not None, "no run is left behind"


async def test_what_a_grader_raises_or_gives_beyond_0_to_1_is_an_invalid_case(bench: EvaluationDesk) -> None:
    given: list[Any] = [math.nan, -1, 2.0, "1", None, 0.5]

    def grade(attempt: Attempt) -> float:
        if attempt.output == 6:
            raise ZeroDivisionError("by \x00 nothing")
        if attempt.output == 7:
            raise Ungradable("nothing to see")
        score: float = given[attempt.output]
        return score

    dataset = await bench.add(8)
    evaluation = await bench.evaluate(dataset.dataset_version_id, echo, Custom("own", grade))
    assert counts(evaluation) == (8, 0, 7, 1)
    results = {result.case_id: result for result in await bench.results(evaluation)}
    assert results["5"].scores == {"own": 0.5}
    assert "no number from 0 to 1" in (results["0"].reason or "")
    assert "ZeroDivisionError: by   nothing" in (results["6"].reason or "")
    assert results["7"].reason == "own: nothing to see"


async def test_a_coroutine_grades_and_a_case_that_one_grader_cannot_grade_has_no_score(bench: EvaluationDesk) -> None:
    async def half(attempt: Attempt) -> float:
        await asyncio.sleep(0)
        return 0.5

    cases = [DatasetCase(case_id=str(n), input={"number": n}, expected=0 if n else None) for n in range(3)]
    dataset = await bench.add(cases)
    graders = (Custom("half", half), Exact())
    evaluation = await bench.evaluate(dataset.dataset_version_id, echo, *graders, coverage_threshold=0.5)
    assert counts(evaluation) == (3, 0, 1, 2)
    assert evaluation.scores is not None
    assert {name: score.value for name, score in evaluation.scores.items()} == {"half": 0.5, "exact": 0.0}
    first = (await bench.results(evaluation))[0]
    assert (first.scores, first.reason) == (None, "exact: the case does not say what is expected")


async def test_no_more_run_at_once_than_is_said(bench: EvaluationDesk) -> None:
    going, most = 0, 0
    full = asyncio.Event()

    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        nonlocal going, most
        going += 1
        most = max(most, going)
        if going == 3:
            full.set()
        async with asyncio.timeout(20):
            await full.wait()
        going -= 1
        return 1

    dataset = await bench.add(7)
    await bench.evaluate(dataset.dataset_version_id, answer, Custom("any", lambda attempt: 1.0), at_once=3)
    assert most == 3


async def test_cancelled_it_keeps_what_was_attempted(bench: EvaluationDesk) -> None:
    reached = asyncio.Event()

    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        if numbered(case) == 2:
            reached.set()
            await asyncio.Event().wait()
        return 1

    dataset = (await bench.add(5)).dataset_version_id
    task = asyncio.create_task(bench.evaluate(dataset, answer, Custom("any", lambda attempt: 1.0), at_once=1))
    async with asyncio.timeout(20):
        await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [evaluation] = await bench.listed()
    assert (evaluation.cases, counts(evaluation), evaluation.scores) == (5, (2, 0, 0, 2), None)
    [(status, error)] = await bench.desk.rows(
        "SELECT status, error_message FROM datalane.agent_runs WHERE input = '{\"number\": 2}'"
    )
    assert (status, error) == ("failed", "it was cancelled")


async def test_cancelled_while_it_is_kept_it_is_kept(bench: EvaluationDesk, maintenance: asyncpg.Connection) -> None:
    dataset = (await bench.add(2)).dataset_version_id
    [role] = [
        name
        for (name,) in await bench.desk.rows("SELECT tableowner FROM pg_tables WHERE tablename = 'agent_evaluations'")
    ]
    held = maintenance.transaction()
    await held.start()
    await maintenance.execute(f"SET LOCAL ROLE {role}; LOCK TABLE datalane.agent_evaluations IN SHARE MODE")
    task = asyncio.create_task(bench.evaluate(dataset, echo, Custom("any", lambda attempt: 1.0)))

    async def is_waiting() -> bool:
        sql = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        return bool(await maintenance.fetch(sql))

    await eventually(is_waiting)
    task.cancel()
    await held.rollback()
    with pytest.raises(asyncio.CancelledError):
        await task
    [evaluation] = await bench.listed()
    assert counts(evaluation) == (2, 0, 0, 2)


async def test_a_case_that_a_budget_does_not_let_begin_has_failed(bench: EvaluationDesk) -> None:
    async with bench.desk.database.transaction(replace(bench.desk.context, role=Role.ADMIN)) as tx:
        await set_budget(tx, NewBudget(meter=TOKENS, period="day", limit=Decimal(0)))
    evaluation = await bench.evaluate((await bench.add(2)).dataset_version_id, echo, Custom("any", lambda attempt: 1.0))
    for result in await bench.results(evaluation):
        assert (result.outcome, result.error_class) == ("failed", "policy_denied")
        assert result.run_id is not None
        assert (await bench.desk.show(result.run_id)).status == "blocked_policy"


@pytest.mark.parametrize("by", ["agent", "grader"])
async def test_without_its_database_it_stops_and_keeps_what_was_attempted(bench: EvaluationDesk, by: str) -> None:
    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        if by == "agent" and numbered(case) == 1:
            raise DatabaseUnavailable("gone")
        return numbered(case)

    def grade(attempt: Attempt) -> float:
        if attempt.output == 1:
            raise DatabaseUnavailable("gone")
        return 1.0

    dataset = (await bench.add(5)).dataset_version_id
    with pytest.raises(DatabaseUnavailable):
        await bench.evaluate(dataset, answer, Custom("own", grade), at_once=1)
    [evaluation] = await bench.listed()
    assert counts(evaluation) == (1, 0, 0, 1)


async def test_nothing_attempted_is_nothing_kept(bench: EvaluationDesk) -> None:
    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        raise DatabaseUnavailable("gone")

    with pytest.raises(DatabaseUnavailable):
        await bench.evaluate((await bench.add(2)).dataset_version_id, answer, Custom("own", lambda attempt: 1.0))
    assert await bench.listed() == []


async def test_a_run_whose_lease_was_lost_is_a_case_that_took_too_long(
    bench: EvaluationDesk, maintenance: asyncpg.Connection
) -> None:
    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        assert await bench.desk.rows(
            "SELECT datalane.take_agent_run($1, 'thief', '1 minute', clock_timestamp() + interval '1 hour')", run.run_id
        )
        return 1

    dataset = (await bench.add(1)).dataset_version_id
    evaluation = await bench.evaluate(dataset, answer, Custom("any", lambda attempt: 1.0))
    [result] = await bench.results(evaluation)
    assert (result.outcome, result.error_class) == ("failed", "timeout")


async def test_what_cannot_be_recorded_is_refused_before_anything_is_run(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(2)).dataset_version_id
    own = Custom("own", lambda attempt: 1.0)

    async def wrong(error: type[Exception], desk: EvaluationDesk, *graders: Any, **said: Any) -> None:
        with pytest.raises(error):
            await desk.evaluate(said.pop("of", dataset), echo, *graders, **said)

    await wrong(NotFound, bench, own, of=uuid7())
    await wrong(NotFound, bench, own, model_version_id=uuid7())
    await wrong(InvalidInput, bench, own, own)
    await wrong(InvalidInput, bench, own, thresholds={"owl": 1})
    await wrong(Forbidden, EvaluationDesk(bench.desk.acting(Role.VIEWER)), own)
    assert await bench.desk.rows("SELECT run_id FROM datalane.agent_runs") == []


# Graders that read ------------------------------------------------------------------------------------------------


async def test_a_registered_schema_grades_outputs(bench: EvaluationDesk) -> None:
    new = NewOutputSchema(name="answer", json_schema={"type": "integer", "maximum": 1})
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        schema_id = (await register_output_schema(tx, new)).output_schema_version_id
        schema = Schema(await get_output_schema(tx, schema_id))
    dataset = (await bench.add(4)).dataset_version_id
    evaluation = await bench.evaluate(dataset, echo, schema, output_schema_version_id=schema_id)
    assert [result.scores for result in await bench.results(evaluation)] == [
        {"schema": 1.0 if n < 2 else 0.0} for n in range(4)
    ]
    assert evaluation.graders[0].settings == {"output_schema_version_id": str(schema_id)}


async def test_retrieval_is_that_of_the_searches_of_the_run(bench: EvaluationDesk) -> None:
    def chunk(document: str) -> dict[str, str]:
        return {"document_id": document, "source_uri": f"{document}.md"}

    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        number = numbered(case)
        for found in (["x"], ["a", "x"]) if number == 0 else ([[]] if number == 1 else []):
            async with run.tool(SEARCH, {}) as call:
                call.result = {"chunks": [chunk(each) for each in found]}
        return {"found": ["b.md", "a.md"] if number else "b.md"}

    dataset = (await bench.add(3, relevant={"a.md": 1})).dataset_version_id
    by_calls = await bench.evaluate(dataset, answer, Retrieval(tool_name=SEARCH))
    results = await bench.results(by_calls)
    assert [(result.scores or {}).get("RR@10") for result in results] == [0.5, 0.0, None]
    assert "made no call" in (results[2].reason or "")
    by_output = await bench.evaluate(dataset, answer, Retrieval(member="found"))
    results = await bench.results(by_output)
    assert [(result.scores or {}).get("RR@10") for result in results] == [None, 0.5, 0.5]
    unsaid = (await bench.add(2)).dataset_version_id
    assert counts(await bench.evaluate(unsaid, answer, Retrieval(member="found"))) == (2, 0, 2, 0)


async def test_sentences_count_where_one_of_their_citations_stands(bench: EvaluationDesk) -> None:
    standing, gone = uuid7(), uuid7()

    async def find(tx: Transaction, ids: Any) -> set[Any]:
        assert tx.workspace_id == bench.desk.context.workspace_id
        return {standing} & set(ids)

    async def answer(run: RecordedRun, case: DatasetCase) -> Any:
        cited: list[list[Any]] = [[standing, gone], [gone], [], [standing]]
        return {"sentences": [{"text": "a", "citation_ids": each} for each in cited[: numbered(case)]]}

    dataset = (await bench.add(5)).dataset_version_id
    evaluation = await bench.evaluate(dataset, answer, Citations(find))
    results = await bench.results(evaluation)
    shares = [(result.scores or {}).get("citations") for result in results]
    assert shares == [None, 1.0, 0.5, pytest.approx(1 / 3), 0.5]

"""Evaluations that are kept: what is refused, what adds up, and what nobody changes afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.evaluations.conftest import OWN, EvaluationDesk, failed, invalid

from datalane.agents.evaluations import datasets
from datalane.agents.evaluations.schemas import DatasetCase, GraderSaid, NewCaseResult
from datalane.agents.runs.schemas import NewStep
from datalane.agents.versions import models, prices
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Role
from datalane.errors import DatalaneError, Forbidden, InvalidInput, LimitExceeded, NotFound
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

# Datasets ---------------------------------------------------------------------------------------------------------


def cases(*names: str, **said: Any) -> list[DatasetCase]:
    return [DatasetCase(case_id=name, input=name, **said) for name in names]


async def test_the_same_cases_in_another_order_are_the_same_version(bench: EvaluationDesk) -> None:
    first = await bench.add(cases("a", "b"))
    again = await bench.add(cases("b", "a"))
    assert (again.created, again.dataset_version_id) == (False, first.dataset_version_id)
    other = await bench.add(cases("a", "b", expected="x"))
    assert (first.version, other.version, other.created) == (1, 2, True)
    assert (await bench.add(cases("a", "b"), name="other")).version == 1


async def test_of_two_at_once_with_the_same_cases_one_makes_the_version(bench: EvaluationDesk) -> None:
    added = await asyncio.gather(*(bench.add(50) for _ in range(4)))
    assert sorted(each.created for each in added) == [False, False, False, True]
    assert len({each.dataset_version_id for each in added}) == 1
    others = await asyncio.gather(*(bench.add(2, expected=number) for number in range(3)))
    assert sorted(each.version for each in others) == [2, 3, 4]


async def test_cases_are_read_as_they_were_said_page_by_page(bench: EvaluationDesk) -> None:
    said = [
        DatasetCase(case_id="z", input={"q": [1, None]}, expected=False, relevant={"a.md": 2}),
        DatasetCase(case_id="a", input="text", expected=0),
        DatasetCase(case_id="m", input=[], expected=""),
    ]
    added = await bench.add(said)
    read: list[DatasetCase] = []
    async with bench.desk.database.transaction(bench.desk.context) as tx:
        page = await datasets.get_dataset(tx, added.dataset_version_id, page_size=2)
        read += page.data
        page = await datasets.get_dataset(tx, added.dataset_version_id, page.next_cursor, page_size=2)
    assert [*read, *page.data] == said
    assert page.next_cursor is None
    assert page.dataset.cases == 3


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (cases("a", "a"), InvalidInput),
        ([DatasetCase(case_id="a", input=None)], InvalidInput),
        ([DatasetCase(case_id="a", input="x" * 1_100_000)], LimitExceeded),
        ([DatasetCase(case_id="a", input="x", expected=["\x00"])], InvalidInput),
        ([DatasetCase(case_id="a", input="x", expected=float("nan"))], InvalidInput),
    ],
)
async def test_a_case_that_cannot_be_kept_is_named_and_nothing_is_stored(
    bench: EvaluationDesk, wrong: list[DatasetCase], error: type[DatalaneError]
) -> None:
    with pytest.raises(error, match=r"cases\.[01]\."):
        await bench.add(wrong)
    assert await bench.desk.rows("SELECT name FROM datalane.agent_datasets") == []


async def test_a_dataset_of_many_large_cases_is_written_in_parts(bench: EvaluationDesk) -> None:
    added = await bench.add([DatasetCase(case_id=str(place), input="x" * 900_000) for place in range(12)])
    [(count, least)] = await bench.desk.rows(
        "SELECT count(*), min(length(input::text)) FROM datalane.agent_dataset_cases WHERE dataset_version_id = $1",
        added.dataset_version_id,
    )
    assert (count, least) == (12, 900_002)


# What is refused --------------------------------------------------------------------------------------------------


async def test_a_case_twice_a_strange_one_and_strange_scores_are_refused(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(3)).dataset_version_id
    graded = NewCaseResult(case_id="1", outcome="graded", scores={"own": 1.0})
    strange = graded.model_copy(update={"case_id": "9"})
    for results in ([graded, graded], [strange], [graded.model_copy(update={"scores": {"owl": 1.0}})]):
        with pytest.raises(InvalidInput, match=r"body\.results"):
            await bench.record(dataset, results)
    for said in ({"graders": [OWN, OWN]}, {"thresholds": {"owl": 0.5}}):
        with pytest.raises(InvalidInput):
            await bench.record(dataset, [1.0], **said)
    assert await bench.listed() == []


async def test_what_it_names_must_be_there_and_of_this_workspace(bench: EvaluationDesk) -> None:
    dataset, unknown = (await bench.add(3)).dataset_version_id, uuid7()
    with pytest.raises(NotFound, match="dataset"):
        await bench.record(unknown, [1.0])
    for name, told in (("prompt", "prompt"), ("model", "model"), ("output_schema", "output schema")):
        with pytest.raises(NotFound, match=told):
            await bench.record(dataset, [1.0], **{f"{name}_version_id": unknown})
    with pytest.raises(NotFound, match="run"):
        await bench.record(dataset, [NewCaseResult(case_id="0", outcome="invalid", reason="x", run_id=unknown)])


async def test_another_workspace_sees_none_of_it(bench: EvaluationDesk) -> None:
    dataset = await bench.add(3)
    mine = await bench.record(dataset.dataset_version_id, [1.0, 1.0, 1.0])
    run = await bench.desk.hold()
    other = EvaluationDesk(LedgerDesk(bench.desk.database, a_context(uuid7())))
    theirs = await other.add(3)
    assert theirs.version == 1
    with pytest.raises(NotFound):
        await other.record(dataset.dataset_version_id, [1.0])
    with pytest.raises(NotFound):
        await other.record(
            theirs.dataset_version_id,
            [NewCaseResult(case_id="0", outcome="invalid", reason="x", run_id=run.run_id)],
        )
    with pytest.raises(NotFound):
        await other.compare(mine, mine)
    assert await other.listed() == []


async def test_a_viewer_reads_and_writes_nothing(bench: EvaluationDesk) -> None:
    dataset = await bench.add(3)
    evaluation = await bench.record(dataset.dataset_version_id, [1.0, 1.0, 1.0])
    viewer = EvaluationDesk(bench.desk.acting(Role.VIEWER))
    assert await viewer.listed() == [evaluation]
    with pytest.raises(Forbidden):
        await viewer.add(2)
    with pytest.raises(Forbidden):
        await viewer.record(dataset.dataset_version_id, [1.0])
    with pytest.raises(Forbidden):
        await viewer.desk.rows(
            "INSERT INTO datalane.agent_datasets (workspace_id, dataset_version_id, name, version, cases_sha256, "
            "cases, created_at, created_by_actor_id) VALUES ($1, $1, 'x', 1, sha256('x'), 1, now(), $1)",
            viewer.desk.context.workspace_id,
        )


# What nobody changes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.MEMBER, Role.OWNER])
@pytest.mark.parametrize("table", ["datasets", "dataset_cases", "evaluations", "evaluation_results"])
async def test_what_was_measured_is_not_changed_by_raw_sql(bench: EvaluationDesk, role: Role, table: str) -> None:
    await bench.record((await bench.add(2)).dataset_version_id, [1.0, 0.0])
    acting = bench.desk.acting(role)
    for statement in (
        f"UPDATE datalane.agent_{table} SET workspace_id = workspace_id",
        f"DELETE FROM datalane.agent_{table}",
    ):
        with pytest.raises(Forbidden):
            await acting.rows(statement)


LATE_CASE = """
    INSERT INTO datalane.agent_dataset_cases (workspace_id, dataset_version_id, ordinal, case_id, cases, input)
    SELECT workspace_id, dataset_version_id, $1, 'late', $2, '1' FROM datalane.agent_datasets"""
LATE_RESULT = """
    INSERT INTO datalane.agent_evaluation_results (workspace_id, evaluation_id, ordinal, case_id, attempted, outcome,
                                                   reason)
    SELECT workspace_id, evaluation_id, $1, 'late', $2, 'invalid', 'late' FROM datalane.agent_evaluations"""
SCORED = """
    INSERT INTO datalane.agent_evaluations (workspace_id, evaluation_id, dataset_version_id, agent, graders, cases,
                                            attempted, failed, invalid, graded, coverage_threshold, thresholds, scores,
                                            known_cost, unpriced, created_at, actor_id)
    SELECT workspace_id, $1, dataset_version_id, agent, graders, cases, attempted, failed, invalid, graded,
           coverage_threshold, thresholds, '{}', 0, 0, created_at, actor_id FROM datalane.agent_evaluations"""


@pytest.mark.parametrize("statement", [LATE_CASE, LATE_RESULT])
@pytest.mark.parametrize(("ordinal", "count"), [(3, 2), (3, 3), (0, 2), (2, 2)])
async def test_nothing_is_added_to_what_is_whole(
    bench: EvaluationDesk, statement: str, ordinal: int, count: int
) -> None:
    """Also by raw SQL, whatever place it takes."""
    await bench.record((await bench.add(2)).dataset_version_id, [1.0, 0.0])
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await bench.desk.rows(statement, ordinal, count)


async def test_the_database_tells_no_score_of_too_few_cases(bench: EvaluationDesk) -> None:
    evaluation = await bench.record((await bench.add(10)).dataset_version_id, [1.0] * 8)
    assert (evaluation.scores, evaluation.passed) == (None, None)
    with pytest.raises(asyncpg.CheckViolationError, match="too_few_cases_have_no_score"):
        await bench.desk.rows(SCORED, uuid7())


async def test_an_evaluation_is_written_whole_or_not_at_all(bench: EvaluationDesk) -> None:
    """A result that the database refuses takes the evaluation along."""
    dataset = await bench.add(2)
    large = NewCaseResult(case_id="1", outcome="graded", scores={"own": 1.0}, input_tokens=1)
    wrong = large.model_copy(update={"input_tokens": -1})
    with pytest.raises((DatalaneError, asyncpg.PostgresError)):
        await bench.record(dataset.dataset_version_id, [1.0, wrong])
    for table in ("agent_evaluations", "agent_evaluation_results"):
        assert await bench.desk.rows(f"SELECT 1 FROM datalane.{table}") == []


# What adds up -----------------------------------------------------------------------------------------------------


async def test_counts_coverage_and_scores_are_those_of_the_results(bench: EvaluationDesk) -> None:
    dataset = await bench.add(10)
    scores: list[float | NewCaseResult] = [1.0, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, failed(7), invalid(8)]
    evaluation = await bench.record(dataset.dataset_version_id, scores, coverage_threshold=0.7, thresholds={"own": 0.7})
    assert (evaluation.attempted, evaluation.failed, evaluation.invalid, evaluation.graded) == (9, 1, 1, 7)
    assert (evaluation.cases, evaluation.coverage, evaluation.refusal) == (10, 0.7, None)
    assert evaluation.scores is not None
    assert evaluation.scores["own"].value == pytest.approx(5.5 / 7)
    assert evaluation.scores["own"].low < 5.5 / 7 < evaluation.scores["own"].high
    assert evaluation.passed is True
    results = await bench.results(evaluation)
    assert [(one.case_id, one.outcome) for one in results[6:]] == [("6", "graded"), ("7", "failed"), ("8", "invalid")]
    assert (results[7].error_class, results[7].reason) == ("timeout", "it took too long")


async def test_just_below_the_threshold_the_score_is_refused_and_at_it_told(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(10)).dataset_version_id
    below, at = await bench.record(dataset, [*[1.0] * 8, invalid(8)]), await bench.record(dataset, [1.0] * 9)
    assert below.refusal is not None
    assert "8 of 10 cases are graded" in below.refusal
    assert at.scores is not None
    for one, other in ((at, below), (below, at)):
        with pytest.raises(InvalidInput, match="has no scores to compare"):
            await bench.compare(one, other)


async def test_what_runs_used_is_taken_from_the_ledger(bench: EvaluationDesk) -> None:
    async with bench.desk.database.transaction(replace(bench.desk.context, role=Role.ADMIN)) as tx:
        model = (await models.register_model(tx, NewAgentModel(provider="owls", model="owl-1"))).model_version_id
        price = NewModelPrice(
            model_version_id=model, currency="USD", input_per_million=Decimal(1), output_per_million=Decimal(2)
        )
        await prices.create_price(tx, price)

    async def run(model_version_id: UUID | None) -> UUID:
        held = await bench.desk.hold()
        step = NewStep(kind="model", name="chat", model_version_id=model_version_id, input_tokens=3, output_tokens=4)
        await bench.desk.record(held, step)
        await bench.desk.end(held)
        return held.run_id

    priced, unpriced = await run(model), await run(None)
    graded = {"outcome": "graded", "scores": {"own": 1.0}}
    results = [
        NewCaseResult(case_id=str(place), run_id=run_id, **graded)  # type: ignore[arg-type]
        for place, run_id in enumerate((priced, unpriced))
    ]
    evaluation = await bench.record((await bench.add(2)).dataset_version_id, results)
    assert (evaluation.known_cost, evaluation.currency, evaluation.unpriced) == (Decimal("0.000011"), "USD", 1)
    assert evaluation.cost is None
    assert (evaluation.input_tokens, evaluation.output_tokens) == (6, 8)
    kept = await bench.results(evaluation)
    assert [one.cost for one in kept] == [Decimal("0.000011"), None]
    assert all(one.seconds is not None for one in kept)
    twice = [results[0], results[0].model_copy(update={"case_id": "1"})]
    with pytest.raises(InvalidInput, match="run_id"):
        await bench.record(evaluation.dataset_version_id, twice)


async def test_a_reason_keeps_no_credential(bench: EvaluationDesk) -> None:
    secret = "hunter2hunter2"
    said = NewCaseResult(case_id="0", outcome="invalid", reason=f"refused: password={secret}")
    evaluation = await bench.record((await bench.add(1)).dataset_version_id, [said])
    [kept] = await bench.results(evaluation)
    assert kept.reason is not None
    assert secret not in kept.reason


# Comparing --------------------------------------------------------------------------------------------------------


async def test_a_version_that_is_truly_worse_is_told_so(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(40)).dataset_version_id
    before = await bench.record(dataset, [1.0] * 40, agent="before")
    now = await bench.record(dataset, [*[1.0] * 24, *[0.0] * 14, failed(38), failed(39)])
    told = await bench.compare(now, before)
    change = told.scores["own"]
    assert (told.pairs, change.verdict, change.better, change.worse, change.equal) == (38, "worse", 0, 14, 24)
    assert change.difference.value == pytest.approx(-14 / 38)
    assert change.difference.high < 0
    assert told.changed == {"agent": ("before", "helper")}
    assert [one.case_id for one in told.most_changed] == sorted(str(place) for place in range(24, 34))
    assert (told.cost, told.tokens) == (None, None)
    assert (await bench.compare(before, now)).scores["own"].verdict == "better"
    assert (await bench.compare(now, now)).scores["own"].verdict == "not told apart"


async def test_costs_and_tokens_are_compared_where_both_are_known(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(12)).dataset_version_id

    def used(cost: str, tokens: int, currency: str = "USD") -> list[NewCaseResult]:
        return [
            NewCaseResult(
                case_id=str(place),
                outcome="graded",
                scores={"own": 1.0},
                cost=Decimal(cost) if place else None,
                currency=currency if place else None,
                input_tokens=tokens,
            )
            for place in range(12)
        ]

    cheap, dear = await bench.record(dataset, used("0.01", 10)), await bench.record(dataset, used("0.03", 40))
    told = await bench.compare(dear, cheap)
    assert told.cost is not None
    assert told.tokens is not None
    assert (told.cost.pairs, told.cost.currency) == (11, "USD")
    assert told.cost.difference.low == pytest.approx(0.02)
    assert (told.tokens.pairs, told.tokens.baseline, told.tokens.value) == (12, 10.0, 40.0)
    other = await bench.record(dataset, used("0.03", 40, "EUR"))
    assert (await bench.compare(other, cheap)).cost is None


async def test_nine_cases_are_too_few_to_tell_two_versions_apart(bench: EvaluationDesk) -> None:
    dataset = (await bench.add(9)).dataset_version_id
    before, now = await bench.record(dataset, [1.0] * 9), await bench.record(dataset, [0.0] * 9)
    assert (await bench.compare(now, before)).scores["own"].verdict == "too few cases"


async def test_other_datasets_and_other_graders_are_not_compared(bench: EvaluationDesk) -> None:
    first, second = await bench.add(2), await bench.add(2, expected="x")
    one, other = [await bench.record(each.dataset_version_id, [1.0, 1.0]) for each in (first, second)]
    with pytest.raises(InvalidInput, match="different datasets"):
        await bench.compare(one, other)
    told_otherwise = GraderSaid(name="own", scores=["own"], settings={"strict": True})
    strict = await bench.record(first.dataset_version_id, [1.0, 1.0], graders=[told_otherwise])
    with pytest.raises(InvalidInput, match="no grader in common"):
        await bench.compare(strict, one)

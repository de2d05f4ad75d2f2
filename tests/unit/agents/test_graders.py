"""What graders make of an output, and what evaluations make of their scores."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from datalane.agents.evaluations.adding_up import add_up, check_graders
from datalane.agents.evaluations.graders import (
    Ungradable,
    are_equal,
    cited_ids,
    listed_documents,
    measure_found,
    member_of,
)
from datalane.agents.evaluations.running import checked_scores
from datalane.agents.evaluations.schemas import GraderSaid, NewCaseResult, NewEvaluation
from datalane.errors import InvalidInput
from datalane.kit.ids import uuid7
from datalane.kit.measuring import Interval, verdict_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
SCORES = GraderSaid(name="own", scores=["own"])


def new(results: list[NewCaseResult], **said: Any) -> NewEvaluation:
    usual: dict[str, Any] = {"dataset_version_id": uuid7(), "agent": "helper", "graders": [SCORES]}
    return NewEvaluation(**{**usual, **said}, results=results)


def graded(case: object, score: float, **said: Any) -> NewCaseResult:
    return NewCaseResult(case_id=str(case), outcome="graded", scores={"own": score}, **said)


def failed(case: object) -> NewCaseResult:
    return NewCaseResult(case_id=str(case), outcome="failed", error_class="timeout", reason="it took too long")


# Equality ---------------------------------------------------------------------------------------------------------


@given(JSON)
def test_a_value_is_equal_to_itself(value: Any) -> None:
    assert are_equal(value, value)


@given(JSON, JSON)
def test_equality_looks_the_same_from_both_sides(one: Any, other: Any) -> None:
    assert are_equal(one, other) == are_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        (" a\n", "a", True),
        ("a b", "a  b", False),
        ({"a": [" x"]}, {"a": ["x "]}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_json_has_them(one: Any, other: Any, is_equal: bool) -> None:
    assert are_equal(one, other) is is_equal


def test_a_member_that_is_not_there_cannot_be_graded() -> None:
    assert member_of({"text": None}, "text") is None
    for output in ({"other": 1}, "text", ["text"], None):
        with pytest.raises(Ungradable):
            member_of(output, "text")


# Citations and documents ------------------------------------------------------------------------------------------


def test_what_is_no_id_cites_nothing() -> None:
    known = uuid7()
    said: list[Any] = [None, 7, "x", {}, [], str(known), str(known).upper()]
    assert cited_ids([{"citation_ids": said}, {"citation_ids": "x"}, {}]) == [{known}, set(), set()]


@pytest.mark.parametrize("sentences", [[], None, "text", [1], {"a": 1}])
def test_an_output_without_sentences_cannot_be_graded_by_its_citations(sentences: Any) -> None:
    with pytest.raises(Ungradable):
        cited_ids(sentences)


def test_documents_count_by_id_or_source_uri_where_they_come_first() -> None:
    found = [("1", "a.md"), ("1", "a.md"), ("2", None), ("3", "c.md")]
    both = measure_found(found, {"a.md": 1, "3": 1})
    gained, best = 1 + 1 / math.log2(4), 1 + 1 / math.log2(3)
    assert both == pytest.approx({"nDCG@10": gained / best, "R@100": 1.0, "RR@10": 1.0})
    assert measure_found([], {"a.md": 1}) == {"nDCG@10": 0.0, "R@100": 0.0, "RR@10": 0.0}
    with pytest.raises(Ungradable):
        listed_documents([1])


# Scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [math.nan, -0.01, 2.0, math.inf, None, "1", [1]])
def test_what_is_no_number_from_0_to_1_is_no_score(score: Any) -> None:
    with pytest.raises(Ungradable):
        checked_scores(SCORES, {"own": score})
    with pytest.raises(ValidationError):
        NewCaseResult.model_validate({"case_id": "1", "outcome": "graded", "scores": {"own": score}})


def test_a_grader_gives_all_of_its_scores_and_no_others() -> None:
    assert checked_scores(SCORES, {"own": True}) == {"own": 1.0}
    for given_scores in ({}, {"own": 1, "other": 1}, {"other": 1}, None, 1.0):
        with pytest.raises(Ungradable):
            checked_scores(SCORES, given_scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        {"outcome": "graded"},
        {"outcome": "graded", "scores": {"own": 1}, "reason": "x"},
        {"outcome": "failed", "reason": "x"},
        {"outcome": "failed", "error_class": "timeout"},
        {"outcome": "invalid"},
        {"outcome": "invalid", "reason": "x", "scores": {"own": 1}},
        {"outcome": "graded", "scores": {"own": 1}, "run_id": UUID(int=1), "cost": 1, "currency": "USD"},
        {"outcome": "graded", "scores": {"own": 1}, "cost": 1},
        {"outcome": "graded", "scores": {"own": 1}, "seconds": -1},
    ],
)
def test_a_result_says_what_its_outcome_takes_and_nothing_else(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewCaseResult(case_id="1", **said)


# Adding up --------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["graded", "failed", "invalid"]), min_size=1, max_size=30), st.integers(0, 10))
def test_counts_add_up_and_scores_are_told_from_the_threshold_on(outcomes: list[str], missing: int) -> None:
    results = [
        graded(place, 0.5)
        if outcome == "graded"
        else failed(place)
        if outcome == "failed"
        else NewCaseResult(case_id=str(place), outcome="invalid", reason="x")
        for place, outcome in enumerate(outcomes)
    ]
    cases = len(results) + missing
    sums = add_up(new(results), results, cases)
    assert sums.attempted == sums.failed + sums.invalid + sums.graded == len(results)
    assert (sums.scores is not None) == (sums.graded * 10 >= cases * 9)
    assert (sums.scores is None) == (sums.refusal is not None)


@pytest.mark.parametrize(("cases", "threshold"), [(10, 0.9), (30, 0.9), (3, 2 / 3), (7, 3 / 7), (10_000, 0.9999)])
def test_a_score_is_told_at_the_threshold_and_refused_just_below_it(cases: int, threshold: float) -> None:
    at = round(cases * threshold)
    for count, is_told in ((at, True), (at - 1, False)):
        results = [graded(place, 1.0) for place in range(count)]
        sums = add_up(new(results, coverage_threshold=threshold), results, cases)
        assert (sums.scores is not None) is is_told
        assert sums.refusal is None or f"{count:,} of {cases:,}" in sums.refusal


def test_an_evaluation_passes_where_every_mean_is_at_its_threshold() -> None:
    results = [graded(1, 1.0), graded(2, 0.5)]
    assert add_up(new(results), results, 2).passed is None
    assert add_up(new(results, thresholds={"own": 0.75}), results, 2).passed is True
    assert add_up(new(results, thresholds={"own": 0.76}), results, 2).passed is False
    assert add_up(new(results, thresholds={"own": 0.0}), results, 3).passed is None


def test_costs_are_summed_in_the_currency_of_most_and_the_others_are_not_known() -> None:
    costs = [("1.5", "USD"), ("2", "EUR"), ("0.25", "USD"), ("0", None), (None, None)]
    results = [graded(place, 1.0, cost=cost, currency=currency) for place, (cost, currency) in enumerate(costs)]
    sums = add_up(new(results), results, 5)
    assert (sums.known_cost, sums.currency, sums.unpriced) == (Decimal("1.75"), "USD", 2)
    assert (sums.input_tokens, sums.output_tokens) == (None, None)


def test_two_scores_of_one_name_and_thresholds_of_none_are_refused() -> None:
    one = [graded(1, 1.0)]
    check_graders(new(one, thresholds={"own": 1}))
    other = GraderSaid(name="other", scores=["own"])
    for said in ({"graders": [SCORES, SCORES]}, {"graders": [SCORES, other]}, {"thresholds": {"owl": 1}}):
        with pytest.raises(InvalidInput):
            check_graders(new(one, **said))


def test_ten_pairs_are_told_apart_and_nine_are_too_few() -> None:
    better = Interval(0.5, 0.1, 0.9)
    assert [verdict_of(better, pairs, "cases") for pairs in (9, 10)] == ["too few cases", "better"]
    assert verdict_of(Interval(-0.5, -0.9, -0.1), 10, "cases") == "worse"
    assert verdict_of(Interval(0.1, 0.0, 0.2), 10, "cases") == "not told apart"

"""Measures of judged queries against values worked out by hand, and their intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.kit.measuring import MEASURES, difference_of, mean_of, measure_queries, ratio_of

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_measures_are_those_worked_out_by_hand() -> None:
    judgements = {"q": {"a": 2, "b": 1}, "lost": {"a": 1}}
    ranking = {"q": {"x": 0.9, "b": 0.8, "a": 0.7}, "unjudged": {"a": 1.0}}
    found = measure_queries(judgements, ranking)
    gained = 1 / math.log2(3) + 2 / math.log2(4)
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert found["q"] == pytest.approx({"nDCG@10": gained / best, "R@100": 1.0, "RR@10": 0.5})
    assert found["lost"] == dict.fromkeys(MEASURES, 0.0)
    assert found.keys() == judgements.keys()


@given(scores)
def test_the_interval_of_a_mean_holds_it_and_is_the_same_each_time(values: list[float]) -> None:
    first = mean_of(values)
    assert min(values) - 1e-9 <= first.low <= first.high <= max(values) + 1e-9
    assert mean_of(values) == first
    assert first.value == pytest.approx(sum(values) / len(values))


@given(scores)
def test_a_run_beside_itself_has_the_ratio_one(values: list[float]) -> None:
    ratio = ratio_of(values, values)
    if ratio is not None:
        assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1, 1, 1))


def test_an_interval_tells_a_plain_difference_and_no_chance_one() -> None:
    before = [(n % 10) / 10 + 0.01 for n in range(100)]
    plain = ratio_of([value * 1.1 for value in before], before)
    assert plain is not None
    assert plain.low > 1.09
    shuffled = ratio_of(before[::-1], before)
    assert shuffled is not None
    assert shuffled.low < 1 < shuffled.high


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio_of([0.5, 0.5], [0.0, 0.0]) is None


def test_a_rise_from_nothing_is_told_by_the_difference() -> None:
    rise = difference_of([0.5] * 20, [0.0] * 20)
    assert (rise.value, rise.low, rise.high) == pytest.approx((0.5, 0.5, 0.5))
    few = [1.0, *[0.0] * 29]
    assert ratio_of(few, few) is None, "other queries might have had none"
    assert difference_of(few, few).value == 0

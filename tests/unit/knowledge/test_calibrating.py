"""From scores to confidences."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.knowledge.runs import judged_results

from datalane.errors import InvalidInput
from datalane.knowledge.confidence.bands import Band, band_of
from datalane.knowledge.confidence.calibrating import Judged, fit, measure
from datalane.knowledge.confidence.curve import Curve

scores = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5, 1.0])
some_judged = st.lists(st.builds(Judged, st.sampled_from("abc"), scores, st.booleans()), min_size=1, max_size=200)


def drawn(queries: int, relevance: float = 2) -> list[Judged]:
    """Ten results of each query; of those with score s, s to the power of `relevance` are relevant."""
    chance = random.Random(1)
    found = [(f"q{n}", chance.random()) for n in range(queries) for _ in range(10)]
    return [Judged(query, score, chance.random() < score**relevance) for query, score in found]


@given(some_judged)
def test_a_curve_rises_and_stays_between_never_and_always(judged: list[Judged]) -> None:
    curve = fit(judged)
    assert all(low < high for low, high in pairwise(curve.scores))
    assert all(low <= high for low, high in pairwise(curve.confidences))
    assert len(curve.scores) == len(curve.confidences) > 0
    some = {one.relevant for one in judged}
    for one in judged:
        assert 0 <= curve.of(one.score) <= 1
        assert some != {True, False} or 0 < curve.of(one.score) < 1


def test_a_confidence_is_interpolated_and_stays_beyond_the_ends() -> None:
    curve = Curve((1.0, 2.0, 4.0), (0.1, 0.5, 0.9))
    told = [curve.of(score) for score in (-9.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0)]
    assert told == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9])
    assert told == pytest.approx(list(np.interp((-9, 1, 1.5, 2, 3, 4, 9), curve.scores, curve.confidences)))


def test_confidences_are_shares_also_of_queries_that_were_not_learned_from() -> None:
    reliability = measure(drawn(300))
    assert reliability.calibration_error < 0.03
    assert reliability.brier_score < reliability.base_brier_score
    assert sum(band.results for band in reliability.bands) == 3_000
    for band in reliability.bands:
        assert band.confidence == pytest.approx(band.relevant, abs=0.06)
        assert band.confidence is not None
        assert band_of(band.confidence) is band.band


def test_a_score_that_tells_nothing_gets_the_overall_share() -> None:
    chance = random.Random(2)
    judged = [Judged(f"q{n}", chance.random(), chance.random() < 0.3) for n in range(60) for _ in range(10)]
    reliability = measure(judged)
    assert reliability.brier_score == pytest.approx(reliability.base_brier_score, abs=0.01)
    assert next(band for band in reliability.bands if band.band is Band.HIGH).results == 0


def test_a_score_that_is_no_number_is_not_learned_from() -> None:
    with pytest.raises(InvalidInput, match="finite"):
        measure([*judged_results(), Judged("q0", math.nan, True)])


@pytest.mark.parametrize("judged", [drawn(29), judged_results(40)[:199]])
def test_too_little_is_not_learned_from(judged: list[Judged]) -> None:
    with pytest.raises(InvalidInput, match="too few to calibrate"):
        measure(judged)

"""Days that are not as the days before them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from datalane.access.analytics.trends import judge_day, judge_days

DAY = date(2031, 3, 30)


@pytest.mark.parametrize(
    ("before", "events", "verdict"),
    [
        ([100] * 28, 100, "usual"),
        ([100] * 28, 135, "usual"),
        ([100] * 28, 136, "high"),
        ([100] * 28, 65, "usual"),
        ([100] * 28, 64, "low"),
        ([0] * 28, 3, "usual"),
        ([0] * 28, 4, "high"),
        ([0] * 28, 0, "usual"),
        ([50, 150] * 14, 20, "usual"),
        ([100] * 27 + [100_000], 136, "high"),
    ],
)
def test_a_day_is_judged_by_the_median_of_those_before_it(before: list[int], events: int, verdict: str) -> None:
    assert judge_day(DAY, events, before, 3.5).verdict == verdict


def test_the_band_is_of_robust_standard_deviations() -> None:
    judged = judge_day(DAY, 0, [90, 95, 100, 105, 110] * 2 + [100], 2)
    assert judged.median == 100
    assert judged.high - judged.median == pytest.approx(2 * max(1.4826 * 5, 10))
    wide = judge_day(DAY, 0, [10_000, 9_000, 11_000, 10_500, 9_500, 10_000, 10_000], 2)
    assert wide.high - wide.median == pytest.approx(2 * 1.4826 * 500)


def test_a_band_ends_at_nothing() -> None:
    assert judge_day(DAY, 0, [1] * 7, 20).low == 0


def test_days_without_events_count_as_none() -> None:
    first = DAY - timedelta(days=2)
    counts = {DAY - timedelta(days=back): 1_000 for back in range(40)}
    del counts[DAY - timedelta(days=1)]
    judged = judge_days(counts, first, DAY, 7, 3.5)
    assert [(day.day, day.events, day.verdict) for day in judged] == [
        (first, 1_000, "usual"),
        (DAY - timedelta(days=1), 0, "low"),
        (DAY, 1_000, "usual"),
    ]

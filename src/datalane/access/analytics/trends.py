"""Days that are not as the days before them.

The band around the median of the days before is as wide as `width` robust standard deviations: 1.4826 times the median
absolute deviation, which is the standard deviation of what is normally distributed, and which single days far off do
not move (B. Iglewicz, D. Hoaglin, How to Detect and Handle Outliers, 1993, whose modified z-score is beyond 3.5 then).
Counts vary by about their square root even where the deviation is 0, so the deviation is not taken to be less than
the root of the median, nor less than 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from datalane.access.analytics.asked import TrendDay, Verdict

NORMAL = 1.4826
_DAY = timedelta(days=1)


def judge_day(day: date, events: int, before: Sequence[int], width: float) -> TrendDay:
    """The day by the counts of those before it."""
    median = statistics.median(before)
    spread = NORMAL * statistics.median(abs(count - median) for count in before)
    reach = width * max(spread, math.sqrt(median), 1.0)
    low, high = max(median - reach, 0.0), median + reach
    verdict: Verdict = "low" if events < low else "high" if events > high else "usual"
    return TrendDay(day=day, events=events, median=median, low=low, high=high, verdict=verdict)


def judge_days(
    counts: Mapping[date, int], first_day: date, last_day: date, trailing_days: int, width: float
) -> list[TrendDay]:
    """Every day from `first_day` to `last_day`; one without a count has 0."""
    days = [first_day + place * _DAY for place in range((last_day - first_day).days + 1)]
    return [
        judge_day(
            day,
            counts.get(day, 0),
            [counts.get(day - back * _DAY, 0) for back in range(1, trailing_days + 1)],
            width,
        )
        for day in days
    ]

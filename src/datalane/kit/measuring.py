"""Measures of judged queries and cases, and how sure they are.

Measures of rankings are those of `ir_measures`: nDCG@10 (Järvelin and Kekäläinen, 2002, graded), R@100 (recall), RR@10
(reciprocal rank). An interval is that of a percentile bootstrap over queries (Efron, 1979): 95 % of the resampled means
lie in it. Two runs are compared on the same queries, resampled together.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURES = ("nDCG@10", "R@100", "RR@10")
RESAMPLES = 2_000
FEWEST = 10
"""Queries below which two runs are not told apart: resampling so few says little."""
_BLOCK = 1_000_000
"""Values that are resampled at a time, so that many queries take no more memory than some."""
_SEED = 1
_LOW, _HIGH = 2.5, 97.5

Judgements = Mapping[str, Mapping[str, int]]
"""Query → document → grade."""
Ranking = Mapping[str, Mapping[str, float]]
"""Query → document → score."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and between what 95 % of the resampled ones lie."""

    value: float
    low: float
    high: float


def measure_queries(judgements: Judgements, ranking: Ranking) -> dict[str, dict[str, float]]:
    """The measures of every judged query, 0 where nothing was found."""
    import ir_measures

    wanted = [ir_measures.parse_measure(name) for name in MEASURES]
    grades = {query: dict(documents) for query, documents in judgements.items()}
    found: dict[str, dict[str, float]] = {query: dict.fromkeys(MEASURES, 0.0) for query in grades}
    each: Any
    for each in ir_measures.iter_calc(wanted, grades, {query: dict(one) for query, one in ranking.items()}):
        found[each.query_id][str(each.measure)] = float(each.value)
    return found


def mean_of(values: Sequence[float]) -> Interval:
    """`values` has one of each query, at least one."""
    import numpy as np

    low, high = np.percentile(_means(values)[0], (_LOW, _HIGH))
    return Interval(statistics.fmean(values), float(low), float(high))


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """The ratio of the means of the same queries; None when the other mean is 0, also of a resample."""
    import numpy as np

    above, below = _means(ours, theirs)
    if not below.all():
        return None
    low, high = np.percentile(above / below, (_LOW, _HIGH))
    return Interval(statistics.fmean(ours) / statistics.fmean(theirs), float(low), float(high))


def difference_of(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The difference of the means of the same queries."""
    import numpy as np

    above, below = _means(ours, theirs)
    low, high = np.percentile(above - below, (_LOW, _HIGH))
    return Interval(statistics.fmean(ours) - statistics.fmean(theirs), float(low), float(high))


def verdict_of(difference: Interval, pairs: int, of: str) -> str:
    """`better` or `worse` where 0 is not in the interval, else `not told apart`; `too few {of}` below `FEWEST`."""
    if pairs < FEWEST:
        return f"too few {of}"
    if difference.low > 0 or difference.high < 0:
        return "better" if difference.low > 0 else "worse"
    return "not told apart"


def _means(*samples: Sequence[float]) -> list[NDArray[np.float64]]:
    """The means of each, of the same resampled queries."""
    import numpy as np

    rows, means = [np.asarray(each) for each in samples], [np.empty(RESAMPLES) for _ in samples]
    place = 0
    for chosen in _resampled(len(rows[0])):
        for values, found in zip(rows, means, strict=True):
            found[place : place + len(chosen)] = values[chosen].mean(axis=1)
        place += len(chosen)
    return means


def _resampled(queries: int) -> Iterator[NDArray[np.int32]]:
    import numpy as np

    generator, left = np.random.default_rng(_SEED), RESAMPLES
    while left:
        taken = min(left, max(1, _BLOCK // queries))
        yield generator.integers(0, queries, size=(taken, queries), dtype=np.int32)
        left -= taken

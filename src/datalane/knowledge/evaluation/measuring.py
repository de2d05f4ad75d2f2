"""Measures of judged queries, and how sure they are.

Measures are those of `ir_measures`: nDCG@10 (Järvelin and Kekäläinen, 2002, graded), R@100 (recall), RR@10 (reciprocal
rank). An interval is that of a percentile bootstrap over queries (Efron, 1979): 95 % of the resampled means lie in it.
Two runs are compared on the same queries, resampled together.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURES = ("nDCG@10", "R@100", "RR@10")
RESAMPLES = 2_000
FEWEST = 10
"""Queries below which two runs are not told apart: resampling so few says little."""
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

    rows = np.asarray(values)
    means = rows[_resampled(len(rows))].mean(axis=1)
    low, high = np.percentile(means, (_LOW, _HIGH))
    return Interval(statistics.fmean(values), float(low), float(high))


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """The ratio of the means of the same queries; None when the other mean is 0, also of a resample."""
    import numpy as np

    above, below = _paired(ours, theirs)
    if not below.all():
        return None
    low, high = np.percentile(above / below, (_LOW, _HIGH))
    return Interval(statistics.fmean(ours) / statistics.fmean(theirs), float(low), float(high))


def difference_of(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The difference of the means of the same queries."""
    import numpy as np

    above, below = _paired(ours, theirs)
    low, high = np.percentile(above - below, (_LOW, _HIGH))
    return Interval(statistics.fmean(ours) - statistics.fmean(theirs), float(low), float(high))


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of both, of the same resampled queries."""
    import numpy as np

    chosen = _resampled(len(ours))
    return np.asarray(ours)[chosen].mean(axis=1), np.asarray(theirs)[chosen].mean(axis=1)


def _resampled(queries: int) -> NDArray[np.int32]:
    import numpy as np

    return np.random.default_rng(_SEED).integers(0, queries, size=(RESAMPLES, queries), dtype=np.int32)

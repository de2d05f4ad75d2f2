"""From retrieval scores to confidences, learned from judged results.

Histogram binning, then isotonic regression by pooling adjacent violators (Zadrozny and Elkan, 2002): a confidence is
the share of judged results with about such a score that were relevant, and a higher score never has a lower one.

How far that holds is measured on queries that were not learned from (cross-fitted by query): the expected calibration
error (Naeini, Cooper and Hauskrecht, 2015) is how far confidences are from the shares that were relevant, on average;
the Brier score is the mean square of what confidence and outcome differ by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from datalane.errors import InvalidInput
from datalane.knowledge.confidence.bands import Band, band_of
from datalane.knowledge.confidence.curve import Curve
from datalane.knowledge.confidence.schemas import BandReliability

FEWEST_QUERIES = 30
FEWEST_RESULTS = 200
_BINS = 20
_FOLDS = 5
_PRIOR = 2.0
"""Results by which the overall share counts in each bin (an m-estimate), so that no bin says never or always."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """The score of a result of a query, and whether it was relevant."""

    query_id: str
    score: float
    relevant: bool


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of results that were not learned from. `base_brier_score` is that of the overall share, told of each result."""

    calibration_error: float
    brier_score: float
    base_brier_score: float
    bands: list[BandReliability]


def fit(judged: Sequence[Judged]) -> Curve:
    """The curve of `judged`, which has at least one result."""
    order = sorted(judged, key=lambda one: one.score)
    scores, relevant = _columns(order)
    share = float(relevant.mean())
    centres, counts, means = [], [], []
    for start, end in _bins(scores):
        count = end - start
        centres.append(float(np.clip(scores[start:end].mean(), scores[start], scores[end - 1])))
        counts.append(float(count))
        means.append((float(relevant[start:end].sum()) + _PRIOR * share) / (count + _PRIOR))
    rising = isotonic_regression(means, weights=counts).x
    return Curve(tuple(centres), tuple(map(float, rising)))


def measure(judged: Sequence[Judged]) -> Reliability:
    """How reliable `fit` is, cross-fitted by query. Raises `InvalidInput` for too little to learn from."""
    if not all(math.isfinite(one.score) for one in judged):
        raise InvalidInput("a score is not a finite number")
    queries = sorted({one.query_id for one in judged})
    if len(queries) < FEWEST_QUERIES or len(judged) < FEWEST_RESULTS:
        raise InvalidInput(
            f"{len(judged)} judged results of {len(queries)} queries are too few to calibrate confidence; "
            f"it takes {FEWEST_RESULTS} of {FEWEST_QUERIES}"
        )
    fold_of = {query: place % _FOLDS for place, query in enumerate(queries)}
    told, base, outcomes = list[float](), list[float](), list[float]()
    for fold in range(_FOLDS):
        others = [one for one in judged if fold_of[one.query_id] != fold]
        curve, share = fit(others), sum(one.relevant for one in others) / len(others)
        for one in judged:
            if fold_of[one.query_id] == fold:
                told.append(curve.of(one.score))
                base.append(share)
                outcomes.append(float(one.relevant))
    confidences, relevant = np.asarray(told), np.asarray(outcomes)
    return Reliability(
        calibration_error=_error(confidences, relevant),
        brier_score=float(np.mean((confidences - relevant) ** 2)),
        base_brier_score=float(np.mean((np.asarray(base) - relevant) ** 2)),
        bands=list(_bands(confidences, relevant)),
    )


def _columns(judged: Sequence[Judged]) -> tuple[Floats, Floats]:
    return np.asarray([one.score for one in judged]), np.asarray([float(one.relevant) for one in judged])


def _bins(scores: Floats) -> Iterator[tuple[int, int]]:
    """Places of bins of about as many results, in which equal scores stay together."""
    wanted = max(1, len(scores) // _BINS)
    start = 0
    while start < len(scores):
        last = scores[min(start + wanted, len(scores)) - 1]
        end = int(np.searchsorted(scores, last, side="right"))
        if len(scores) - end < wanted:
            end = len(scores)
        yield start, end
        start = end


def _error(confidences: Floats, relevant: Floats) -> float:
    order = np.argsort(confidences, kind="stable")
    sums = [
        abs(float(confidences[part].sum() - relevant[part].sum())) for part in np.array_split(order, 10) if len(part)
    ]
    return sum(sums) / len(confidences)


def _bands(confidences: Floats, relevant: Floats) -> Iterator[BandReliability]:
    bands = np.asarray([band_of(float(one)) for one in confidences])
    for band in Band:
        there = bands == band
        count = int(there.sum())
        yield BandReliability(
            band=band,
            results=count,
            confidence=float(confidences[there].mean()) if count else None,
            relevant=float(relevant[there].mean()) if count else None,
        )

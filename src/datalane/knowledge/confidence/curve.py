"""The curve from scores to confidences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """`confidences`, rising, at `scores`, strictly rising; at least one. Between two it is interpolated; beyond the
    outermost ones nothing is known, and it stays as it is there."""

    scores: Sequence[float]
    confidences: Sequence[float]

    def of(self, score: float) -> float:
        place = bisect_right(self.scores, score)
        if place == 0:
            return self.confidences[0]
        if place == len(self.scores):
            return self.confidences[-1]
        low, high = self.scores[place - 1], self.scores[place]
        before, after = self.confidences[place - 1], self.confidences[place]
        return before + (after - before) * (score - low) / (high - low)

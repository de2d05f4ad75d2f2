"""Hybrid fusion: a convex combination of min-max normalised scores (Bruch, Gai and Ingber, "An Analysis of Fusion
Functions for Hybrid Retrieval", 2023). A candidate that one method did not find gets that method's floor, 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

KEYWORD_WEIGHT = 0.7


def fuse(
    keyword: Mapping[UUID, float], semantic: Mapping[UUID, float], keyword_weight: float = KEYWORD_WEIGHT
) -> dict[UUID, float]:
    """Scores from 0 to 1, best first, ties by id."""
    left, right = _normalised(keyword), _normalised(semantic)
    fused = {
        key: keyword_weight * left.get(key, 0.0) + (1 - keyword_weight) * right.get(key, 0.0)
        for key in {**keyword, **semantic}
    }
    return dict(sorted(fused.items(), key=lambda item: (-item[1], item[0].int)))


def _normalised(scores: Mapping[UUID, float]) -> dict[UUID, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    spread = high - low
    return {key: (score - low) / spread if spread > 0 else 1.0 for key, score in scores.items()}

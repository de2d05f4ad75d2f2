"""The bands of a confidence."""

from __future__ import annotations

from enum import StrEnum

HIGH, MEDIUM = 0.8, 0.5
"""Confidences from which something is of the band."""


class Band(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def band_of(confidence: float) -> Band:
    if confidence >= HIGH:
        return Band.HIGH
    return Band.MEDIUM if confidence >= MEDIUM else Band.LOW

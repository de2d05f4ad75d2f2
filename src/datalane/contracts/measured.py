"""A mean as callers see it, of queries or of cases."""

from __future__ import annotations

from pydantic import BaseModel


class Measured(BaseModel):
    """A mean over queries or cases, and between what 95 % of the means of resampled ones lie."""

    value: float
    low: float
    high: float

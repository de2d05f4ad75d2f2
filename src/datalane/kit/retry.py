"""Retry decisions as pure functions of an attempt and a random number.

Exponential backoff with full jitter: the delay is drawn uniformly from zero to the capped exponential
(Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`base` is the bound of the first delay, doubled with each attempt up to `cap`."""

    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        if self.base <= timedelta() or self.cap < self.base:
            raise ValueError("base must be positive and cap at least base")


def retry_delay(policy: RetryPolicy, attempt: int, draw: float) -> timedelta:
    """The delay after failed attempt number `attempt` (from 1), given a uniform `draw` in [0, 1)."""
    exponent = min(attempt - 1, 30)
    doubled: timedelta = policy.base * 2.0**exponent
    return min(policy.cap, doubled) * draw

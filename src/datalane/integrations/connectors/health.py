"""What a report of a connector's health means, decided from values alone.

Reports arrive in any order and more than once; what counts is when each was observed. One that is not newer than what
is known, or than the credentials that are there now, changes nothing. A credential that expired or that could not be
had anew degrades a connector, whatever it looks like: only the provider's own word that the access was taken away
revokes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from datalane.errors import InvalidInput

AHEAD = timedelta(minutes=5)
"""How far the clock of whoever reports may be ahead."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a connector. `rotated_at` is None while the credentials are the first: then no report can be of
    others."""

    status: str
    rotated_at: datetime | None
    observed_at: datetime | None = None
    outcome: str | None = None
    outcome_of: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An outcome, what was done when it was seen, and when."""

    outcome: str
    outcome_of: str
    observed_at: datetime
    refreshable: bool | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`status` is the one to go to; `is_news` says that a sync failed in a way in which the last one did not."""

    counted: bool
    status: str
    is_news: bool


def check_moment(observed_at: datetime, now: datetime) -> None:
    """Raises `InvalidInput` for a moment to come: nothing later would count until then."""
    if observed_at - now > AHEAD:
        raise InvalidInput(
            "observed_at lies more than 5 minutes ahead",
            [{"field": "body.observed_at", "message": "must not lie ahead", "code": "ahead"}],
        )


def decide(known: Standing, seen: Seen) -> Decision:
    newer = known.observed_at is None or seen.observed_at > known.observed_at
    of_others = known.rotated_at is not None and seen.observed_at < known.rotated_at
    if of_others or not newer:
        return Decision(counted=False, status=known.status, is_news=False)
    target = {"ok": "connected", "revoked_by_provider": "revoked"}.get(seen.outcome, "degraded")
    failed = target == "degraded" and seen.outcome_of == "sync"
    repeated = (known.outcome, known.outcome_of) == (seen.outcome, seen.outcome_of)
    return Decision(counted=True, status=target, is_news=failed and not repeated)

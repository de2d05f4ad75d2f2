"""What an answer means, and what comes next: functions of a row, an answer and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from datalane.kit.outbound import Answer, FetchFailed, FetchRefused
from datalane.settings import WebhookSettings

MOST_RETRY_AFTER = timedelta(hours=12)
"""So long an endpoint may ask to be left alone."""
FAILURES_TO_DISABLE = 10
"""In a row, at least: an endpoint that gets one event a week is not given up because of the first that failed."""
PROBED_AFTER = 5
"""Failures in a row, from which on an endpoint is asked by one delivery at a time, and the others wait."""
EXCERPT_BYTES = 2_048
"""Of an answer, at most, as the table holds."""
SHORTEST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(minutes=30)
"""Of what lets another delivery find out whether the endpoint is back."""

LOOKUP_BUSY = "lookup_busy"
"""The class of an attempt that was not made, as too many names of the workspace were being looked up."""
UNTIL_FREE = timedelta(seconds=10)
"""After which it is made again, about."""

_GONE, _TOO_MANY = 410, 429


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt; `error_class` is None for one that delivered. Times are in milliseconds."""

    error_class: str | None
    status_code: int | None = None
    excerpt: str | None = None
    retry_after: timedelta | None = None
    latency_ms: float = 0.0

    @property
    def delivered(self) -> bool:
        return self.error_class is None

    @property
    def gone(self) -> bool:
        return self.status_code == _GONE

    @property
    def counts(self) -> bool:
        """Whether it says anything of the endpoint."""
        return self.error_class != LOOKUP_BUSY


@dataclass(frozen=True, slots=True)
class Next:
    """The delivery's next state. One that goes on has a `pause`; without one it is held for a recovery."""

    status: Literal["delivered", "failed", "dead_letter"]
    pause: timedelta | None = None

    @property
    def held(self) -> bool:
        return self.status == "failed" and self.pause is None


def read_answer(answer: Answer, now: datetime, latency_ms: float, most: int = EXCERPT_BYTES) -> Outcome:
    """Any status of 2xx delivers; a redirect is not followed, and a failure."""
    return Outcome(
        _class_of(answer.status),
        answer.status,
        excerpt_of(answer.body_excerpt, most),
        _retry_after(answer.headers.get("retry-after"), now),
        latency_ms,
    )


def read_error(error: FetchRefused | FetchFailed, latency_ms: float) -> Outcome:
    """An attempt without an answer."""
    return Outcome(error.reason, latency_ms=latency_ms)


def decide(failures: int, outcome: Outcome, disabled: bool, webhooks: WebhookSettings, draw: float) -> Next:
    """What comes after an attempt of a delivery that had failed `failures` times before. `disabled` says that its
    endpoint is sent nothing any more; `draw` is uniform in [0, 1)."""
    if outcome.delivered:
        return Next("delivered")
    if not outcome.counts:
        return Next("failed", None if disabled else UNTIL_FREE * (0.5 + draw))
    if failures >= len(webhooks.pauses.each):
        return Next("dead_letter")
    if disabled:
        return Next("failed")
    pause = webhooks.pauses.each[failures] * (1 + webhooks.jitter * (2 * draw - 1))
    return Next("failed", max(pause, min(outcome.retry_after or timedelta(), MOST_RETRY_AFTER)))


def wait_for_others(failing_since: datetime | None, now: datetime, draw: float) -> timedelta:
    """How long a delivery to a failing endpoint lets others go first. Half as long as the endpoint fails already, so
    that each delivery looks again a few times in a long outage, and not every few seconds, however many there are."""
    half = (now - failing_since) / 2 if failing_since is not None else timedelta()
    return min(max(half, SHORTEST_WAIT), LONGEST_WAIT) * (0.5 + draw)


def is_given_up(failing_since: datetime, failures: int, now: datetime, webhooks: WebhookSettings) -> bool:
    """Whether an endpoint has failed for so long that it is disabled."""
    return failures >= FAILURES_TO_DISABLE and now - failing_since >= webhooks.disable_after


def excerpt_of(body: bytes, most: int = EXCERPT_BYTES) -> str:
    """What of an answer is kept, as text that the database holds."""
    text = body[:most].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text.encode()[:most].decode("utf-8", "ignore")


def _class_of(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if status == _GONE:
        return "gone"
    if status == _TOO_MANY:
        return "rate_limited"
    if 300 <= status < 400:
        return "redirect"
    return "client_error" if 400 <= status < 500 else "server_error"


def _retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Seconds or a date (RFC 9110, section 10.2.3); what is neither is none."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return timedelta(seconds=int(text))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now, timedelta())

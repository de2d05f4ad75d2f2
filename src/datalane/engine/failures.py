"""Deciding what an exception means for a job: its class, whether another attempt may help, and when."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import asyncpg

from datalane.engine.handlers import Failure
from datalane.errors import Busy, DatalaneError, RateLimited, UsageLimitReached
from datalane.kit.retry import RetryPolicy, retry_delay

MESSAGE_CHARACTERS = 1_000

_SECRETS = re.compile(
    r"(?i)(postgres(?:ql)?://[^:/\s]+:)[^@\s]+(@)|((?:password|secret|token|api[_-]?key|authorization)\s*[=:]\s*)\S+"
)
LEAST_PAUSE = timedelta(seconds=0.1)
MOST_PATIENCE = timedelta(days=7)
"""From its enqueueing on a job is put off for so long; afterwards being told to wait is a failure like others."""
_RETRYABLE_STATUS = {409, 425, 429}


class JobError(Exception):
    """Raise it from a handler to say how the job failed. `retryable=False` sends it to `failed` at once."""

    def __init__(
        self, error_class: str, message: str, *, retryable: bool = True, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.failure = Failure(sanitized(error_class), sanitized(message), retryable, retry_after)


def classify(error: BaseException) -> Failure:
    """Errors of the caller's data will not go away by themselves; everything else is tried again."""
    if isinstance(error, JobError):
        return error.failure
    if isinstance(error, DatalaneError):
        retryable = error.status >= 500 or error.status in _RETRYABLE_STATUS
        if isinstance(error, UsageLimitReached) and error.retry_after is None:
            return Failure(error.code, sanitized(str(error)), retryable=False)
        if isinstance(error, RateLimited | Busy | UsageLimitReached):
            after = max(timedelta(seconds=error.retry_after or 0), LEAST_PAUSE)
            return Failure(error.code, sanitized(str(error)), retryable=True, retry_after=after, postponed=True)
        return Failure(error.code, sanitized(str(error)), getattr(error, "retryable", retryable))
    if isinstance(error, TimeoutError):
        return Failure("timeout", sanitized(str(error) or "the handler ran out of time"), True)
    if isinstance(error, asyncpg.PostgresError):
        return Failure("database_error", sanitized(f"{error.sqlstate}: {error}"), True)
    return Failure("unexpected_internal", sanitized(f"{type(error).__name__}: {error}"), True)


def delay_before_retry(failure: Failure, policy: RetryPolicy, attempt: int, draw: float) -> timedelta | None:
    """None when the failure is final; the other side's own wish, when it has one, wins over the backoff."""
    if not failure.retryable:
        return None
    return failure.retry_after or retry_delay(policy, attempt, draw)


def is_postponed(failure: Failure, queued_at: datetime, now: datetime) -> bool:
    """Whether the job waits without spending an attempt."""
    return failure.postponed and now - queued_at < MOST_PATIENCE


def sanitized(message: str) -> str:
    """`message` without passwords and tokens, NUL characters and excess length."""
    masked = _SECRETS.sub(lambda m: f"{m[1] or m[3]}***{m[2] or ''}", message.replace("\x00", ""))
    return masked.encode("utf-8", "replace").decode()[:MESSAGE_CHARACTERS]

"""Every error Datalane raises on purpose.

    DatalaneError
    ├── InvalidInput            422  the caller's data is wrong; `errors` names each field
    │   └── SchemaViolation     422  an event payload does not match its registered schema
    ├── Unauthenticated         401  no valid session or API key
    ├── Forbidden               403  the role may not do this; `denial` is the denial class, `target` what was denied
    ├── NotFound                404  it does not exist, or belongs to another workspace
    ├── Conflict                409  the state of the thing forbids it
    │   ├── StaleVersion        409  somebody changed it meanwhile; `told` has the current row and what differs
    │   │   └── PreconditionFailed  412  the same, of a version that came as If-Match
    │   ├── IllegalTransition   409  no such edge in the lifecycle
    │   ├── LeaseLost           409  a stale worker tried to write; its work is rolled back
    │   └── RequestInFlight     409  the same idempotency key is being answered right now
    ├── IdempotencyMismatch     422  the same key came with another body
    ├── LimitExceeded           413  a limit of the lane; the message names it
    ├── RateLimited             429  try again after `retry_after` seconds
    ├── UsageLimitReached       429  a quota of the plan is used up; `told` says which
    ├── Busy                    503  no room now; try again after `retry_after` seconds
    ├── DatabaseUnavailable     503  the database cannot be reached or refuses work
    ├── IssuerUnavailable       503  the keys of an issuer of ID tokens cannot be fetched
    │   └── DatabaseRefused     503  it refuses the login, or knows no such database: waiting does not help
    └── ConfigurationError      500  a setting or the environment is wrong; the message says how to mend it

`code` is stable and machine-readable, `status` is the HTTP status, the message is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, ClassVar


class DatalaneError(Exception):
    """Base of all errors. `code` names the class of fault, `status` is its HTTP status."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    is_told: ClassVar[bool] = False
    """Whether callers get the message although the status is 500 or above."""


class InvalidInput(DatalaneError):
    code = "invalid_input"
    status = 422

    def __init__(self, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.errors = list(errors)


class SchemaViolation(InvalidInput):
    code = "schema_violation"


class Unauthenticated(DatalaneError):
    code = "unauthenticated"
    status = 401


class Forbidden(DatalaneError):
    code = "forbidden"
    status = 403

    def __init__(self, message: str, denial: str = "role", target: str | None = None) -> None:
        super().__init__(message)
        self.denial = denial
        self.target = target


class NotFound(DatalaneError):
    code = "not_found"
    status = 404


class Conflict(DatalaneError):
    code = "conflict"
    status = 409


class IllegalTransition(Conflict):
    code = "illegal_transition"


class StaleVersion(Conflict):
    code = "stale_version"

    def __init__(self, message: str, told: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.told = dict(told)
        """Members of the problem document, JSON values."""


class PreconditionFailed(StaleVersion):
    code = "precondition_failed"
    status = 412


class LeaseLost(Conflict):
    code = "lease_lost"


class RequestInFlight(Conflict):
    code = "request_in_flight"


class IdempotencyMismatch(DatalaneError):
    code = "idempotency_mismatch"
    status = 422


class LimitExceeded(DatalaneError):
    code = "limit_exceeded"
    status = 413


class RateLimited(DatalaneError):
    code = "rate_limited"
    status = 429

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UsageLimitReached(DatalaneError):
    """`retry_after` is None where waiting does not help: so much at once is more than the plan allows."""

    code = "usage_limit_reached"
    status = 429

    def __init__(
        self, message: str, *, quota_key: str, limit_units: int, remaining_units: int, retry_after: float | None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.told: dict[str, Any] = {
            "quota_key": quota_key,
            "limit_units": limit_units,
            "remaining_units": remaining_units,
        }
        """Members of the problem document, JSON values."""
        self.headers: dict[str, str] = {}
        """Of the answer over HTTP, beside `Retry-After`."""

    @property
    def http_headers(self) -> dict[str, str]:
        waiting = {} if self.retry_after is None else {"Retry-After": str(max(1, ceil(self.retry_after)))}
        return {**waiting, **self.headers}


class Busy(DatalaneError):
    code = "busy"
    status = 503

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailable(DatalaneError):
    code = "database_unavailable"
    status = 503


class DatabaseRefused(DatabaseUnavailable):
    pass


class IssuerUnavailable(DatalaneError):
    code = "issuer_unavailable"
    status = 503


class ConfigurationError(DatalaneError):
    code = "configuration_error"
    status = 500

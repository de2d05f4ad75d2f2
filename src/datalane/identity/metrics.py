"""What identity counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter

from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError

AUTHENTICATIONS = Counter(
    "datalane_authentications_total",
    "Attempts to prove who one is, by way and outcome: success, or the code of the error",
    ["method", "outcome"],
)
MEMBERSHIP_CHANGES = Counter(
    "datalane_membership_changes_total", "Changes of who belongs to a workspace and as what, once committed", ["change"]
)

Method = Literal["sign_up", "password", "oidc", "refresh", "session", "api_key", "none"]


@dataclass(slots=True)
class Attempt:
    """`method` may become known on the way."""

    method: Method


@contextmanager
def authentication(method: Method = "none", *, counted: bool = True) -> Iterator[Attempt]:
    """Count what is done inside as one attempt, when it is `counted`."""
    attempt = Attempt(method)
    try:
        yield attempt
    except DatalaneError as error:
        if counted:
            AUTHENTICATIONS.labels(attempt.method, error.code).inc()
        raise
    if counted:
        AUTHENTICATIONS.labels(attempt.method, "success").inc()


def count_membership_change(tx: Transaction, change: str) -> None:
    """Count it once `tx` has committed."""
    tx.after_commit(MEMBERSHIP_CHANGES.labels(change).inc)

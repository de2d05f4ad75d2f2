"""What is counted of deliveries."""

from __future__ import annotations

from collections import Counter as Tallies
from collections.abc import Sequence

from prometheus_client import Counter

from datalane.db.transaction import Transaction

ATTEMPTS = Counter(
    "datalane_webhook_attempts_total",
    "Attempts to deliver a webhook that ended, by outcome: delivered, or the class of the error",
    ["outcome"],
)


def count_attempts(tx: Transaction, error_classes: Sequence[str | None]) -> None:
    """Count them once `tx` has committed."""
    tallies = Tallies(error_class or "delivered" for error_class in error_classes)

    def count() -> None:
        for outcome, number in tallies.items():
            ATTEMPTS.labels(outcome).inc(number)

    tx.after_commit(count)

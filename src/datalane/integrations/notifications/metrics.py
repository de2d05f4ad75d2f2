"""What is counted of notifications."""

from __future__ import annotations

from prometheus_client import Counter

from datalane.db.transaction import Transaction

DELIVERIES = Counter(
    "datalane_notification_deliveries_total",
    "Deliveries that came to a status, once committed; pending is an attempt that failed, or a delivery opened again",
    ["channel", "status"],
)


def count_deliveries(tx: Transaction, channel: str, status: str, number: int) -> None:
    """Count them once `tx` has committed."""
    if number:
        tx.after_commit(lambda: DELIVERIES.labels(channel, status).inc(number))

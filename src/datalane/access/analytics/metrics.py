"""What analytics counts."""

from __future__ import annotations

from collections import Counter as Counts

from prometheus_client import Counter

from datalane.db.transaction import Transaction

EVENTS = Counter(
    "datalane_analytics_events_total",
    "Analytics events that were told, by outcome: accepted, duplicate, conflict, quarantined, landed",
    ["outcome"],
)
ANOMALIES = Counter(
    "datalane_integrity_anomalies_total", "Events whose client saw another plan than the one that was enforced"
)


def count_events(tx: Transaction, outcomes: Counts[str], anomalies: int) -> None:
    """Count them, once `tx` has committed."""

    def count() -> None:
        for outcome, number in outcomes.items():
            EVENTS.labels(outcome).inc(number)
        ANOMALIES.inc(anomalies)

    tx.after_commit(count)

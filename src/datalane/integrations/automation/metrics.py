"""What automation counts."""

from __future__ import annotations

from collections import Counter as Tallies
from collections.abc import Iterable

from prometheus_client import Counter

from datalane.db.transaction import Transaction

RUNS = Counter(
    "datalane_automation_runs_total",
    "Runs of rules that came to a status: completed, skipped, failed, dead_letter, or pending after a failed attempt",
    ["status"],
)


def count_runs(tx: Transaction, statuses: Iterable[str]) -> None:
    """Count them, once `tx` has committed."""
    tallies = Tallies(statuses)

    def count() -> None:
        for status, number in tallies.items():
            RUNS.labels(status).inc(number)

    tx.after_commit(count)

"""What is counted of demo access."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter

from datalane.db.transaction import Transaction

SIGNALS = Counter(
    "datalane_demo_access_signals_total",
    "Signals that were told, by what became of them; untrusted is one that no source has signed",
    ["receipt"],
)
DIFFERENCES = Counter(
    "datalane_demo_access_differences_total",
    "Differences that reconcilings found between what stands and what the history says",
    ["field"],
)
SWEPT = Counter(
    "datalane_demo_access_swept_total",
    "Accesses that the sweep asked to be settled, or reconciled",
    ["asked"],
)


def count_receipts(tx: Transaction, receipts: Sequence[str]) -> None:
    """Count them, once `tx` has committed."""

    def count() -> None:
        for receipt in receipts:
            SIGNALS.labels(receipt).inc()

    tx.after_commit(count)


def count_differences(tx: Transaction, fields: Sequence[str]) -> None:
    """Count them by what they are of, once `tx` has committed."""

    def count() -> None:
        for field in fields:
            DIFFERENCES.labels(field.partition(".")[0]).inc()

    tx.after_commit(count)

"""What moderation of agents counts."""

from __future__ import annotations

from prometheus_client import Counter

from datalane.db.transaction import Transaction

MODERATIONS = Counter(
    "datalane_agent_moderations_total",
    "Judgements of contents of agents; failed is one that did not come, and counts as refused",
    ["subject", "outcome"],
)


def count_moderation(tx: Transaction, subject: str, outcome: str, number: int = 1) -> None:
    """Count it, once `tx` has committed."""
    tx.after_commit(lambda: MODERATIONS.labels(subject, outcome).inc(number))

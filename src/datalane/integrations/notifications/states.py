"""The life of a delivery: a notification on its way out by one channel."""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

DELIVERY = Lifecycle(
    "notification delivery",
    "pending",
    {
        "pending": frozenset({"sent", "failed", "skipped", "dead_letter"}),
        "sent": frozenset(),
        "failed": frozenset({"pending"}),
        "skipped": frozenset(),
        "dead_letter": frozenset({"pending"}),
    },
)
"""`failed` and `dead_letter` are left when an operator has the job done again."""

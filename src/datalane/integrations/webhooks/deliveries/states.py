"""The life of a delivery. `failed` waits for its next attempt, or for the recovery of its endpoint."""

from datalane.kit.lifecycle import Lifecycle

DELIVERY = Lifecycle(
    "webhook delivery",
    "pending",
    {
        "pending": frozenset({"failed", "delivered", "dead_letter"}),
        "failed": frozenset({"failed", "delivered", "dead_letter"}),
        "delivered": frozenset(),
        "dead_letter": frozenset(),
    },
)

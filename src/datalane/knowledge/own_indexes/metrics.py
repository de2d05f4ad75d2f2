"""What is counted of the indexes over vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Gauge

STATUSES = ("building", "ready", "unfit", "leaving")
INDEXES = Gauge(
    "datalane_vector_indexes",
    "Indexes over the vectors of one workspace, by status; counted by the maintenance process",
    ["status"],
    multiprocess_mode="mostrecent",
)
LOWEST_RECALL = Gauge(
    "datalane_vector_index_lowest_recall",
    "Of the ready indexes, as it was measured last; 1 without any",
    multiprocess_mode="mostrecent",
)


def set_gauges(planned: Sequence[Mapping[str, Any]]) -> None:
    """From rows of the plan."""
    found = Counter(row["status"] for row in planned)
    for status in STATUSES:
        INDEXES.labels(status).set(found[status])
    LOWEST_RECALL.set(min((row["recall"] for row in planned if row["status"] == "ready"), default=1))

"""Metrics in the text format of Prometheus. Each part of the lane declares its own, in its `metrics.py`.

The processes under one supervisor keep their numbers in one folder (`PROMETHEUS_MULTIPROC_DIR`, see the multiprocess
mode of prometheus_client), so that a scrape of the API tells those of all: counters and histograms are summed, of a
gauge the most recent value is told. A process that runs alone tells its own.

No label has a value that a tenant chooses: neither workspaces nor paths as sent, only routes, kinds and classes.
"""

from __future__ import annotations

import hmac
import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """All metrics of this lane, as `CONTENT_TYPE`. It reads files, so call it in a thread."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)


def opens(token: str, given: str) -> bool:
    """Whether `given` is the metrics token, compared in constant time."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))

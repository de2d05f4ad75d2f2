"""What the receiver of spans counts."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter

SPANS = Counter("datalane_agent_spans_total", "Spans that were received, by what became of them", ["outcome"])


def count_spans(counts: Mapping[str, int]) -> None:
    for outcome, count in counts.items():
        SPANS.labels(outcome).inc(count)

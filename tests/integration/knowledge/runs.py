"""Runs of judged queries that tests keep."""

from __future__ import annotations

from typing import Any

from datalane.kit.measuring import MEASURES
from datalane.knowledge.confidence.calibrating import Judged
from datalane.knowledge.evaluation.schemas import NewRun, QueryResult
from datalane.knowledge.methods import Method

SHA = "ab" * 32


def judged_results(queries: int = 40) -> list[Judged]:
    """Ten results of each query, from score 0 to 9: the better half of them are relevant."""
    return [Judged(f"q{n}", float(score), score >= 5) for n in range(queries) for score in range(10)]


def a_run(scores: dict[str, float], **said: Any) -> NewRun:
    results = [
        QueryResult(query_id=key, measures=dict.fromkeys(MEASURES, score), found=[f"doc of {key}"])
        for key, score in scores.items()
    ]
    usual: dict[str, Any] = {
        "dataset": "owls",
        "dataset_sha256": SHA,
        "method": Method.HYBRID,
        "keyword_weight": 0.7,
        "versions": {"chunker": "1"},
        "p95_ms": 4.5,
        "results": results,
    }
    return NewRun(**usual | said)

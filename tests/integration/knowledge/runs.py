"""Runs of judged queries that tests keep."""

from __future__ import annotations

from typing import Any

from datalane.knowledge.evaluation.measuring import MEASURES
from datalane.knowledge.evaluation.schemas import NewRun, QueryResult
from datalane.knowledge.retrieval.schemas import Method

SHA = "ab" * 32


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

"""Every query by every method: how fast, how good."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datalane.demo.corpus import Corpus, identity_of
from datalane.demo.people import Person
from datalane.knowledge.beir import BeirQuery
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.schemas import Answer, Query
from datalane.knowledge.retrieval.service import answer
from datalane.knowledge.runtime import Knowledge
from datalane.lane import Lane

DEPTH = 100
"""Chunks asked for, so that recall at 100 can be measured."""


@dataclass(slots=True)
class Run:
    """One method over all queries. `ranking` is query id → document id → score of its best chunk."""

    method: Method
    seconds: list[float] = field(default_factory=list)
    ranking: dict[str, dict[str, float]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the judged queries, with graded judgements; None without judgements."""

    ndcg_at_10: float | None
    recall_at_100: float | None


async def run_queries(lane: Lane, knowledge: Knowledge, person: Person, corpus: Corpus) -> dict[Method, Run]:
    """One query after the other, each in a transaction of its own as a request would have it."""
    knowledge.embedder.embed(["the model is loaded before the clock runs"])
    runs = {method: Run(method) for method in Method}
    for query in corpus.queries:
        for run in runs.values():
            await _run_query(lane, knowledge, person, query, run)
    return runs


async def _run_query(lane: Lane, knowledge: Knowledge, person: Person, query: BeirQuery, run: Run) -> None:
    asked = Query(query=query.text, method=run.method, limit=DEPTH)
    began = time.perf_counter()
    told = await answer(
        lane.transaction, person.context(), knowledge.providers, asked, lane.settings.limits, logged=False
    )
    run.seconds.append(time.perf_counter() - began)
    best: dict[str, float] = {}
    for result in told.data:
        best.setdefault(identity_of(result.source_uri), result.retrieval_score)
    run.ranking[query.id] = best
    run.answers[query.id] = told


def percentile_ms(seconds: list[float], percent: float) -> float | None:
    return round(float(np.percentile(seconds, percent)) * 1000, 2) if seconds else None


def judge(run: Run, judgements: Mapping[str, Mapping[str, int]] | None) -> Quality:
    """nDCG at 10 and recall at 100, as `ir_measures` defines them."""
    if judgements is None:
        return Quality(None, None)
    import ir_measures  # loads slowly, and often there is nothing to judge

    ndcg, recall = ir_measures.nDCG @ 10, ir_measures.R @ 100
    found: Any = ir_measures.calc_aggregate(
        [ndcg, recall], {query: dict(grades) for query, grades in judgements.items()}, run.ranking
    )
    return Quality(round(float(found[ndcg]), 4), round(float(found[recall]), 4))

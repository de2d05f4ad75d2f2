"""How good: our keyword search beside bm25s, our hybrid beside the better of its two methods.

The weight of the hybrid is not fitted on the queries it is judged by: they are split in two, again and again, and each
half gets the weight that was best for the other one.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.knowledge.ground import Ground
from datalane.demo.corpus import identity_of
from datalane.knowledge.methods import Method
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval.fusion import KEYWORD_WEIGHT
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import retrieve

WEIGHTS = (0.5, 0.6, 0.7, 0.8, 0.9)
SPLITS = 50
RESAMPLES = 10_000
_DEPTH = 100
_K1, _B = 1.2, 0.75

Ranking = dict[str, dict[str, float]]
"""Query id → document id → score."""


@dataclass(frozen=True)
class Compared:
    """Mean nDCG at 10 of both sides, their ratio, and where 95 % of the ratios of resampled queries lie."""

    subject: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    at_least: float


async def judge_methods(ground: Ground) -> list[Compared]:
    """Needs judgements in the corpus."""
    per_query = {method: await _judged(ground, Query(query="x", method=method)) for method in Method}
    by_weight = {
        weight: await _judged(ground, Query(query="x", method=Method.HYBRID, keyword_weight=weight))
        for weight in WEIGHTS
    }
    keyword, semantic = per_query[Method.KEYWORD], per_query[Method.SEMANTIC]
    single = max(keyword, semantic, key=lambda scores: statistics.fmean(scores.values()))
    return [
        _compared("keyword / bm25s", keyword, _ndcg(ground, _bm25s(ground)), 0.98),
        _compared(f"hybrid ({KEYWORD_WEIGHT}, the default) / best method", per_query[Method.HYBRID], single, 1.01),
        _compared("hybrid (weight of the other half) / best method", _cross_fitted(by_weight), single, 1.01),
    ]


async def _judged(ground: Ground, asked: Query) -> dict[str, float]:
    ranking: Ranking = {}
    for query in ground.corpus.queries:
        said = asked.model_copy(update={"query": query.text, "limit": _DEPTH})
        async with ground.lane.transaction(ground.person.context()) as tx:
            answer = await retrieve(tx, QueryVectors(ground.knowledge.providers, said.query), said)
        best = ranking.setdefault(query.id, {})
        for result in answer.data:
            best.setdefault(identity_of(result.source_uri), result.retrieval_score)
    return _ndcg(ground, ranking)


def _bm25s(ground: Ground) -> Ranking:
    """bm25s with a stemmer and without stop words, in its `lucene` form with our constants, over whole documents."""
    import bm25s
    import Stemmer

    files = list(ground.corpus.files())
    texts = [f"{file.document.title or ''}\n{file.data.decode(errors='replace')}" for file in files]
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25(method="lucene", k1=_K1, b=_B)
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    asked = bm25s.tokenize(
        [query.text for query in ground.corpus.queries], stopwords="en", stemmer=stemmer, show_progress=False
    )
    found, scores = index.retrieve(asked, k=_DEPTH, show_progress=False)
    return {
        query.id: {files[place].id: float(score) for place, score in zip(found[number], scores[number], strict=True)}
        for number, query in enumerate(ground.corpus.queries)
    }


def _ndcg(ground: Ground, ranking: Ranking) -> dict[str, float]:
    import ir_measures

    judgements = {query: dict(grades) for query, grades in (ground.corpus.judgements or {}).items()}
    measured: Any = ir_measures.iter_calc([ir_measures.nDCG @ 10], judgements, ranking)
    return {each.query_id: float(each.value) for each in measured}


def _cross_fitted(by_weight: Mapping[float, Mapping[str, float]]) -> dict[str, float]:
    """Each query's mean over the splits, in each of which the other half chose its weight."""
    queries, choice = sorted(next(iter(by_weight.values()))), random.Random(1)
    found: dict[str, list[float]] = {query: [] for query in queries}
    for _ in range(SPLITS):
        shuffled = choice.sample(queries, len(queries))
        halves = shuffled[: len(queries) // 2], shuffled[len(queries) // 2 :]
        for fitted_on, judged in (halves, halves[::-1]):
            weight = max(by_weight, key=lambda each: sum(by_weight[each][query] for query in fitted_on))
            for query in judged:
                found[query].append(by_weight[weight][query])
    return {query: statistics.fmean(values) for query, values in found.items()}


def _compared(subject: str, ours: Mapping[str, float], theirs: Mapping[str, float], at_least: float) -> Compared:
    pairs = [(ours[query], theirs[query]) for query in sorted(ours)]
    choice = random.Random(2)
    ratios = sorted(_ratio(choice.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    whole = Compared(subject, 0, 0, _ratio(pairs), ratios[RESAMPLES // 40], ratios[-RESAMPLES // 40], at_least)
    return replace(
        whole, ours=statistics.fmean(one for one, _ in pairs), theirs=statistics.fmean(other for _, other in pairs)
    )


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs)

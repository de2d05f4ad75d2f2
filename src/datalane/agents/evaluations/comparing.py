"""Comparing two evaluations of a dataset, on the cases that both graded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.evaluations.schemas import (
    AgentEvaluation,
    AgentEvaluationComparison,
    CaseChange,
    ScoreChange,
    UsageChange,
)
from datalane.agents.evaluations.service import Pair, read_compared
from datalane.contracts.measured import Measured
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput
from datalane.kit.measuring import Interval, difference_of, verdict_of

MOST_CHANGED = 10
_VERSIONS = ("agent", "prompt_version_id", "model_version_id", "output_schema_version_id")

Pairs = Sequence[Pair]


async def compare_evaluations(tx: Transaction, evaluation_id: UUID, baseline_id: UUID) -> AgentEvaluationComparison:
    """What is better and what is worse than in the baseline, case by case.

    Raises `NotFound`, and `InvalidInput` for evaluations of two datasets, for one whose score was refused, and where no
    grader is the same or no case was graded by both.
    """
    evaluation, baseline, pairs = await read_compared(tx, evaluation_id, baseline_id)
    graders = [[grader.model_dump() for grader in each.graders] for each in (evaluation, baseline)]
    names = same_scores(*graders)
    if not names:
        raise InvalidInput("the two evaluations have no grader in common")
    if not pairs:
        raise InvalidInput("there is no case that both evaluations have graded")
    return await asyncio.to_thread(_compare, evaluation, baseline, names, pairs)


def same_scores(graders: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores that mean the same in both: those of the same graders, told the same."""
    return [name for grader in graders if grader in others for name in grader["scores"]]


def _compare(
    evaluation: AgentEvaluation, baseline: AgentEvaluation, names: Sequence[str], pairs: Pairs
) -> AgentEvaluationComparison:
    return AgentEvaluationComparison(
        evaluation_id=evaluation.evaluation_id,
        baseline_id=baseline.evaluation_id,
        pairs=len(pairs),
        scores={name: _change(name, pairs) for name in names},
        cost=_cost(pairs),
        tokens=_tokens(pairs),
        changed=_changed(evaluation, baseline),
        most_changed=_most_changed(names, pairs),
    )


def _change(name: str, pairs: Pairs) -> ScoreChange:
    ours, theirs = [mine["scores"][name] for mine, _ in pairs], [other["scores"][name] for _, other in pairs]
    difference = difference_of(ours, theirs)
    both = list(zip(ours, theirs, strict=True))
    return ScoreChange(
        baseline=sum(theirs) / len(theirs),
        value=sum(ours) / len(ours),
        difference=_measured(difference),
        verdict=verdict_of(difference, len(pairs), "cases"),
        better=sum(mine > other for mine, other in both),
        worse=sum(mine < other for mine, other in both),
        equal=sum(mine == other for mine, other in both),
    )


def _cost(pairs: Pairs) -> UsageChange | None:
    """Of the pairs in the currency of the first one that has any."""
    known = [pair for pair in pairs if all(each["cost"] is not None for each in pair)]
    currencies = (each["currency"] for pair in known for each in pair)
    usual = next((currency for currency in currencies if currency is not None), None)
    same = [
        (float(mine["cost"]), float(other["cost"]))
        for mine, other in known
        if {mine["currency"], other["currency"]} <= {None, usual}
    ]
    return _usage(same, usual)


def _tokens(pairs: Pairs) -> UsageChange | None:
    known = [(_used(mine), _used(other)) for mine, other in pairs]
    return _usage([(ours, theirs) for ours, theirs in known if ours is not None and theirs is not None], None)


def _used(result: Mapping[str, Any]) -> float | None:
    counts = [result[name] for name in ("input_tokens", "output_tokens")]
    return None if all(count is None for count in counts) else float(sum(count or 0 for count in counts))


def _usage(known: Sequence[tuple[float, float]], currency: str | None) -> UsageChange | None:
    if not known:
        return None
    ours, theirs = [mine for mine, _ in known], [other for _, other in known]
    return UsageChange(
        baseline=sum(theirs) / len(theirs),
        value=sum(ours) / len(ours),
        difference=_measured(difference_of(ours, theirs)),
        pairs=len(known),
        currency=currency,
    )


def _changed(evaluation: AgentEvaluation, baseline: AgentEvaluation) -> dict[str, tuple[str | None, str | None]]:
    before, now = _parts(baseline), _parts(evaluation)
    return {
        part: (before.get(part), now.get(part))
        for part in dict.fromkeys([*before, *now])
        if before.get(part) != now.get(part)
    }


def _parts(evaluation: AgentEvaluation) -> dict[str, str]:
    told = {name: str(value) for name in _VERSIONS if (value := getattr(evaluation, name)) is not None}
    for grader in evaluation.graders:
        said = grader.model_dump(exclude={"name"})
        told[f"grader {grader.name}"] = orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
    return told


def _most_changed(names: Sequence[str], pairs: Pairs) -> list[CaseChange]:
    """By the score that changed most."""

    def change(pair: Pair) -> float:
        mine, other = pair
        return max(abs(float(mine["scores"][name] - other["scores"][name])) for name in names)

    most = [pair for pair in sorted(pairs, key=lambda pair: (-change(pair), pair[0]["case_id"])) if change(pair)]
    return [
        CaseChange(
            case_id=mine["case_id"],
            baseline={name: other["scores"][name] for name in names},
            value={name: mine["scores"][name] for name in names},
        )
        for mine, other in most[:MOST_CHANGED]
    ]


def _measured(interval: Interval) -> Measured:
    return Measured(**asdict(interval))

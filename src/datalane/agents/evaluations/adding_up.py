"""What results add up to: counts, coverage, means with their intervals or the refusal of them, costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from datalane.agents.evaluations.schemas import NewCaseResult, NewEvaluation
from datalane.contracts.measured import Measured
from datalane.errors import InvalidInput
from datalane.kit.measuring import mean_of


@dataclass(frozen=True, slots=True)
class Sums:
    cases: int
    attempted: int
    failed: int
    invalid: int
    graded: int
    scores: dict[str, Measured] | None
    refusal: str | None
    passed: bool | None
    known_cost: Decimal
    currency: str | None
    unpriced: int
    input_tokens: int | None
    output_tokens: int | None


def score_names(new: NewEvaluation) -> list[str]:
    """In the order of the graders."""
    return [name for grader in new.graders for name in grader.scores]


def check_graders(new: NewEvaluation) -> None:
    """Raises `InvalidInput` for two graders or scores of one name, and for a threshold of no score."""
    names = score_names(new)
    for field, said in (("name", [grader.name for grader in new.graders]), ("scores", names)):
        twice = next((each for each, count in Counter(said).items() if count > 1), None)
        if twice is not None:
            raise _refused("body.graders", f"have the {field} {twice!r} twice")
    for name in new.thresholds:
        if name not in names:
            raise _refused("body.thresholds", f"name {name!r}, which no grader gives; there are: {', '.join(names)}")


def check_results(new: NewEvaluation, places: Mapping[str, int]) -> None:
    """Raises `InvalidInput` for a case that is none of the dataset's, for a case or a run that stands there twice, and
    for scores that are not those of the graders. `places` are the cases of the dataset."""
    names, cases, runs = set(score_names(new)), set[str](), set[object]()
    for place, result in enumerate(new.results):
        field = f"body.results.{place}"
        if result.case_id not in places:
            raise _refused(f"{field}.case_id", "is no case of the dataset")
        if result.case_id in cases:
            raise _refused(f"{field}.case_id", "stands in the evaluation twice")
        if result.run_id is not None and result.run_id in runs:
            raise _refused(f"{field}.run_id", "stands in the evaluation twice: a case is a run of its own")
        if result.scores is not None and result.scores.keys() != names:
            raise _refused(f"{field}.scores", f"must be those of the graders: {', '.join(sorted(names))}")
        cases.add(result.case_id)
        runs.add(result.run_id)


def add_up(new: NewEvaluation, results: Sequence[NewCaseResult], cases: int) -> Sums:
    """`results` are those of `new` with what they used; `cases` are all of the dataset."""
    outcomes = Counter(result.outcome for result in results)
    graded = outcomes["graded"]
    coverage = graded / cases
    scores, refusal = None, None
    if coverage >= new.coverage_threshold:
        scores = _means(score_names(new), results)
    else:
        refusal = (
            f"{graded:,} of {cases:,} cases are graded, {coverage:.4g} of them, and a score takes "
            f"{new.coverage_threshold:.4g}"
        )
    known_cost, currency, unpriced = _cost(results)
    return Sums(
        cases=cases,
        attempted=len(results),
        failed=outcomes["failed"],
        invalid=outcomes["invalid"],
        graded=graded,
        scores=scores,
        refusal=refusal,
        passed=_passed(scores, new.thresholds),
        known_cost=known_cost,
        currency=currency,
        unpriced=unpriced,
        input_tokens=_sum([result.input_tokens for result in results]),
        output_tokens=_sum([result.output_tokens for result in results]),
    )


def _means(names: Sequence[str], results: Sequence[NewCaseResult]) -> dict[str, Measured]:
    graded = [result.scores for result in results if result.scores is not None]
    return {name: Measured(**asdict(mean_of([scores[name] for scores in graded]))) for name in names}


def _passed(scores: Mapping[str, Measured] | None, thresholds: Mapping[str, float]) -> bool | None:
    if scores is None or not thresholds:
        return None
    return all(scores[name].value >= least for name, least in thresholds.items())


def _cost(results: Sequence[NewCaseResult]) -> tuple[Decimal, str | None, int]:
    """In the currency of most cases; those in another one count as not known. What costs nothing has any currency."""
    currencies = Counter(result.currency for result in results if result.cost and result.currency)
    usual = min(currencies, key=lambda name: (-currencies[name], name), default=None)
    known = [
        result.cost for result in results if result.cost is not None and (not result.cost or result.currency == usual)
    ]
    return sum(known, Decimal(0)), usual, len(results) - len(known)


def _sum(counts: Sequence[int | None]) -> int | None:
    """Of what is known; None where nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field} {message}", [{"field": field, "message": message, "code": "invalid_evaluation"}])

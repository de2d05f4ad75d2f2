"""What people see of an evaluation of an agent: counts, scores with their intervals, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from datalane.cli.job_tables import console
from datalane.cli.output import printable

if TYPE_CHECKING:
    from datalane.agents.evaluations.schemas import AgentEvaluation, AgentEvaluationComparison, UsageChange
    from datalane.cli.agent_evaluation import Evaluated
    from datalane.contracts.measured import Measured


def print_evaluation(told: Evaluated, faults: Sequence[str]) -> None:
    out, evaluation = console(), told.evaluation
    if evaluation.scores is not None:
        out.print(_scores(evaluation))
    reasons = [f"{cases:,} × {reason}".replace("\n", " ") for reason, cases in told.not_graded]
    for line in [*_counts(evaluation), *reasons]:
        out.print(f"  {printable(line)}", highlight=False, markup=False)
    if told.comparison is not None:
        out.print(_changes(told.comparison))
        for line in _usage(told.comparison):
            out.print(f"  {printable(line)}", highlight=False, markup=False)
    if told.uncompared is not None:
        out.print(f"  not compared: {printable(told.uncompared)}", highlight=False, markup=False)
    for fault in faults:
        out.print(f"  {printable(fault)}", style="bold red", highlight=False, markup=False)


def _scores(evaluation: AgentEvaluation) -> Table:
    table = Table(title="Scores", title_justify="left")
    for name in ("score", "mean", "95 % interval", "at least"):
        table.add_column(name, justify="left" if name == "score" else "right")
    for name, score in (evaluation.scores or {}).items():
        least = evaluation.thresholds.get(name)
        interval = f"{score.low:.4f} to {score.high:.4f}"
        table.add_row(printable(name), f"{score.value:.4f}", interval, "" if least is None else f"{least:g}")
    return table


def _counts(evaluation: AgentEvaluation) -> list[str]:
    told = f"{evaluation.graded:,} of {evaluation.cases:,} cases are graded ({evaluation.coverage:.1%})"
    lines = [
        f"{told}, {evaluation.failed:,} failed, {evaluation.invalid:,} could not be graded",
        f"dataset {evaluation.dataset}, version {evaluation.dataset_version}",
        f"evaluation {evaluation.evaluation_id}",
    ]
    if evaluation.input_tokens is not None or evaluation.output_tokens is not None:
        lines.append(f"{evaluation.input_tokens or 0:,} tokens in, {evaluation.output_tokens or 0:,} out")
    if evaluation.currency is not None:
        unpriced = f", not known of {evaluation.unpriced:,} cases" if evaluation.unpriced else ""
        lines.append(f"cost {evaluation.known_cost.normalize():f} {evaluation.currency}{unpriced}")
    return lines


def _changes(comparison: AgentEvaluationComparison) -> Table:
    table = Table(title=f"Beside evaluation {comparison.baseline_id}", title_justify="left")
    for name in ("score", "before", "now", "difference", "better", "worse", "verdict"):
        table.add_column(name, justify="left" if name in {"score", "verdict"} else "right")
    for name, change in comparison.scores.items():
        means = (f"{change.baseline:.4f}", f"{change.value:.4f}", _interval(change.difference))
        table.add_row(printable(name), *means, f"{change.better:,}", f"{change.worse:,}", change.verdict)
    return table


def _usage(comparison: AgentEvaluationComparison) -> list[str]:
    lines = [f"{comparison.pairs:,} cases are graded by both"]
    for name, change in (("cost", comparison.cost), ("tokens", comparison.tokens)):
        if change is not None:
            lines.append(_used(name, change))
    lines += [f"{part}: {before or '-'} before, {now or '-'} now" for part, (before, now) in comparison.changed.items()]
    if comparison.most_changed:
        lines.append(f"changed most: {', '.join(case.case_id for case in comparison.most_changed)}")
    return lines


def _used(name: str, change: UsageChange) -> str:
    unit = f" {change.currency}" if change.currency else ""
    difference = change.difference
    return (
        f"{name} of a case: {change.baseline:.6g}{unit} before, {change.value:.6g}{unit} now "
        f"({difference.low:+.6g} to {difference.high:+.6g})"
    )


def _interval(measured: Measured) -> str:
    return f"{measured.value:+.4f} ({measured.low:+.4f} to {measured.high:+.4f})"

"""What people see of an evaluation: a table of means with their intervals, and what changed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from datalane.cli.answer_thumbs import lines_of_answers
from datalane.contracts.measured import Measured
from datalane.demo.evaluating import Evaluated, Evaluation
from datalane.kit.measuring import MEASURES
from datalane.knowledge.confidence.schemas import Calibration
from datalane.knowledge.evaluation.schemas import EvaluationRun


def print_report(evaluation: Evaluation, faults: Sequence[str]) -> None:
    console, found = Console(), evaluation.methods
    first = found[0].run
    console.print(_measures([one.run for one in found]))
    console.print(
        f"  {first.queries:,} queries of {first.dataset} ({first.dataset_sha256[:12]}), 95 % intervals", highlight=False
    )
    if evaluation.left_out:
        console.print(f"  {evaluation.left_out} queries without a relevant document are left out", highlight=False)
    if evaluation.failures:
        failures = ", ".join(f"{one.document} {one.error_class}" for one in evaluation.failures[:5])
        console.print(f"  {len(evaluation.failures)} documents failed: {failures}", highlight=False, markup=False)
    for line in lines_of_answers(evaluation.answers):
        console.print(f"  {line}", highlight=False, markup=False)
    console.print(f"  kept in workspace {evaluation.workspace_id}", highlight=False)
    for one in found:
        console.print(f"  {one.run.method}: run {one.run.run_id}", highlight=False)
    compared = [one.comparison for one in found if one.comparison is not None]
    if compared:
        console.print(_changes(found))
    if learned := [one.calibration for one in found if one.calibration is not None]:
        console.print(_reliability(learned))
    for one in found:
        changed = one.comparison.changed_versions if one.comparison is not None else {}
        for part, (before, now) in changed.items():
            console.print(f"  {one.run.method}, {part}: {before} before, {now} now", highlight=False, markup=False)
    for fault in faults:
        console.print(f"  [bold red]{fault}[/]", highlight=False)


def _measures(runs: Sequence[EvaluationRun]) -> Table:
    table = Table(title="Measured", title_justify="left")
    for name in ("method", *MEASURES, "p95 ms"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for run in runs:
        table.add_row(run.method, *(_interval(run.measures[name]) for name in MEASURES), f"{run.p95_ms:.1f}")
    return table


def _changes(found: Sequence[Evaluated]) -> Table:
    table = Table(title="Beside the run before", title_justify="left")
    for name in ("method", "measure", "before", "now", "ratio", "better", "worse", "verdict"):
        table.add_column(name, justify="left" if name in {"method", "measure", "verdict"} else "right")
    for one in found:
        if one.comparison is None:
            continue
        for name, change in one.comparison.measures.items():
            ratio = "-" if change.ratio is None else _interval(change.ratio)
            counts = (str(change.better), str(change.worse))
            table.add_row(
                one.run.method, name, f"{change.baseline:.4f}", f"{change.value:.4f}", ratio, *counts, change.verdict
            )
    return table


def _reliability(learned: Sequence[Calibration]) -> Table:
    table = Table(title="Confidence, on queries that were not learned from", title_justify="left")
    for name in ("method", "band", "results", "told", "relevant", "off by", "Brier", "of share"):
        table.add_column(name, justify="left" if name in {"method", "band"} else "right")
    for one in learned:
        of_all = (f"{one.calibration_error:.3f}", f"{one.brier_score:.3f}", f"{one.base_brier_score:.3f}")
        for place, band in enumerate(one.bands):
            shares = ("-" if share is None else f"{share:.2f}" for share in (band.confidence, band.relevant))
            first = place == 0
            table.add_row(
                one.method if first else "",
                band.band,
                f"{band.results:,}",
                *shares,
                *(of_all if first else ("", "", "")),
            )
    return table


def _interval(measured: Measured) -> str:
    return f"{measured.value:.4f} ({measured.low:.4f} to {measured.high:.4f})"

"""Medians, spans and ratios, as a table for people and as JSON for machines."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.jobs.contender import Contender, Scenario
from bench.jobs.runner import CLAIM_BATCH, PUBLISH_BATCH, Plan, Result
from bench.server import SETTINGS

PRODUCT = "datalane"
"""Contenders whose names begin with it are no peers."""


@dataclass(frozen=True)
class Target:
    """What the product must reach: its median over the reference's (``best`` is the best peer)."""

    reference: str
    ratio: float
    at_least: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.ratio:g} × {self.reference}"


TARGETS: dict[Scenario, tuple[Target, ...]] = {
    Scenario.BACKLOG: (Target("best", 3.0),),
    Scenario.EFFECT: (Target("best", 1.0),),
    Scenario.PUBLISH: (Target("procrastinate", 2.0), Target("pgqueuer", 0.5)),
    Scenario.LATENCY: (Target("best", 1.0, at_least=False),),
    Scenario.CLAIM: (Target("sql", 0.5),),
}
TITLES: dict[Scenario, str] = {
    Scenario.BACKLOG: "backlog of no-op jobs, one worker process, jobs/s",
    Scenario.EFFECT: "backlog with one INSERT per job, 100 workspaces in turn, jobs/s",
    Scenario.PUBLISH: f"enqueue in batches of {PUBLISH_BATCH:,}, one producer, items/s",
    Scenario.LATENCY: "one job at a time on an idle worker, to handler start, ms",
    Scenario.CLAIM: f"claim + complete {CLAIM_BATCH} at a time, no handler, jobs/s",
}


def render_table(results: Sequence[Result]) -> str:
    """The report as text; a contender with a fault is named and not ranked."""
    lines: list[str] = []
    for scenario in dict.fromkeys(result.scenario for result in results):
        group = [result for result in results if result.scenario is scenario]
        targets = ", ".join(str(target) for target in TARGETS[scenario])
        lines += ["", TITLES[scenario], f"  target: {targets}"]
        for metric in dict.fromkeys(name for result in group for name in result.metrics):
            lines += _render_metric(group, scenario, metric)
        lines += [f"  FAULT {result.contender}: {fault}" for result in group for fault in result.faults]
    return "\n".join(lines)


def _render_metric(group: Sequence[Result], scenario: Scenario, metric: str) -> list[str]:
    best = _reference(group, scenario, metric, "best")
    lines = [f"  {metric:20} {'median':>12} {'min':>12} {'max':>12} {'× best peer':>12} {'n':>9}"]
    for result in group:
        values = result.metrics.get(metric)
        if values and not result.faults:
            median = statistics.median(values)
            share = f"{median / best:.2f}" if best else "-"
            span = f"{min(values):>12,.1f} {max(values):>12,.1f}"
            lines.append(f"  {result.contender:20} {median:>12,.1f} {span} {share:>12} {result.count:>9,}")
    for target in TARGETS[scenario]:
        ratio = _ratio(group, scenario, metric, target)
        if ratio is not None:
            met = ratio >= target.ratio if target.at_least else ratio <= target.ratio
            lines.append(
                f"  {PRODUCT} is {ratio:.2f} × {target.reference} (target {target}): {'met' if met else 'MISSED'}"
            )
    return lines


def _reference(group: Sequence[Result], scenario: Scenario, metric: str, name: str) -> float | None:
    """The median of ``name``, or of the best fault-free peer."""
    medians = {
        result.contender: statistics.median(result.metrics[metric])
        for result in group
        if result.metrics.get(metric) and not result.faults
    }
    if name != "best":
        return medians.get(name)
    peers = [median for contender, median in medians.items() if not contender.startswith(PRODUCT)]
    if not peers:
        return None
    return min(peers) if scenario is Scenario.LATENCY else max(peers)


def _ratio(group: Sequence[Result], scenario: Scenario, metric: str, target: Target) -> float | None:
    own = _reference(group, scenario, metric, PRODUCT)
    reference = _reference(group, scenario, metric, target.reference)
    return own / reference if own is not None and reference else None


def build_json(
    results: Sequence[Result], contenders: Sequence[type[Contender]], plan: Plan, server_version: str
) -> dict[str, Any]:
    """Everything in the report and what it takes to repeat it."""
    return {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "server": {"version": server_version, "settings": dict(SETTINGS)},
        "plan": {"seconds": plan.seconds, "rounds": plan.rounds, "latency_jobs": plan.latency_jobs},
        "contenders": {
            contender.name: {
                "versions": {package: _version(package) for package in contender.packages},
                "settings": dict(contender.settings),
            }
            for contender in contenders
        },
        "results": [_result_json(result, results) for result in results],
    }


def _result_json(result: Result, results: Sequence[Result]) -> dict[str, Any]:
    group = [other for other in results if other.scenario is result.scenario]
    metrics = {}
    for metric, values in result.metrics.items():
        best = _reference(group, result.scenario, metric, "best")
        median = statistics.median(values)
        metrics[metric] = {
            "values": values,
            "median": median,
            "min": min(values),
            "max": max(values),
            "ratio_to_best_peer": median / best if best else None,
        }
    return {
        "scenario": str(result.scenario),
        "contender": result.contender,
        "count": result.count,
        "metrics": metrics,
        "targets": [str(target) for target in TARGETS[result.scenario]],
        "faults": result.faults,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

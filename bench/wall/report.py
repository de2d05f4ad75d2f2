"""Ratios with their spread, as a table for people and as JSON for machines."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.server import SETTINGS
from bench.wall.ground import DOCUMENTS_EACH, WORKSPACES
from bench.wall.measure import Pair, Plan

_HEAD = f"{'':28}{'':28}{'p50 us':>12}{'p95 us':>14}  {'ratio':>5}  {'of rounds':12}  {'p95':>4}  target"


@dataclass(frozen=True)
class Line:
    """One pair, ours before theirs. Times are microseconds over all rounds; `ratio` is the median of the rounds' ratios
    of medians, `lowest` and `highest` say how far the rounds lie apart. Without `at_most` it is for information."""

    subject: str
    contenders: tuple[str, str]
    p50: tuple[float, float]
    p95: tuple[float, float]
    ratio: float
    lowest: float
    highest: float
    ratio_p95: float
    at_most: float | None
    met: bool | None


def summarise(pair: Pair) -> Line:
    ratios = sorted(statistics.median(ours) / statistics.median(theirs) for ours, theirs in pair.rounds)
    ratio = statistics.median(ratios)
    ours, theirs = (sorted(value * 1e6 for each in pair.rounds for value in each[side]) for side in (0, 1))
    p95 = _p95(ours), _p95(theirs)
    return Line(
        pair.subject,
        (pair.ours, pair.theirs),
        (statistics.median(ours), statistics.median(theirs)),
        p95,
        ratio,
        ratios[0],
        ratios[-1],
        p95[0] / p95[1],
        pair.at_most,
        None if pair.at_most is None else ratio <= pair.at_most,
    )


def render(lines: Sequence[Line], trips: dict[str, int]) -> str:
    """The report as text."""
    rows = [_HEAD]
    for line in lines:
        p50, p95 = (f"{ours:.0f} / {theirs:.0f}" for ours, theirs in (line.p50, line.p95))
        spread = f"{line.lowest:.2f} to {line.highest:.2f}"
        target = "" if line.met is None else f"≤ {line.at_most:g}  {_verdict(line.met)}"
        rows.append(
            f"{line.subject:28}{' / '.join(line.contenders):28}{p50:>12}{p95:>14}  {line.ratio:5.2f}  {spread:12}"
            f"  {line.ratio_p95:4.2f}  {target}"
        )
    rows += ["", f"round trips of such a transaction: door {trips['door']}, BEGIN {trips['BEGIN']}"]
    rows.append(f"  target: no more than BEGIN  {_verdict(_as_few(trips))}")
    return "\n".join(rows)


def as_json(lines: Sequence[Line], trips: dict[str, int], plan: Plan, server_version: str) -> dict[str, Any]:
    return {
        "lines": [asdict(line) for line in lines],
        "round_trips": {**trips, "met": _as_few(trips)},
        "plan": asdict(plan),
        "rows": DOCUMENTS_EACH * len(WORKSPACES),
        "workspaces": len(WORKSPACES),
        "server": {"version": server_version, "settings": dict(SETTINGS)},
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }


def _p95(ascending: Sequence[float]) -> float:
    return ascending[int(len(ascending) * 0.95)]


def _as_few(trips: dict[str, int]) -> bool:
    return trips["door"] <= trips["BEGIN"]


def _verdict(met: bool) -> str:
    return "MET" if met else "MISSED"

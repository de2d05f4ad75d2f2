"""Ratios and limits, as tables for people and as JSON for machines."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.http_load import CLIENTS, Served
from bench.server import SETTINGS
from bench.work.ground import Ground
from bench.work.pages import DEPTH, Depth
from bench.work.shapes import PASSES, Times, part_of
from bench.work.writers import Contest

AT_MOST, MOST_MS = 1.3, 400.0
DEEP_AT_MOST = 1.3
HTTP_AT_LEAST = 0.8


@dataclass(frozen=True)
class Line:
    """One shape. Milliseconds as p50 and p95 (the median of the parts'); `ratio` is composed to hand-written at p95,
    `ratio_p50` at the median."""

    shape: str
    plans: str
    hand: tuple[float, float]
    composed: tuple[float, float]
    service: tuple[float, float]
    ratio: float
    ratio_p50: float
    faults: int
    bounded: int
    met: bool


@dataclass(frozen=True)
class Results:
    lines: Sequence[Line]
    depths: Sequence[Depth]
    served: Served | None
    contest: Contest | None


def summarise(times: Times) -> Line:
    hand, composed, service = (_typical(each) for each in (times.hand, times.composed, times.service))
    ratio = composed[1] / hand[1]
    return Line(
        times.shape,
        times.plans,
        hand,
        composed,
        service,
        ratio,
        composed[0] / hand[0],
        times.faults,
        times.bounded,
        ratio <= AT_MOST and service[1] < MOST_MS and not times.faults,
    )


def render(results: Results, ground: Ground) -> str:
    rows = [_seeded(ground)]
    if results.lines:
        rows += ["", *_shapes(results.lines)]
    if results.depths:
        rows += ["", *_depths(results.depths)]
    if results.served:
        rows += ["", _served(results.served)]
    if results.contest:
        rows += ["", _contest(results.contest)]
    return "\n".join(rows)


def as_json(results: Results, ground: Ground, server_version: str, runs: int) -> dict[str, Any]:
    return {
        "plan": asdict(ground.plan),
        "seed_seconds": ground.seed_seconds,
        "vacuum_seconds": ground.vacuum_seconds,
        "runs": runs,
        "shapes": [asdict(line) for line in results.lines],
        "depths": [
            {"name": each.name, "first_ms": _both(each.first), "deep_ms": _both(each.deep), "ratio": _deep_ratio(each)}
            for each in results.depths
        ],
        "http": results.served and {**asdict(results.served), "ratio": results.served.ratio},
        "writers": results.contest and {**asdict(results.contest), "is_right": results.contest.is_right},
        "server": {"version": server_version, "settings": dict(SETTINGS)},
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }


def _seeded(ground: Ground) -> str:
    plan = ground.plan
    what = f"{plan.items:,} items beside {plan.workspaces:,} workspaces"
    if ground.seed_seconds is None:
        return f"{what}, kept from before"
    return f"{what}, seeded in {ground.seed_seconds:.0f} s, vacuumed in {ground.vacuum_seconds or 0:.0f} s"


def _shapes(lines: Sequence[Line]) -> list[str]:
    rows = [f"{'milliseconds, p50 / p95':28}{'by hand':>17}{'composed':>17}{'service':>17}  {'p50':>5}  {'p95':>5}"]
    for line in lines:
        times = "".join(f"{p50:8.2f} /{p95:7.2f}" for p50, p95 in (line.hand, line.composed, line.service))
        marks = f"  {line.faults} OTHER ROWS" if line.faults else ""
        marks += f"  {line.bounded} bounded" if line.bounded else ""
        rows.append(f"{line.shape:28}{times}  {line.ratio_p50:5.2f}  {line.ratio:5.2f}  {_verdict(line.met)}{marks}")
    missed = sum(not line.met for line in lines)
    worst = max(line.service[1] for line in lines)
    rows.append(f"target: composed ≤ {AT_MOST} × by hand and the service < {MOST_MS:.0f} ms, at p95 each")
    rows.append(f"{len(lines) - missed} of {len(lines)} shapes met; the slowest service p95 is {worst:.0f} ms")
    return rows


def _depths(depths: Sequence[Depth]) -> list[str]:
    rows = [f"{f'milliseconds, p50 / p95; page {DEPTH:,}':28}{'first page':>17}{'deep page':>17}  {'p95':>5}"]
    for each in depths:
        times = "".join(f"{p50:8.2f} /{p95:7.2f}" for p50, p95 in (_both(each.first), _both(each.deep)))
        ratio = _deep_ratio(each)
        rows.append(f"{each.name:28}{times}  {ratio:5.2f}  {_verdict(ratio <= DEEP_AT_MOST)}")
    return rows


def _served(served: Served) -> str:
    ours, bare = statistics.median(served.ours), statistics.median(served.bare)
    ratio = served.ratio
    return (
        f"list of 25 over HTTP, {CLIENTS} clients: {ours:.0f} requests/s, bare app {bare:.0f}; ratio {ratio:.2f}, "
        f"target ≥ {HTTP_AT_LEAST}  {_verdict(ratio >= HTTP_AT_LEAST)}"
    )


def _contest(contest: Contest) -> str:
    return (
        f"{contest.writers} writers on one item: {contest.winners} won, {contest.told} told; counting up by one each: "
        f"{contest.counted} counted in {contest.versions} versions, {contest.conflicts} conflicts, "
        f"{contest.seconds:.1f} s  {'RIGHT' if contest.is_right else 'WRONG'}"
    )


def _both(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile, in milliseconds."""
    ascending = sorted(seconds)
    return statistics.median(ascending) * 1e3, ascending[math.ceil(len(ascending) * 0.95) - 1] * 1e3


def _typical(seconds: Sequence[float]) -> tuple[float, float]:
    """As `_both`, where the 95th percentile is the median of those of the parts: the scheduler of a small machine slows
    one side for a fraction of a second, and a part with that says nothing of the shape."""
    parts = [_both(seconds[part_of(len(seconds), part)]) for part in range(PASSES)]
    return _both(seconds)[0], statistics.median(p95 for _, p95 in parts)


def _deep_ratio(depth: Depth) -> float:
    return _both(depth.deep)[1] / _both(depth.first)[1]


def _verdict(met: bool) -> str:
    return "MET" if met else "MISSED"

"""Rounds in which the contenders alternate, a fresh database for each turn, and the check of what was left."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bench.jobs.contender import Contender, Scenario
from bench.server import Server

PUBLISH_BATCH = 1000
CLAIM_BATCH = 100
_CHILD_SECONDS = 600
_ROOT = Path(__file__).parents[2]
_EFFECTS_TABLE = "CREATE TABLE public.bench_effects (workspace_id uuid NOT NULL, n bigint NOT NULL)"


@dataclass(frozen=True)
class Plan:
    """How much to run: seconds aimed at per drain, rounds that count, single jobs per latency round."""

    seconds: float
    rounds: int
    latency_jobs: int


@dataclass
class Result:
    """One contender in one scenario: a list of values per metric (one per round) and what went wrong."""

    contender: str
    scenario: Scenario
    count: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    failed: bool = False
    """It did not run to its end; a fault without this is lost or repeated work."""


class Runner:
    """Runs scenarios on one server."""

    def __init__(self, server: Server, plan: Plan, log: Callable[[str], None]) -> None:
        self._server = server
        self._plan = plan
        self._log = log
        self._turn = 0

    def run_scenario(self, scenario: Scenario, contenders: Sequence[type[Contender]]) -> list[Result]:
        """A warm-up turn that sizes the count, then the rounds; each round starts with another contender."""
        taking_part = [contender for contender in contenders if scenario in contender.scenarios]
        results = {contender.name: Result(contender.name, scenario) for contender in taking_part}
        for contender in taking_part:
            self._size(contender, results[contender.name])
        for number in range(self._plan.rounds):
            shift = number % max(len(taking_part), 1)
            for contender in taking_part[shift:] + taking_part[:shift]:
                if not results[contender.name].faults:
                    self._count_turn(contender, results[contender.name], number)
        return list(results.values())

    def _size(self, contender: type[Contender], result: Result) -> None:
        if result.scenario is Scenario.LATENCY:
            result.count = self._plan.latency_jobs
            return
        guess = max(200, contender.first_guess[result.scenario])
        metrics = self._take_turn(contender, result, guess)
        if metrics:
            rate = next(iter(metrics.values()))
            result.count = max(200, int(round(rate * self._plan.seconds, -2)))

    def _count_turn(self, contender: type[Contender], result: Result, number: int) -> None:
        for name, value in self._take_turn(contender, result, int(result.count)).items():
            result.metrics.setdefault(name, []).append(value)
            self._log(f"{result.scenario:8} round {number + 1} {contender.name:14} {name}: {value:,.1f}")

    def _take_turn(self, contender: type[Contender], result: Result, count: int) -> dict[str, float]:
        """One measurement on a new database; empty when it failed, with the reason in ``result.faults``."""
        self._turn += 1
        database = f"turn_{self._turn}"
        dsn = self._server.dsn(database)
        try:
            self._execute(self._server.dsn(), f"CREATE DATABASE {database}")
            self._execute(dsn, _EFFECTS_TABLE)
            metrics, handled = self._measure(contender, result.scenario, dsn, count)
            result.faults += asyncio.run(_find_faults(contender, result.scenario, dsn, handled, count))
            return metrics
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            result.failed = True
            result.faults.append(str(error))
            self._log(f"{result.scenario} {contender.name} failed: {error}")
            return {}
        finally:
            self._execute(self._server.dsn(), f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def _measure(
        self, contender: type[Contender], scenario: Scenario, dsn: str, count: int
    ) -> tuple[dict[str, float], int]:
        _run_child(contender, "install", dsn, 0, 0)
        if scenario in (Scenario.BACKLOG, Scenario.EFFECT, Scenario.CLAIM):
            fill = "fill-spread" if scenario is Scenario.EFFECT else "fill"
            _run_child(contender, fill, dsn, count, PUBLISH_BATCH)
            self._execute(dsn, "VACUUM ANALYZE")
        self._execute(dsn, "CHECKPOINT")
        batch = CLAIM_BATCH if scenario is Scenario.CLAIM else PUBLISH_BATCH
        answer = _run_child(contender, scenario, dsn, count, batch)
        if scenario is Scenario.LATENCY:
            return _summarise_latency(answer), answer["jobs"]
        return {"per_second": count / answer["seconds"]}, answer.get("handled", count)

    def _execute(self, dsn: str, statement: str) -> None:
        asyncio.run(_execute(dsn, statement))


def _run_child(contender: type[Contender], action: str, dsn: str, count: int, batch: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.jobs.child", contender.name, action, dsn, str(count), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CHILD_SECONDS, cwd=_ROOT)
    if done.returncode != 0:
        raise RuntimeError(f"{action}: {done.stderr.strip()[-1500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _summarise_latency(answer: dict[str, Any]) -> dict[str, float]:
    metrics = {}
    for origin in ("return", "call"):
        values = sorted(answer[f"from_{origin}_ms"])
        metrics[f"p50_from_{origin}_ms"] = statistics.median(values)
        metrics[f"p95_from_{origin}_ms"] = values[int(len(values) * 0.95)]
    return metrics


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _find_faults(contender: type[Contender], scenario: Scenario, dsn: str, handled: int, count: int) -> list[str]:
    """What the database says against what must be: lost or repeated work, by name."""
    connection = await asyncpg.connect(dsn)
    try:
        unfinished, completed = await connection.fetchrow(contender.tally_sql)
        effects = tuple(await connection.fetchrow(contender.effects_sql))
    finally:
        await connection.close()
    jobs = handled if scenario is Scenario.LATENCY else count
    expected = (jobs, 0) if scenario is Scenario.PUBLISH else (0, jobs)
    expected_effects = (jobs, jobs, min(jobs, 100)) if scenario is Scenario.EFFECT else (0, 0, 0)
    faults = []
    if handled != jobs:
        faults.append(f"handlers ran {handled} times for {jobs} jobs")
    if (unfinished, completed) != expected:
        faults.append(f"(unfinished, completed) is {(unfinished, completed)}, not {expected}")
    if effects != expected_effects:
        faults.append(f"(effects, jobs, workspaces) is {effects}, not {expected_effects}")
    return faults

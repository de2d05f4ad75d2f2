"""``python -m bench.jobs``: run the job benchmarks and print the table. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import asyncpg

from bench.jobs.contender import Contender, Scenario
from bench.jobs.registry import CONTENDERS, load_contender
from bench.jobs.report import build_json, render_table
from bench.jobs.runner import Plan, Result, Runner
from bench.server import run_server

FULL = Plan(seconds=5.0, rounds=3, latency_jobs=200)
QUICK = Plan(seconds=1.0, rounds=3, latency_jobs=50)


def main() -> int:
    """Exit code 0, or 1 when a contender failed to run; lost or repeated work is a fault in the report."""
    arguments = _parse_arguments()
    contenders = _load(arguments.contenders)
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = Plan(plan.seconds, arguments.rounds, plan.latency_jobs)
    results: list[Result] = []
    with run_server() as server:
        runner = Runner(server, plan, lambda line: print(line, file=sys.stderr, flush=True))
        for scenario in arguments.only:
            results += runner.run_scenario(scenario, contenders)
        version = asyncio.run(_server_version(server.dsn()))
    print(render_table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(build_json(results, contenders, plan, version), indent=2) + "\n")
    return 1 if any(result.failed for result in results) else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="drains of about 1 s instead of 5 s")
    parser.add_argument("--rounds", type=int, help="rounds that count (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--only", type=_scenarios, default=list(Scenario), help=f"of {','.join(Scenario)}")
    parser.add_argument("--contenders", type=_names, default=list(CONTENDERS), help=f"of {','.join(CONTENDERS)}")
    return parser.parse_args()


def _scenarios(text: str) -> list[Scenario]:
    return [Scenario(name) for name in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(CONTENDERS):
        raise argparse.ArgumentTypeError(f"no contender named {', '.join(sorted(unknown))}")
    return names


def _load(names: list[str]) -> list[type[Contender]]:
    """The contenders whose packages are installed; the others are named and left out."""
    loaded = []
    for name in names:
        try:
            loaded.append(load_contender(name))
        except ImportError as error:
            print(f"{name} takes no part: {error} (see bench/requirements.txt)", file=sys.stderr)
    return loaded


async def _server_version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.wall``: what the wall costs a read, and the door a transaction. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

import uvloop

from bench.server import Server, run_server
from bench.wall.ground import lay_ground
from bench.wall.measure import Plan, connections, count_round_trips, time_reads, time_transactions
from bench.wall.report import Line, as_json, render, summarise

FULL = Plan(rounds=15, visits=20, turns=20)
QUICK = Plan(rounds=5, visits=10, turns=10)


def main() -> int:
    """Exit code 0 when everything was measured, whether a target is met or missed."""
    arguments = _parse_arguments()
    plan = QUICK if arguments.quick else FULL
    with run_server() as server:
        lines, trips, version = uvloop.run(_measure(server, plan))
    print(render(lines, trips))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(lines, trips, plan, version), indent=2) + "\n")
    return 0


async def _measure(server: Server, plan: Plan) -> tuple[list[Line], dict[str, int], str]:
    _say("filling two tables with the same rows")
    ground = await lay_ground(server)
    gc.collect()
    gc.freeze()  # 200,000 keys are no part of what is timed
    trips = await count_round_trips(ground)
    async with connections(ground.url) as (door, bare):
        _say("reads")
        pairs = await time_reads(door, ground, plan)
        _say("transactions")
        pairs += await time_transactions(door, bare, ground, plan)
        version = str(await bare.pool.fetchval("SHOW server_version"))
    return [summarise(pair) for pair in pairs], trips, version


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.wall", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 short rounds instead of 15; not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

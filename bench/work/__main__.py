"""``python -m bench.work``: what lists of items cost at a million items. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import uvloop

from bench.work.ground import Ground, lay_ground, run_server
from bench.work.http import time_http
from bench.work.pages import time_pages
from bench.work.report import Results, as_json, render, summarise
from bench.work.shapes import time_shapes
from bench.work.writers import contend
from datalane.db.access import Prepared
from datalane.db.embedded import EmbeddedPostgres
from datalane.work.seeding.plan import Plan

PARTS = ("shapes", "pages", "http", "writers")
_HTTP_ROUNDS = 9


def main() -> int:
    """Exit code 0 when everything was measured, whether a target is met or missed."""
    arguments = _parse_arguments()
    plan = Plan(items=50_000, workspaces=50) if arguments.quick else Plan()
    runs = arguments.runs or (20 if arguments.quick else 100)
    with run_server(arguments.keep) as (server, prepared, plain_url):
        results, ground, version = uvloop.run(_measure(server, prepared, plain_url, plan, runs, arguments))
    print(render(results, ground))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results, ground, version, runs), indent=2) + "\n")
    return 0


async def _measure(
    server: EmbeddedPostgres, prepared: Prepared, plain_url: str, plan: Plan, runs: int, arguments: argparse.Namespace
) -> tuple[Results, Ground, str]:
    _say("seeding")
    ground = await lay_ground(server, prepared, plain_url, plan)
    gc.collect()
    gc.freeze()
    parts, lines, depths, served, contest = arguments.parts, [], [], None, None
    if "shapes" in parts:
        _say("shapes")
        lines = [summarise(times) for times in await time_shapes(ground, runs, arguments.shapes)]
    if "pages" in parts:
        _say("pages")
        depths = await time_pages(ground, runs)
    if "http" in parts:
        _say("HTTP")
        served = await time_http(ground, 3 if arguments.quick else _HTTP_ROUNDS)
    if "writers" in parts:
        _say("writers")
        contest = await contend(ground)
    connection = await asyncpg.connect(plain_url)
    try:
        version = str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
    return Results(lines, depths, served, contest), ground, version


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.work", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 items and 20 runs; to see that it works")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the seeded server there, and use it again")
    parser.add_argument("--runs", type=int, help="runs of each shape; short ones eight times as many [default: 100]")
    parser.add_argument("--parts", type=_listed(PARTS), default=PARTS, metavar="LIST", help=", ".join(PARTS))
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=(), metavar="LIST", help="only these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    return parser.parse_args()


def _listed(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return chosen

    return read


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.neighbour CORPUS``: 200,000 chunks beside 1,000 small workspaces. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import uvloop

from bench.neighbour.ground import laid
from bench.neighbour.load import loading
from bench.neighbour.measure import Asking, Own, Small, p95, promote, time_own, time_small
from bench.server import Server, run_server

SLOWER, RECALL = 1.2, 0.99


def main() -> int:
    """Exit code 0 when everything was measured, whether a target is met or missed."""
    arguments = _parse_arguments()
    with run_server() as server:
        own, small, asked = uvloop.run(_measure(server, arguments))
    said = _as_json(own, small, asked)
    print("\n".join(_lines(own, small, asked)))
    if arguments.json:
        arguments.json.write_text(json.dumps(said, indent=2) + "\n")
    return 0


async def _measure(server: Server, arguments: argparse.Namespace) -> tuple[Own, Small, int]:
    small = Small()
    async with laid(server, arguments.corpus, arguments.chunks, arguments.workspaces) as ground:
        asking = Asking(ground)
        _say("building")
        own = await promote(ground, asking, small)
        _say("the index")
        await time_own(ground, own)
        _say("small workspaces")
        with loading(ground.prepared.database_url, ground.large, ground.questions) as load:
            await time_small(asking, small, load)
    return own, small, load.asked[0]


def _lines(own: Own, small: Small, asked: int) -> list[str]:
    ours, exact = (statistics.median(seconds) * 1e3 for seconds in (own.own, own.exact))
    loaded, building = (p95(seconds) / p95(small.alone) for seconds in (small.loaded, small.building))
    return [
        f"built and measured in {own.build_seconds:.0f} s; recall {own.measured:.3f} by effort {own.effort}",
        f"recall at 10 of the questions: {own.recall:.4f}  >= {RECALL}  {_met(own.recall >= RECALL)}",
        f"ms at the median: by the index {ours:.1f}, exact {exact:.1f}, ratio {ours / exact:.3f}",
        f"small workspaces, ms p50 / p95: alone {_both(small.alone)}, while it is indexed {_both(small.building)}",
        f"  and while it is asked, {asked:,} times: {_both(small.loaded)}",
        f"p95 under load / alone {loaded:.2f}  <= {SLOWER}  {_met(loaded <= SLOWER)}",
        f"p95 while the large one is indexed / alone {building:.2f}",
    ]


def _as_json(own: Own, small: Small, asked: int) -> dict[str, object]:
    return {
        "index": {
            "build_seconds": own.build_seconds,
            "recall": own.recall,
            "measured": own.measured,
            "effort": own.effort,
        },
        "search_ms": {"own": statistics.median(own.own) * 1e3, "exact": statistics.median(own.exact) * 1e3},
        "small_p95_ms": {name: p95(getattr(small, name)) * 1e3 for name in ("alone", "building", "loaded")},
        "neighbour_queries": asked,
    }


def _both(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.2f} / {p95(seconds) * 1e3:.2f}"


def _met(met: bool) -> str:
    return "MET" if met else "MISSED"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.neighbour", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder in BEIR layout, of which sentences are drawn")
    parser.add_argument("--chunks", type=int, default=200_000, help="of the large workspace [default: 200,000]")
    parser.add_argument("--workspaces", type=int, default=1_000, help="small ones [default: 1,000]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

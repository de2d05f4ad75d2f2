"""``python -m bench.knowledge CORPUS``: what knowledge costs and how good it is. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from bench.knowledge.ground import laid
from bench.knowledge.quality import Compared, judge_methods
from bench.knowledge.speed import Ingestion, Timed, time_alone, time_searches
from bench.knowledge.swap import FLIPS, Swap, swap_models
from bench.server import Server, run_server

INGEST_TARGET = 0.3


def main() -> int:
    """Exit code 0 when everything was measured, whether a target is met or missed."""
    arguments = _parse_arguments()
    with run_server() as server:
        compared, ingestion, timed, swap = uvloop.run(_measure(server, arguments.corpus))
    print("\n".join([*_lines(compared, ingestion, timed), *_swap_lines(swap)]))
    if arguments.json:
        arguments.json.write_text(json.dumps(_as_json(compared, ingestion, timed, swap), indent=2) + "\n")
    return 0


async def _measure(server: Server, corpus: Path) -> tuple[list[Compared], Ingestion, list[Timed], Swap]:
    _say("ingesting")
    async with laid(server, corpus) as ground:
        ingestion = time_alone(ground)
        _say("quality")
        compared = await judge_methods(ground) if ground.corpus.judgements else []
        _say("searches")
        timed = await time_searches(ground)
        _say("models")
        return compared, ingestion, timed, await swap_models(ground)


def _lines(compared: Sequence[Compared], ingestion: Ingestion, timed: Sequence[Timed]) -> list[str]:
    lines = ["nDCG@10: ours, theirs, ratio (95 % of resampled queries), target"]
    for each in compared:
        met = each.ratio >= each.at_least and (each.at_least < 1 or each.low >= 1)
        interval = f"{each.ratio:.3f} ({each.low:.3f} to {each.high:.3f})"
        lines.append(
            f"  {each.subject:52} {each.ours:.4f}  {each.theirs:.4f}  {interval}  >= {each.at_least}  {_met(met)}"
        )
    ratio = ingestion.ours / ingestion.alone
    lines.append(
        f"ingestion, documents/s: {ingestion.ours:,.0f}; splitting and embedding alone {ingestion.alone:,.0f}; "
        f"ratio {ratio:.2f}  >= {INGEST_TARGET}  {_met(ratio >= INGEST_TARGET)}"
    )
    lines.append("ms at the median: ours, theirs, ratio")
    for pair in timed:
        ours, theirs = (statistics.median(seconds) * 1e3 for seconds in (pair.ours, pair.theirs))
        target = "" if pair.limit is None else f"  <= {pair.limit}  {_met(pair.ratio <= pair.limit)}"
        lines.append(f"  {pair.subject:52} {ours:.2f}  {theirs:.2f}  {pair.ratio:.2f}{target}")
    return lines


def _swap_lines(swap: Swap) -> list[str]:
    held = swap.failed == 0 and swap.mixed == 0 and swap.models == 2
    return [
        f"models swapped under load, {FLIPS + 1} times: {len(swap.meanwhile):,} queries by {swap.models} models, "
        f"{swap.failed} failed, {swap.mixed} mixed  0 and 0  {_met(held)}",
        f"  a query's 95th percentile meanwhile / before (beside the worker that fills)  {swap.slower:.2f}",
    ]


def _met(met: bool) -> str:
    return "MET" if met else "MISSED"


def _as_json(compared: Sequence[Compared], ingestion: Ingestion, timed: Sequence[Timed], swap: Swap) -> dict[str, Any]:
    return {
        "quality": [asdict(each) for each in compared],
        "ingestion": asdict(ingestion),
        "searches": [{**asdict(pair), "ratio": pair.ratio} for pair in timed],
        "swap": {"queries": len(swap.meanwhile), "failed": swap.failed, "mixed": swap.mixed, "slower": swap.slower},
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.knowledge", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder in BEIR layout, with judgements for the quality")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.agents``: recording a run beside inserts by hand, and reads with a million steps. See
``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import asyncpg
import uvloop

from bench.agents.reading import Reads, read, store
from bench.agents.recording import STEPS, Times, measure
from bench.server import Server, run_server
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare

AT_MOST, MOST_MS = 2.0, 100.0


def main() -> int:
    """Exit code 0 when it was measured, whether the targets are met or missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs and 20,000 steps; not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    with run_server() as server:
        times, reads = uvloop.run(_measure(server, quick=arguments.quick))
    ours, bare = statistics.median(times.ours), statistics.median(times.bare)
    verdict = "MET" if times.ratio <= AT_MOST else "MISSED"
    print(f"a run of {STEPS} steps: {ours:.1f} ms, by hand {bare:.1f} ms")
    print(f"ratio {times.ratio:.2f}, target <= {AT_MOST}  {verdict}")
    print(
        f"waiting for each step: {statistics.median(times.waiting):.1f} ms, ratio {times.ratio_waiting:.2f}, no target"
    )
    slowest = 0.0
    for name, taken in reads.taken.items():
        p95 = statistics.quantiles(taken, n=20)[-1]
        slowest = max(slowest, p95)
        print(f"{name:22} p50 {statistics.median(taken):6.2f} ms, p95 {p95:6.2f} ms")
    print(f"target p95 < {MOST_MS:.0f} ms each  {'MET' if slowest < MOST_MS else 'MISSED'}")
    if arguments.json:
        told = {
            "ours": times.ours,
            "waiting": times.waiting,
            "bare": times.bare,
            "ratio": times.ratio,
            "reads": reads.taken,
        }
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


async def _measure(server: Server, *, quick: bool) -> tuple[Times, Reads]:
    prepared = prepare(server.dsn(), "agents", Access.generate())
    admin = await asyncpg.connect(server.dsn("agents"))
    database = await Database.connect(prepared.database_url)
    try:
        runs, rounds, steps, reads = (20, 2, 20_000, 50) if quick else (200, 5, 1_000_000, 300)
        times = await measure(database, admin, server.dsn("agents"), runs, rounds)
        context = await store(admin, steps)
        return times, await read(database, admin, context, reads)
    finally:
        await admin.close()
        await database.close()


if __name__ == "__main__":
    sys.exit(main())

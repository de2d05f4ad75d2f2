"""``python -m bench.usage``: uses of quotas beside plain updates of a row. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import asyncpg
import uvloop

from bench.server import Server, run_server
from bench.usage.counting import Times, compare, prepare_counters, warm_up
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare

CLIENTS = 16
TARGETS = {"one hot counter": 0.5, "1,000 workspaces": 0.7}


def main() -> int:
    """Exit code 0 when it was measured, whether the targets are met or missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short turns; not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    with run_server() as server:
        times = uvloop.run(_measure(server, quick=arguments.quick))
    for subject, found in times.items():
        verdict = "MET" if found.ratio >= TARGETS[subject] else "MISSED"
        ours, bare = statistics.median(found.ours), statistics.median(found.bare)
        print(f"{subject:18} {ours:8,.0f} uses/s, plain updates {bare:8,.0f}/s, ", end="")
        print(f"ratio {found.ratio:.2f}, target >= {TARGETS[subject]}  {verdict}")
        in_one, alone = statistics.median(found.in_one), statistics.median(found.alone)
        print(f"{'':18} updates by a function that states the door {in_one:8,.0f}/s, without a door {alone:8,.0f}/s")
    if arguments.json:
        told = {
            subject: {"ours": found.ours, "bare": found.bare, "in_one": found.in_one, "alone": found.alone}
            for subject, found in times.items()
        }
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


async def _measure(server: Server, *, quick: bool) -> dict[str, Times]:
    prepared = prepare(server.dsn(), "usage", Access.generate())
    admin = await asyncpg.connect(server.dsn("usage"))
    database = await Database.connect(prepared.database_url, size=CLIENTS)
    seconds, rounds = (1.0, 2) if quick else (5.0, 5)
    try:
        contexts = await prepare_counters(database, admin, 1_000)
        url = server.dsn("usage")
        await warm_up(database, admin, contexts)
        return {
            "one hot counter": await compare(database, url, contexts[:1], CLIENTS, seconds, rounds),
            "1,000 workspaces": await compare(database, url, contexts, CLIENTS, seconds, rounds),
        }
    finally:
        await admin.close()
        await database.close()


if __name__ == "__main__":
    sys.exit(main())

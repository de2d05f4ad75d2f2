"""``python -m bench.analytics``: recording events beside inserts by hand, and a funnel over 5,000,000 events beside SQL
by hand. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import asyncpg
import uvloop

from bench.analytics import asking, recording
from bench.server import Server, run_server
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare

LEAST_RECORDED, MOST_ASKED = 0.5, 1.5


def main() -> int:
    """Exit code 0 when it was measured, whether the targets are met or missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.analytics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few batches and 50,000 events; not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    events = 50_000 if arguments.quick else 5_000_000
    with run_server() as server:
        recorded, asked = uvloop.run(_measure(server, events, quick=arguments.quick))
    _print_recorded(recorded)
    _print_asked(asked, events)
    if arguments.json:
        told = {"recorded": vars(recorded), "asked": vars(asked), "events": events}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


async def _measure(server: Server, events: int, *, quick: bool) -> tuple[recording.Recorded, asking.Asked]:
    prepared = prepare(server.dsn(), "analytics", Access.generate())
    admin = await asyncpg.connect(server.dsn("analytics"))
    database = await Database.connect(prepared.database_url)
    try:
        recorded = await recording.measure(database, admin, 5 if quick else 60)
        return recorded, await asking.measure(database, admin, events, 3 if quick else 7)
    finally:
        await database.close()
        await admin.close()


def _print_recorded(recorded: recording.Recorded) -> None:
    ours = statistics.median(recorded.ours)
    print(f"a batch of {recording.BATCH:,} events: {ours * 1000:.1f} ms, {recording.BATCH / ours:,.0f} events/s")
    ratio = recorded.ratio(recorded.rows)
    verdict = "MET" if ratio >= LEAST_RECORDED else "MISSED"
    print(f"  to one INSERT of as many rows: {ratio:.2f}, target >= {LEAST_RECORDED}  {verdict}")
    print(f"  to INSERT … SELECT FROM unnest: {recorded.ratio(recorded.set_wise):.2f}, no target")
    print(f"  to the same with the lane's indexes: {recorded.ratio(recorded.indexed):.2f}, no target")


def _print_asked(asked: asking.Asked, events: int) -> None:
    verdict = "MET" if asked.ratio <= MOST_ASKED else "MISSED"
    by_hand = statistics.median(asked.by_hand[asked.best])
    ours = statistics.median(asked.ours)
    print(f"a funnel over {events:,} events: {ours:.2f} s, by hand {by_hand:.2f} s ({asked.best})")
    print(f"  ratio {asked.ratio:.2f}, target <= {MOST_ASKED}  {verdict}")


if __name__ == "__main__":
    sys.exit(main())

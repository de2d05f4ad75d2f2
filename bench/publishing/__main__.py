"""``python -m bench.publishing``: one event over HTTP beside a bare app that inserts a row. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import asyncpg
import orjson
import uvloop

from bench.http_load import CLIENTS, Served, Side, ask, free_port, post, running, take_turns
from bench.publishing.app import TYPE
from bench.publishing.bare import TABLE
from bench.server import Server, run_server
from datalane.db.access import Access, Prepared
from datalane.db.database import Database
from datalane.db.provision import prepare
from datalane.identity.accounts import sign_up
from datalane.identity.schemas import NewAccount
from datalane.kit.ids import new_correlation_id
from datalane.settings import SessionSettings

AT_LEAST = 0.6
_ROUNDS, _QUICK_ROUNDS = 9, 3


def main() -> int:
    """Exit code 0 when it was measured, whether the target is met or missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.publishing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9; not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    with run_server() as server:
        served, stored = uvloop.run(_measure(server, _QUICK_ROUNDS if arguments.quick else _ROUNDS))
    rates = f"{statistics.median(served.ours):.0f} requests/s, bare app {statistics.median(served.bare):.0f}"
    verdict = "MET" if served.ratio >= AT_LEAST else "MISSED"
    print(f"one event over HTTP, {CLIENTS} clients: {rates}; ratio {served.ratio:.2f}, target >= {AT_LEAST}  {verdict}")
    print(f"{stored:,} events are stored, each once, with its line in the log")
    if arguments.json:
        told = {"ours": served.ours, "bare": served.bare, "ratio": served.ratio, "stored": stored}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


async def _measure(server: Server, rounds: int) -> tuple[Served, int]:
    prepared = prepare(server.dsn(), "publishing", Access.generate())
    token = await _sign_up(prepared)
    admin = await asyncpg.connect(server.dsn("publishing"))
    try:
        await admin.execute(TABLE)
        served = await _take_turns(server, prepared, token, rounds)
        return served, await _count(admin)
    finally:
        await admin.close()


async def _sign_up(prepared: Prepared) -> str:
    database = await Database.connect(prepared.database_url, size=1)
    try:
        account = NewAccount(email="bench@example.com", password="long enough to be good", name="Bench")
        made = await sign_up(database, account, sessions=SessionSettings(), correlation_id=new_correlation_id())
        return made.token
    finally:
        await database.close()


async def _take_turns(server: Server, prepared: Prepared, token: str, rounds: int) -> Served:
    own = {**prepared.as_environment(), "DATALANE_HOME": tempfile.mkdtemp(), "DATALANE_LOG_LEVEL": "ERROR"}
    ours = Side(free_port(), lambda number: post("/automation/events/publish", token, _event(number)))
    bare = Side(free_port(), lambda number: post("/events", token, _event(number)))
    api = ["-m", "datalane.cli.main", "api", "--app", "bench.publishing.app:lane", "--port", str(ours.port)]
    theirs = {"BENCH_URL": server.dsn("publishing")}
    with running(api, own, ours.port), running(["-m", "bench.publishing.bare", str(bare.port)], theirs, bare.port):
        for side in (ours, bare):
            orjson.loads(await ask(side))["event_id"]
        return await take_turns(ours, bare, rounds)


def _event(number: int) -> bytes:
    """Each has an id of its own, so that it is looked for among those that came before."""
    payload = {"invoice": number, "customer": f"customer {number % 1_000}"}
    said = {"event_type": TYPE, "payload": payload, "source_system": "shop", "source_event_id": f"{number}"}
    return orjson.dumps(said)


async def _count(admin: asyncpg.Connection) -> int:
    """The events that are stored. Raises RuntimeError when one is stored twice, or has no line in the log."""
    stored, distinct, logged = await admin.fetchrow(
        "SELECT count(*), count(DISTINCT source_event_id), (SELECT count(*) FROM datalane.event_ingestion "
        "WHERE event_type = $1 AND ingestion_status = 'accepted') FROM datalane.events WHERE event_type = $1",
        TYPE,
    )
    if not stored == distinct == logged:
        raise RuntimeError(f"{stored} events, {distinct} of them different, {logged} in the log")
    return int(stored)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.webhooks``: deliveries a second beside a bare loop over httpx. See ``bench/README.md``."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import uvloop

from bench.http_load import free_port
from bench.server import Server, run_server
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare
from datalane.engine.actions import Actions
from datalane.engine.events import NewEvent, publish_batch
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register
from datalane.engine.worker import Worker, WorkerSettings
from datalane.integrations.runtime import make_integrations
from datalane.integrations.webhooks.deliveries.handlers import BATCH
from datalane.integrations.webhooks.endpoints.schemas import NewWebhookEndpoint
from datalane.integrations.webhooks.endpoints.service import create_endpoint
from datalane.kit.envelope import MasterKeys
from datalane.kit.ids import uuid7
from datalane.settings import OutboundSettings, Settings

AT_LEAST = 0.5
TYPE = "invoice.paid"
HERE = (ip_network("127.0.0.0/8"),)
_ROUNDS, _QUICK_ROUNDS = 5, 2


@dataclass
class Rates:
    """Messages a second, by turn."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.bare)


def main() -> int:
    """Exit code 0 when it was measured, whether the target is met or missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 5; not to quote")
    parser.add_argument("--count", type=int, default=3_000, help="deliveries a turn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    with run_server() as server, receiving() as port:
        rounds = _QUICK_ROUNDS if arguments.quick else _ROUNDS
        rates = uvloop.run(_measure(server, f"http://127.0.0.1:{port}/hook", arguments.count, rounds))
    verdict = "MET" if rates.ratio >= AT_LEAST else "MISSED"
    ours, bare = statistics.median(rates.ours), statistics.median(rates.bare)
    print(f"{arguments.count:,} messages, {BATCH} at once: {ours:,.0f} deliveries/s, bare loop {bare:,.0f} requests/s")
    print(f"ratio {rates.ratio:.2f}, target >= {AT_LEAST}  {verdict}")
    if arguments.json:
        told = {"ours": rates.ours, "bare": rates.bare, "ratio": rates.ratio}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


@contextmanager
def receiving() -> Iterator[int]:
    """The port of a receiver, in a process of its own."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.webhooks.sink", str(port)]) as process:
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    httpx.post(f"http://127.0.0.1:{port}/", content=b"{}")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield port
        finally:
            process.kill()


async def _measure(server: Server, url: str, count: int, rounds: int) -> Rates:
    prepared, rates = prepare(server.dsn(), "webhooks", Access.generate()), Rates()
    admin = await asyncpg.connect(server.dsn("webhooks"))
    keys = MasterKeys("the master key of a benchmark")
    database = await Database.connect(prepared.database_url, master_keys=lambda: keys)
    try:
        EVENTS.register(TYPE, {"type": "object"})
        await register(database, {}, [], list(EVENTS))
        for turn in range(rounds + 1):  # the first one warms up
            ours, bare = await _deliver(database, admin, url, count), await _post(url, count)
            if turn:
                rates.ours.append(ours)
                rates.bare.append(bare)
        return rates
    finally:
        await admin.close()
        await database.close()


async def _deliver(database: Database, admin: asyncpg.Connection, url: str, count: int) -> float:
    """From a worker that begins until SQL says that each delivery was delivered, in its first attempt."""
    context = Context(uuid7(), uuid7(), Role.ADMIN)
    async with database.transaction(context) as tx:
        await create_endpoint(tx, NewWebhookEndpoint(url=url, event_types=[TYPE]), HERE)
    for begin in range(0, count, 1_000):
        events = [
            NewEvent(TYPE, {"invoice": number, "customer": f"customer {number}", "lines": ["a line of it"] * 10})
            for number in range(begin, min(begin + 1_000, count))
        ]
        async with database.transaction(context) as tx:
            await publish_batch(tx, events)
    await admin.execute("VACUUM ANALYZE")
    await admin.execute("CHECKPOINT")
    handlers = Handlers()
    integrations = make_integrations(Settings(outbound=OutboundSettings(allowed=HERE)), Actions())
    integrations.register(handlers, database)
    worker = Worker(database, handlers, WorkerSettings(groups=1))
    stop, ready = asyncio.Event(), asyncio.Event()
    began = time.perf_counter()
    running = asyncio.create_task(worker.run(stop, ready))
    while worker.tally.completed < count:
        await asyncio.sleep(0.005)
    taken = time.perf_counter() - began
    stop.set()
    await running
    await integrations.aclose()
    await _check(admin, context.workspace_id, count)
    return count / taken


async def _check(admin: asyncpg.Connection, workspace_id: UUID, count: int) -> None:
    """Raises RuntimeError when something was lost or sent twice."""
    delivered, attempts = await admin.fetchrow(
        "SELECT count(*) FILTER (WHERE status = 'delivered'), sum(attempt_count) FROM datalane.webhook_deliveries "
        "WHERE workspace_id = $1",
        workspace_id,
    )
    if not delivered == attempts == count:
        raise RuntimeError(f"{delivered} delivered in {attempts} attempts, not {count}")


async def _post(url: str, count: int) -> float:
    """The same requests by the same number of tasks over one httpx client: nothing signed, nothing looked up, nothing
    written down."""
    body = json.dumps({"type": TYPE, "data": {"invoice": 1, "customer": "customer 1", "lines": ["a line of it"] * 10}})
    left = iter(range(count))
    headers = {"content-type": "application/json"}

    async def send(client: httpx.AsyncClient) -> None:
        for _ in left:
            answer = await client.post(url, content=body.encode(), headers=headers)
            answer.raise_for_status()

    async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=BATCH)) as client:
        began = time.perf_counter()
        await asyncio.gather(*(send(client) for _ in range(BATCH)))
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())

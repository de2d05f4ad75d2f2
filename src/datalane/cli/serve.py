"""The processes of a lane: `datalane api`, `datalane worker`, `datalane maintenance`.

The supervisor starts them as its children; each can be run on its own as well, on any machine that reaches the
database.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from datalane.cli.metrics_server import serving_metrics
from datalane.db.home import connection_settings, maintenance_url
from datalane.kit.logs import configure_logging
from datalane.kit.trace_mode import configure_tracing
from datalane.settings import Settings, load_settings
from datalane.supervisor.handshake import announce_ready, inherited_socket, listen, wait_at_gate

App = Annotated[str | None, typer.Option(help="Your lane with its handlers, as module:lane.")]


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one. [default: 8080]")
    ] = None,
    app: App = None,
) -> None:
    """Serve the HTTP API, one process."""
    from datalane.api.app import create_app
    from datalane.cli.http_server import serve
    from datalane.cli.lanes import load_lane, open_lane
    from datalane.domains import domain_routers, make_runtime, request_quota

    settings, lane = load_settings(serving=True), load_lane(app)
    url = connection_settings(settings).database_url
    listener = inherited_socket() or listen(host or settings.api.host, settings.api.port if port is None else port)
    lane.configure(settings)
    runtime = make_runtime(settings, lane.actions, lane.agents.safety.moderator)
    routers, admission = [*domain_routers(runtime), *lane.routers], request_quota(lane, settings)
    served = create_app(lane, routers, admission=admission)  # while the database is prepared

    async def work(stop: asyncio.Event) -> None:
        async with open_lane(lane, settings, url, stop, runtime):
            await serve(served, listener, settings.api, stop, announce_ready, served.state.streams.stop)

    _run(work, settings, "api")


def worker(app: App = None) -> None:
    """Run jobs until stopped; SIGTERM lets the running ones end."""
    from datalane.cli.lanes import load_lane, open_lane
    from datalane.lane import run_worker

    settings, lane = load_settings(serving=True), load_lane(app)
    url = connection_settings(settings).database_url

    async def work(stop: asyncio.Event) -> None:
        ready = asyncio.Event()
        async with serving_metrics(settings), open_lane(lane, settings, url, stop) as runtime:
            sweeping = asyncio.create_task(runtime.knowledge.sweep(lane.database).keep(stop))
            try:
                await _announcing(ready, run_worker(lane, stop, ready))
            finally:
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)

    _run(work, settings, "worker")


def maintenance() -> None:
    """Keep partitions ahead, apply retention, seal the audit log, index large workspaces.

    Runs as the maintenance login, once per lane.
    """
    from datalane.domains import maintenance_duties
    from datalane.engine.maintenance import run_maintenance

    settings = load_settings(serving=True)
    settings.maintenance_url = SecretStr(maintenance_url(settings))

    async def work(stop: asyncio.Event) -> None:
        ready = asyncio.Event()
        async with serving_metrics(settings):
            await _announcing(ready, run_maintenance(settings, stop, ready, maintenance_duties(settings)))

    _run(work, settings, "maintenance")


async def _announcing(ready: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and tell the supervisor when it says that it is ready."""

    async def tell() -> None:
        await ready.wait()
        announce_ready()

    telling = asyncio.create_task(tell())
    try:
        await work
    finally:
        telling.cancel()


def _run(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], settings: Settings, service: str) -> None:
    """Run until done; SIGINT and SIGTERM ask for the end."""
    import uvloop

    configure_logging(settings.log_level, service=service)
    configure_tracing(settings.telemetry.traces, f"datalane-{service}")
    wait_at_gate()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    uvloop.run(main())

"""The metrics of a process that has no API, on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from datalane.kit.logs import get_logger
from datalane.settings import Settings
from datalane.supervisor.handshake import address, listen

log = get_logger(__name__)


@asynccontextmanager
async def serving_metrics(settings: Settings) -> AsyncIterator[None]:
    """Serve `/metrics` on the settings' `metrics_port` for the time of the block; without one do nothing.

    Raises `ConfigurationError` for a taken port.
    """
    port = settings.telemetry.metrics_port
    if port is None:
        yield
        return
    from datalane.api.metrics_app import create_metrics_app
    from datalane.cli.http_server import serve

    listener, stop = listen(settings.api.host, port, "DATALANE_TELEMETRY__METRICS_PORT"), asyncio.Event()
    app = create_metrics_app(settings.telemetry)
    serving = asyncio.create_task(serve(app, listener, settings.api, stop, lambda: None))
    log.info("metrics_served", url=f"{address(listener)}/metrics")
    try:
        yield
    finally:
        stop.set()
        await serving

"""The lane a command works for: the user's own, given as `module:lane`, or a plain one."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from datalane.domains import Runtime, open_runtime, register_handlers
from datalane.errors import ConfigurationError, DatabaseRefused, DatabaseUnavailable
from datalane.kit.logs import get_logger
from datalane.lane import Lane
from datalane.settings import Settings

_PAUSE_SECONDS = 0.2

log = get_logger(__name__)


@asynccontextmanager
async def open_lane(
    lane: Lane, settings: Settings, database_url: str, stop: asyncio.Event, runtime: Runtime | None = None
) -> AsyncIterator[Runtime]:
    """The lane, connected and with the handlers of Datalane's own jobs, for the time of the block. `runtime` is that
    which was made for it already.

    A database that is just starting, or recovering, is waited for until `stop` is set. Raises `DatabaseUnavailable`
    when it takes longer than the settings' `start_patience`, or at once when it refuses the login.
    """
    async with (
        open_runtime(settings, runtime, lane.actions, lane.agents.safety.moderator) as opened,
        AsyncExitStack() as connected,
    ):
        await _connect(connected, lane, settings, database_url, stop)
        register_handlers(lane.handlers, lane.database, opened)
        lane.agents.equip(opened.agents.tools, opened.agents.meters, opened.agents.safety)
        yield opened


async def _connect(
    connected: AsyncExitStack, lane: Lane, settings: Settings, database_url: str, stop: asyncio.Event
) -> None:
    deadline = time.monotonic() + settings.start_patience.total_seconds()
    while True:
        try:
            await connected.enter_async_context(lane.open(settings, database_url))
            return
        except DatabaseRefused:
            raise
        except DatabaseUnavailable as error:
            if stop.is_set() or time.monotonic() > deadline:
                raise
            log.warning("waiting_for_the_database", error=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_SECONDS):
                await stop.wait()


def load_lane(app: str | None) -> Lane:
    """The lane named by `module:lane`, looked for in the current folder too.

    Raises `ConfigurationError` when it cannot be imported or is no lane.
    """
    return Lane() if app is None else _import(app)


def _import(app: str) -> Lane:
    module_name, colon, attribute = app.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(f"--app {app} is not of the form module:lane")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may fail in any way
        raise ConfigurationError(
            f"--app {app}: cannot import {module_name}: {type(error).__name__}: {error}"
        ) from error
    lane = getattr(module, attribute, None)
    if not isinstance(lane, Lane):
        raise ConfigurationError(f"--app {app}: {module_name} has no datalane.Lane named {attribute}")
    return lane

"""The lane a command works for: the user's own, given as `module:lane`, or a plain one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from datalane.errors import ConfigurationError
from datalane.knowledge.runtime import Knowledge, open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings


@asynccontextmanager
async def open_lane(lane: Lane, settings: Settings, database_url: str) -> AsyncIterator[Knowledge]:
    """The lane, connected and with the handlers of Datalane's own jobs, for the time of the block."""
    async with open_knowledge(settings) as knowledge, lane.open(settings, database_url):
        knowledge.register(lane.handlers, lane.database)
        yield knowledge


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

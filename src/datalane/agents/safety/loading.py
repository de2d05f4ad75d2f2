"""The moderator that the settings name."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from datalane.agents.safety.judging import Safety, check_moderator
from datalane.agents.safety.moderator import Moderator
from datalane.errors import ConfigurationError
from datalane.settings import AgentSettings

_VARIABLE = "DATALANE_AGENTS__MODERATOR"


def follow_settings(safety: Safety, agents: AgentSettings) -> None:
    """Ask the moderator that the settings name, within their time. Raises `ConfigurationError` for one that cannot be
    loaded, and where another one is asked already."""
    safety.timeout = agents.moderation_timeout
    if agents.moderator is not None:
        safety.moderate_with(load_moderator(agents.moderator))


@cache
def load_moderator(name: str) -> Moderator:
    """The object `module:attribute`, looked for in the current folder too; a class is made one of, without arguments,
    and every lane of the process has the same one.

    Raises `ConfigurationError` when it cannot be imported or made, or cannot judge.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
        found: Any = getattr(module, attribute)
        moderator: Moderator = found() if isinstance(found, type) else found
    except Exception as error:  # the operator's module may fail in any way
        raise ConfigurationError(f"{_VARIABLE}={name} cannot be loaded: {type(error).__name__}: {error}") from error
    try:
        check_moderator(moderator)
    except ConfigurationError as error:
        raise ConfigurationError(f"{_VARIABLE}={name}: {error}") from error
    return moderator

"""The moderator that the settings name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from datalane.agents.safety.judging import check_moderator
from datalane.agents.safety.moderator import Moderator
from datalane.errors import ConfigurationError

_VARIABLE = "DATALANE_AGENTS__MODERATOR"


def load_moderator(name: str) -> Moderator:
    """The object `module:attribute`; a class is made one of, without arguments.

    Raises `ConfigurationError` when it cannot be imported or made, or cannot judge.
    """
    module_name, _, attribute = name.partition(":")
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

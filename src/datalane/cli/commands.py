"""The commands by name, each loaded when it is asked for.

The lane's processes are commands too, and start often: with the code of all the others each would take a third longer.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

HOMES = {
    "up": "datalane.cli.up",
    "demo": "datalane.cli.demo",
    "init": "datalane.cli.init",
    "doctor": "datalane.cli.doctor",
    "api": "datalane.cli.serve",
    "worker": "datalane.cli.serve",
    "maintenance": "datalane.cli.serve",
    "version": "datalane.cli.version",
    "migrate": "datalane.cli.migrate",
    "jobs": "datalane.cli.jobs",
    "events": "datalane.cli.events",
    "webhooks": "datalane.cli.webhooks",
    "access": "datalane.cli.access",
    "agents": "datalane.cli.agents",
    "plans": "datalane.cli.plans",
    "usage": "datalane.cli.usage",
    "analytics": "datalane.cli.analytics",
    "authz": "datalane.cli.authz",
    "files": "datalane.cli.files",
    "seed": "datalane.cli.seed",
    "eval": "datalane.cli.evaluate:evaluate",
    "explain": "datalane.cli.explain",
    "trace": "datalane.cli.trace",
    "audit": "datalane.cli.audit",
    "keys": "datalane.cli.keys",
    "guard": "datalane.cli.guard",
    "contracts": "datalane.cli.contracts",
    "isolation": "datalane.cli.isolation",
}
"""The module of each command, in the order of the help. What it is called there is the command's own name, or stands
behind a colon."""

Command = TyperCommand | TyperGroup


class LoadedWhenAsked(MutableMapping[str, Any]):
    """Commands by name. The names are known; a command is made, and kept, when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            self._made[name] = _load(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(HOMES)

    def __len__(self) -> int:
        return len(HOMES)


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LoadedWhenAsked()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def _load(name: str) -> Command:
    """Raises `KeyError` when there is no command of this name."""
    module, _, attribute = HOMES[name].partition(":")
    found = getattr(import_module(module), attribute or name)
    holder = typer.Typer(callback=_nothing)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    made: Command = get_group(holder).commands[name]  # type: ignore[assignment]
    return made


def _nothing() -> None:
    """A group is one by having a callback."""

"""Which children a lane has, as data. Each gets the one database login it needs, through its environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from datalane.db.provision import Prepared
from datalane.supervisor.child import ChildSpec
from datalane.supervisor.handshake import GATE_FD, LISTEN_FD

_LOGINS = ("DATALANE_DATABASE_URL", "DATALANE_MAINTENANCE_URL", "DATALANE_OPERATOR_URL")


def plan(
    prepared: Prepared,
    *,
    home: Path,
    listener: int,
    gate: int,
    workers: int,
    app: str | None,
    environment: Mapping[str, str],
) -> list[list[ChildSpec]]:
    """The groups in the order to start them: maintenance, workers, API. The reverse is the order to stop them.

    Maintenance is left out when its login is not known.
    """
    inherited = {name: value for name, value in environment.items() if name not in _LOGINS}
    base = {**inherited, "DATALANE_HOME": str(home), "DATALANE_DATABASE_URL": prepared.database_url}
    privileged = {**base, "DATALANE_MAINTENANCE_URL": prepared.maintenance_url}
    extra = () if app is None else ("--app", app)
    waiting = {GATE_FD: gate}
    maintenance = [ChildSpec("maintenance", _command("maintenance"), privileged, waiting)]
    numbered = [ChildSpec(f"worker-{n}", _command("worker", *extra), base, waiting) for n in range(1, workers + 1)]
    api = ChildSpec("api", _command("api", *extra), base, {**waiting, LISTEN_FD: listener})
    return [group for group in (maintenance if prepared.maintenance_url else [], numbered, [api]) if group]


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "datalane.cli.main", *arguments)

"""Which children a lane has, as data. Each gets the one database login it needs, through its environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from datalane.db.access import Prepared
from datalane.supervisor.child import ChildSpec
from datalane.supervisor.handshake import GATE_FD, LISTEN_FD

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of a lane keep their numbers; prometheus_client has chosen the name."""

OPENS_METRICS = "DATALANE_TELEMETRY__METRICS_TOKEN"
OPENS_SECRETS = "DATALANE_MASTER_KEY"
_NOT_INHERITED = (
    "DATALANE_DATABASE_URL",
    "DATALANE_MAINTENANCE_URL",
    "DATALANE_OPERATOR_URL",
    "DATALANE_TELEMETRY__METRICS_PORT",
    OPENS_METRICS,
)


def plan(
    prepared: Prepared,
    *,
    home: Path,
    metrics: Path,
    metrics_token: str,
    master_key: str | None,
    listener: int,
    gate: int,
    workers: int,
    app: str | None,
    environment: Mapping[str, str],
) -> list[list[ChildSpec]]:
    """The groups in the order to start them: maintenance, workers, API. The reverse is the order to stop them.

    Maintenance is left out when its login is not known. All count in the folder `metrics`, which the API tells to
    whoever has the token. `master_key` is for workers and the API, where the environment says none: to a child the
    embedded database looks like one of yours.
    """
    inherited = {name: value for name, value in environment.items() if name not in _NOT_INHERITED}
    ours = {METRICS_FOLDER: str(metrics), "DATALANE_HOME": str(home), "DATALANE_DATABASE_URL": prepared.database_url}
    base = {**inherited, **ours}
    privileged = {**base, "DATALANE_MAINTENANCE_URL": prepared.maintenance_url}
    extra = () if app is None else ("--app", app)
    keyed = base if master_key is None else {**base, OPENS_SECRETS: master_key}
    waiting = {GATE_FD: gate}
    maintenance = [ChildSpec("maintenance", _command("maintenance"), privileged, waiting)]
    numbered = [ChildSpec(f"worker-{n}", _command("worker", *extra), keyed, waiting) for n in range(1, workers + 1)]
    api = ChildSpec(
        "api", _command("api", *extra), {**keyed, OPENS_METRICS: metrics_token}, {**waiting, LISTEN_FD: listener}
    )
    return [group for group in (maintenance if prepared.maintenance_url else [], numbered, [api]) if group]


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "datalane.cli.main", *arguments)

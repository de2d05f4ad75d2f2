"""`datalane up`: hold the folder, start the database and the children, keep them running, stop them in order."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from datalane.db.access import Prepared
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.home import Home, HomeLock, Running, connection_settings
from datalane.errors import DatalaneError
from datalane.settings import Settings
from datalane.supervisor.child import Child
from datalane.supervisor.database import embedded_addresses, migrate_external, prepare_embedded
from datalane.supervisor.handshake import Gate, address, listen
from datalane.supervisor.loop import Report, ServiceFailed, Supervisor
from datalane.supervisor.plan import plan
from datalane.supervisor.postgres import PostgresService
from datalane.supervisor.signals import Signals

_ANSWER_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """`app` is `module:lane`, whose handlers the workers and the API take along."""

    workers: int = 1
    app: str | None = None


def run_lane(settings: Settings, options: Options, report: Report, when_ready: Callable[[Running], None]) -> None:
    """Run until a stop is asked for. `when_ready` is called once, when everything answers.

    Raises `Conflict` when a lane runs on the folder, `ConfigurationError` for a taken port or a wrong setting, and
    `ServiceFailed` when a part does not start.
    """
    home = Home(settings.home)
    with home.locked() as lock, Signals() as signals:
        try:
            _run(_Lane(settings, options, home, lock, report), signals, when_ready)
        except DatalaneError:
            if not signals.stop_requested:  # what breaks while Ctrl-C goes through the terminal's processes is no news
                raise
        report("stopped")


@dataclass(frozen=True, slots=True)
class _Lane:
    settings: Settings
    options: Options
    home: Home
    lock: HomeLock
    report: Report


def _run(lane: _Lane, signals: Signals, when_ready: Callable[[Running], None]) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen(lane.settings.api.host, lane.settings.api.port))
        url = address(listener)
        lane.lock.announce(url)
        stack.callback(lane.home.clear_running)
        server = stack.enter_context(_embedded(lane)) if lane.settings.embedded else None
        known = embedded_addresses(server, lane.home, lane.settings) if server else connection_settings(lane.settings)

        def now() -> Running:
            return Running(os.getpid(), url, known, supervisor.processes)

        supervisor = Supervisor(signals, lane.report, changed=lambda: lane.home.write_running(now()))
        gate = Gate()
        with supervisor.draining():
            _start_children(supervisor, lane, known, listener.fileno(), gate.entrance)
            if server is not None:
                supervisor.start([PostgresService(server)], under=True)
            if not signals.stop_requested:
                _prepare(lane, known, server)
                gate.open()
            if supervisor.run_until_ready():
                _wait_until_it_answers(url, signals)
                when_ready(now())
                supervisor.run()
            listener.close()  # nobody waits in the queue of an API that is going away
            lane.report("stopping")


def _start_children(supervisor: Supervisor, lane: _Lane, known: Prepared, listener: int, gate: int) -> None:
    """They load their code while the database starts, and wait at the gate."""
    groups = plan(
        known,
        home=lane.home.path,
        metrics=lane.home.fresh_folder("metrics"),
        metrics_token=_metrics_token(lane),
        master_key=_kept_master_key(lane),
        listener=listener,
        gate=gate,
        workers=lane.options.workers,
        app=lane.options.app,
        environment=os.environ,
    )
    lane.report("starting", services=[spec.name for group in groups for spec in group])
    if not known.maintenance_url:
        lane.report("no_maintenance")
    for group in groups:
        supervisor.start([Child(spec, lane.home.logs / f"{spec.name}.log") for spec in group])


def _metrics_token(lane: _Lane) -> str:
    """The token of the settings, else one that is kept in a file, as Prometheus' `credentials_file` reads it."""
    chosen = lane.settings.telemetry.metrics_token
    return chosen.get_secret_value() if chosen else lane.home.secret("metrics_token")


def _kept_master_key(lane: _Lane) -> str | None:
    """Where the lane brings its own Postgres and the settings say none, the one that the home folder keeps."""
    is_kept = lane.settings.embedded and lane.settings.master_key is None
    return lane.home.secret("master_key") if is_kept else None


def _prepare(lane: _Lane, known: Prepared, server: EmbeddedPostgres | None) -> None:
    if server is None:
        migrate_external(known, lane.settings)
    else:
        prepare_embedded(server, lane.home, lane.settings)


@contextmanager
def _embedded(lane: _Lane) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(lane.home.path)
    try:
        yield server
    finally:
        server.stop()


def _wait_until_it_answers(url: str, signals: Signals) -> None:
    """The proof from outside: `/readyz` says 200. Raises `ServiceFailed` with what it said instead."""
    deadline = time.monotonic() + _ANSWER_PATIENCE
    while not signals.stop_requested:
        answer = _ask(url)
        if answer == "200":
            return
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{url}/readyz does not say that the lane is ready: {answer}")
        signals.wait(0.05)


def _ask(url: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()

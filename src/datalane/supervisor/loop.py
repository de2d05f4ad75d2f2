"""The loop: notice what died or became ready, start again what is due, sleep; at the end stop everything in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from datalane.errors import DatalaneError
from datalane.supervisor.restart import CONFIGURATION_EXIT, Death, GiveUp, RestartPolicy, after_death
from datalane.supervisor.signals import Signals, StopAtOnce

Report = Callable[..., Any]
"""`report(event, **fields)`: what happened, for the terminal or a machine."""


class Service(Protocol):
    """Something that is started, may die, and is stopped: a child process, or the embedded Postgres."""

    name: str

    @property
    def pid(self) -> int | None: ...
    @property
    def ready(self) -> bool: ...
    @property
    def waits_on(self) -> int | None: ...
    def start(self) -> None: ...
    def listen(self) -> None: ...
    def exit_status(self) -> int | None: ...
    def request_stop(self) -> None: ...
    def kill(self) -> None: ...
    def last_words(self) -> str: ...


class ServiceFailed(DatalaneError):
    """A service never became ready."""

    code = "service_failed"


@dataclass(slots=True)
class _Watched:
    service: Service
    deaths: int = 0
    was_ready: bool = False
    told_ready: bool = False
    started_at: float = 0.0
    restart_at: float | None = None


class Supervisor:
    """Groups of services, started in the order added and stopped in the reverse. Times are in seconds.

    `patience` is how long a group may take to stop before it is killed, `start_patience` how long a service may take
    to become ready before it is started anew.
    """

    def __init__(
        self,
        signals: Signals,
        report: Report,
        policy: RestartPolicy | None = None,
        *,
        patience: float = 20.0,
        start_patience: float = 60.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._signals = signals
        self._report = report
        self._policy = policy or RestartPolicy()
        self._patience = patience
        self._start_patience = start_patience
        self._changed = changed
        self._groups: list[list[_Watched]] = []

    def start(self, services: Sequence[Service], *, under: bool = False) -> None:
        """Start one group; `under` means that all others stand on it, so it is stopped last.

        Raises what a service raises that cannot be started.
        """
        group: list[_Watched] = []
        self._groups.insert(0 if under else len(self._groups), group)
        for service in services:
            watched = _Watched(service)
            group.append(watched)
            self._start(watched)

    @property
    def processes(self) -> dict[str, int]:
        """The pid of each service that runs."""
        return {w.service.name: pid for w in self._watched() if (pid := w.service.pid) is not None}

    def run_until_ready(self) -> bool:
        """Whether every service became ready before a stop was asked for. Raises `ServiceFailed`.

        The patience of each begins here, as children may have been waiting for the database.
        """
        for watched in self._watched():
            watched.started_at = time.monotonic()
        while not self._signals.stop_requested:
            self._look()
            if all(watched.service.ready for watched in self._watched()):
                return True
            self._sleep()
        return False

    def run(self) -> None:
        """Keep everything running until a stop is asked for. Raises `ServiceFailed`."""
        while not self._signals.stop_requested:
            self._look()
            self._sleep()

    @contextmanager
    def draining(self) -> Iterator[Supervisor]:
        """Whatever happens inside, everything is stopped after it; a second request kills at once."""
        try:
            try:
                yield self
            finally:
                if self._signals.stops < 2:
                    self._drain()
        except StopAtOnce:
            self._report("killing")
            self._kill(self._watched())

    def _watched(self) -> list[_Watched]:
        return [watched for group in self._groups for watched in group]

    def _start(self, watched: _Watched) -> None:
        watched.restart_at = None
        watched.told_ready = False
        watched.started_at = time.monotonic()
        watched.service.start()

    def _look(self) -> None:
        for watched in self._watched():
            if watched.restart_at is not None:
                self._restart_when_due(watched)
            else:
                self._look_at(watched)

    def _look_at(self, watched: _Watched) -> None:
        service = watched.service
        service.listen()
        status = service.exit_status()
        if status is not None:
            self._after_death(watched, status)
        elif service.ready and not watched.told_ready:
            watched.told_ready = True
            self._changed()  # before it is told, so that who hears it finds it so
            self._report("recovered" if watched.was_ready else "started", service=service.name, pid=service.pid)
            watched.was_ready = True
        elif not service.ready and time.monotonic() > watched.started_at + self._start_patience:
            self._report("stuck", service=service.name, seconds=self._start_patience)
            service.kill()

    def _after_death(self, watched: _Watched, status: int) -> None:
        uptime = time.monotonic() - watched.started_at
        decision = after_death(self._policy, Death(watched.deaths, uptime, watched.was_ready, status))
        last_words = watched.service.last_words()
        if isinstance(decision, GiveUp):
            reason = last_words.removeprefix("error: ") or f"exit status {status}"
            raise ServiceFailed(f"{watched.service.name} does not start: {reason}")
        watched.deaths = decision.deaths
        watched.restart_at = time.monotonic() + decision.delay
        fields = {"service": watched.service.name, "exit_status": status, "restart_in": decision.delay}
        self._report("died", **fields, last_words=last_words if status > 0 else "")

    def _restart_when_due(self, watched: _Watched) -> None:
        if watched.restart_at is None or time.monotonic() < watched.restart_at:
            return
        try:
            self._start(watched)
        except DatalaneError as error:
            self._report("not_started", service=watched.service.name, reason=str(error))
            self._after_death(watched, CONFIGURATION_EXIT)

    def _sleep(self) -> None:
        now = time.monotonic()
        due = [w.restart_at for w in self._watched() if w.restart_at is not None]
        due += [
            w.started_at + self._start_patience for w in self._watched() if w.restart_at is None and not w.service.ready
        ]
        handles = [handle for w in self._watched() if (handle := w.service.waits_on) is not None]
        self._signals.wait(max(0.0, min(due) - now) if due else None, handles)

    def _drain(self) -> None:
        for group in reversed(self._groups):
            running = [w for w in group if w.restart_at is None and w.service.exit_status() is None]
            for watched in running:
                watched.service.request_stop()
            deadline = time.monotonic() + self._patience
            while any(w.service.exit_status() is None for w in running) and time.monotonic() < deadline:
                self._signals.wait(deadline - time.monotonic())
            late = [w for w in running if w.service.exit_status() is None]
            for watched in late:
                self._report("late", service=watched.service.name, seconds=self._patience)
            self._kill(late)

    def _kill(self, watched: Sequence[_Watched]) -> None:
        for each in reversed(watched):
            each.service.kill()

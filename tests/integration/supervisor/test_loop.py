"""The supervisor over real child processes: small Python programs that do what the test needs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from datalane.supervisor.child import Child, ChildSpec
from datalane.supervisor.handshake import GATE_FD, Gate
from datalane.supervisor.loop import ServiceFailed, Supervisor
from datalane.supervisor.restart import RestartPolicy
from datalane.supervisor.signals import Signals

READY = "from datalane.supervisor.handshake import announce_ready, wait_at_gate; wait_at_gate(); announce_ready(); "
SLEEP = "import signal; signal.pause()"
FAST = RestartPolicy(base=0.01, cap=0.05, tries=3)


class Told(list[dict[str, Any]]):
    """Everything the supervisor reported; `when` runs at a certain report."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[tuple[str, str | None, Callable[[], None]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.append({"event": event, **fields})
        for name, service, action in list(self.actions):
            if name == event and service in (None, fields.get("service")):
                self.actions.remove((name, service, action))
                action()

    def when(self, event: str, action: Callable[[], None], service: str | None = None) -> None:
        self.actions.append((event, service, action))

    @property
    def events(self) -> list[str]:
        return [told["event"] for told in self]


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals() as caught:
        yield caught


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Child]:
    def make(name: str, program: str, **handles: int) -> Child:
        spec = ChildSpec(name, (sys.executable, "-c", program), dict(os.environ), handles)
        return Child(spec, tmp_path / f"{name}.log")

    return make


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_killed_child_is_started_again_and_the_rest_is_left_alone(
    signals: Signals, told: Told, child: Callable[..., Child]
) -> None:
    mortal, other = child("mortal", READY + SLEEP), child("other", READY + SLEEP)
    supervisor = Supervisor(signals, told, FAST)
    with supervisor.draining():
        supervisor.start([mortal, other])
        assert supervisor.run_until_ready()
        before = supervisor.processes
        told.when("recovered", ask_to_stop, service="mortal")
        os.kill(before["mortal"], signal.SIGKILL)
        supervisor.run()
        after = supervisor.processes
    assert after["mortal"] != before["mortal"]
    assert after["other"] == before["other"]
    died = next(event for event in told if event["event"] == "died")
    assert (died["service"], died["exit_status"]) == ("mortal", -signal.SIGKILL)


def test_groups_stop_in_the_reverse_order_and_what_is_under_stops_last(
    signals: Signals, told: Told, child: Callable[..., Child], tmp_path: Path
) -> None:
    def named(name: str) -> Child:
        program = (
            f"import signal, sys\ndef end(*_):\n    open({str(tmp_path / 'order')!r}, 'a').write('{name} ')\n"
            f"    sys.exit(0)\nsignal.signal(signal.SIGTERM, end)\n{READY}\nwhile True: signal.pause()"
        )
        return child(name, program)

    supervisor = Supervisor(signals, told, FAST)
    with supervisor.draining():
        supervisor.start([named("workers")])
        supervisor.start([named("api")])
        supervisor.start([named("ground")], under=True)
        assert supervisor.run_until_ready()
    assert (tmp_path / "order").read_text().split() == ["api", "workers", "ground"]


def test_a_child_that_does_not_stop_is_killed_when_patience_ends(
    signals: Signals, told: Told, child: Callable[..., Child]
) -> None:
    stubborn = child("stubborn", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}{SLEEP}")
    supervisor = Supervisor(signals, told, FAST, patience=0.2)
    with supervisor.draining():
        supervisor.start([stubborn])
        assert supervisor.run_until_ready()
    assert "late" in told.events
    assert stubborn.exit_status() == -signal.SIGKILL


def test_asking_twice_kills_at_once(signals: Signals, told: Told, child: Callable[..., Child]) -> None:
    stubborn = child("stubborn", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}{SLEEP}")
    supervisor = Supervisor(signals, told, FAST, patience=600)
    with supervisor.draining():
        supervisor.start([stubborn])
        assert supervisor.run_until_ready()
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.run()
        os.kill(os.getpid(), signal.SIGINT)
    assert told.events[-1] == "killing"
    assert stubborn.exit_status() == -signal.SIGKILL


def test_a_child_that_never_becomes_ready_is_a_fault_with_its_last_words(
    signals: Signals, told: Told, child: Callable[..., Child]
) -> None:
    broken = child("broken", "import sys; sys.exit('error: no such thing')")
    supervisor = Supervisor(signals, told, FAST)
    with supervisor.draining():
        supervisor.start([broken])
        with pytest.raises(ServiceFailed, match="broken does not start: no such thing"):
            supervisor.run_until_ready()
    assert told.events.count("died") == FAST.tries - 1


def test_a_child_that_hangs_while_starting_is_started_anew(
    signals: Signals, told: Told, child: Callable[..., Child], tmp_path: Path
) -> None:
    marker = tmp_path / "tried"
    program = f"import pathlib, signal\np = pathlib.Path({str(marker)!r})\nif not p.exists():\n    p.touch()\n"
    hanging = child("hanging", program + f"    signal.pause()\n{READY}{SLEEP}")
    supervisor = Supervisor(signals, told, FAST, start_patience=3.0)
    with supervisor.draining():
        supervisor.start([hanging])
        assert supervisor.run_until_ready()
    assert told.events[:2] == ["stuck", "died"]


def test_children_wait_at_the_gate_and_later_ones_walk_through(
    signals: Signals, told: Told, child: Callable[..., Child]
) -> None:
    gate = Gate()
    waiting = child("waiting", READY + SLEEP, **{GATE_FD: gate.entrance})
    supervisor = Supervisor(signals, told, FAST)
    with supervisor.draining():
        supervisor.start([waiting])
        gate.open()
        assert supervisor.run_until_ready()
        told.when("recovered", ask_to_stop)
        waiting.kill()
        supervisor.run()
    assert "recovered" in told.events


def test_what_a_killed_child_had_started_is_ended_with_it(
    signals: Signals, told: Told, child: Callable[..., Child], tmp_path: Path
) -> None:
    note = tmp_path / "grandchild"
    program = (
        "import subprocess, sys, pathlib\n"
        f"made = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(made.pid))\n{READY}{SLEEP}"
    )
    supervisor = Supervisor(signals, told, FAST)
    with supervisor.draining():
        supervisor.start([child("parent", program)])
        assert supervisor.run_until_ready()
        grandchild = psutil.Process(int(note.read_text()))
        told.when("died", ask_to_stop)
        os.kill(supervisor.processes["parent"], signal.SIGKILL)
        supervisor.run()
        deadline = time.monotonic() + 10
        while _alive(grandchild) and time.monotonic() < deadline:
            signals.wait(0.05)
        assert not _alive(grandchild)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

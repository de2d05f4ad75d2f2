"""A lane under an init system: whenever `datalane up` ends, the same command is started again. Nobody else helps it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import psutil
from tests.acceptance.running_lane import RunningLane, eventually

RESTARTED_AFTER = 0.1
"""Seconds that the init system waits, as systemd does by default."""


@dataclass
class Account:
    """A person with a workspace, signed in."""

    token: str
    workspace_id: str


def sign_up(url: str) -> Account:
    person = {"email": "kills@example.com", "password": "a long pass phrase", "name": "K", "workspace_name": "Kills"}
    said = httpx.post(f"{url}/auth/sign-up", json=person, timeout=20).raise_for_status().json()
    return Account(said["token"], said["workspace_id"])


class KeptLane:
    """`with KeptLane(home, …) as lane`; `kill` takes a kind of process away, `remains` says what outlived the end."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{free_port()}"
        self.refusals: list[dict[str, Any]] = []
        """The last words of each `up` that ended by itself."""
        self._settings = settings
        self._seen: set[psutil.Process] = set()
        self._leaving = threading.Event()
        self._up = self._start()
        self._first = self._up
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> KeptLane:
        self._keeper.start()
        self._first.event("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._note_processes()
        self._leaving.set()
        self._up.signal(signal.SIGTERM)
        self._keeper.join()
        self._up.close()

    @property
    def database_url(self) -> str:
        """As other commands find it."""
        url: str = orjson.loads((self.home / "running.json").read_bytes())["prepared"]["database_url"]
        return url

    def kill(self, kind: str, chosen: Random) -> int:
        """kill -9 one process of this kind, as soon as there is one; answers its pid.

        A worker that has not started its extraction child yet stands in for it.
        """
        victims: list[psutil.Process] = []

        def found() -> bool:
            victims[:] = self._processes(kind)
            return bool(victims)

        assert eventually(found, 30), f"no {kind} to kill: {self.troubles()}"
        self._note_processes()
        victim = chosen.choice(sorted(victims, key=lambda process: process.pid))
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        return int(victim.pid)

    def remains(self) -> list[psutil.Process]:
        """Processes of this lane that are still there; one that nobody has waited for counts as ended."""
        return [process for process in self._seen if _lives(process)]

    def troubles(self) -> str:
        """The last errors and warnings that the lane logged, for messages."""
        lines = [
            f"{log.name}: {line if len(line) < 900 else f'{line[:100]} … {line[-800:]}'}"
            for log in sorted(self.home.rglob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if not any(level in line for level in ('"level":"info"', " LOG: "))
        ]
        return "\n".join(lines[-60:])

    def _start(self) -> RunningLane:
        port = self.url.rsplit(":", 1)[1]
        return RunningLane(self.home, "--port", port, **self._settings)

    def _keep(self) -> None:
        while True:
            if self._up.ended() > 0:
                self.refusals.append(self._up.last)
            if self._leaving.wait(RESTARTED_AFTER):
                return
            self._up.close()
            self._up = self._start()

    def _note_processes(self) -> None:
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._up.pid)
            self._seen.update((top, *top.children(recursive=True)))

    def _processes(self, kind: str) -> list[psutil.Process]:
        finders: dict[str, Callable[[], list[psutil.Process]]] = {
            "supervisor": lambda: [psutil.Process(self._up.pid)],
            "postgres": lambda: self._children("postgres"),
            "backend": lambda: [
                backend
                for server in self._children("postgres")
                for backend in server.children()
                if " ".join(backend.cmdline()).startswith("postgres: datalane ")
            ],
            "extraction": lambda: [
                child for worker in self._children("worker") for child in worker.children() or [worker]
            ],
        }
        try:
            found = finders.get(kind, lambda: self._children(kind))()
        except psutil.NoSuchProcess:
            return []
        return [process for process in found if _lives(process)]

    def _children(self, service: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self._up.pid).children():
            with suppress(psutil.NoSuchProcess):
                command = child.cmdline()
                ours = command[-1:] == [service] and "datalane.cli.main" in command
                if ours or (service == "postgres" and Path(command[0] if command else "").name == "postgres"):
                    found.append(child)
        return found


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

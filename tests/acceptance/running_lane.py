"""A lane started with `datalane up --json` as a real process, and what it says."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from datalane.db.embedded import EmbeddedPostgres

PATIENCE = 40.0


def eventually(condition: Callable[[], bool], within: float = 15.0) -> bool:
    """Whether `condition` becomes true within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether the process ended; one that nobody has waited for yet counts as ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Ours without any lane's settings, for a lane on `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATALANE_")}
    return {**inherited, "DATALANE_HOME": str(home), **settings}


class RunningLane:
    """`datalane up --json` on `home`. `event` waits for something it says; `close` ends it in any case."""

    def __init__(self, home: Path, *arguments: str, **settings: str) -> None:
        self.home = home
        self._process = subprocess.Popen(
            [sys.executable, "-m", "datalane.cli.main", "up", "--json", "--port", "0", *arguments],
            env=environment(home, **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.history: list[dict[str, Any]] = []
        self.last: dict[str, Any] = {}
        """The last thing it said, whether anybody waited for it or not."""
        threading.Thread(target=self._listen, daemon=True).start()

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next event of that name with these fields, skipping others."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {name} {fields} within {PATIENCE} s, but {self.history}") from None
            if said is None:
                raise AssertionError(f"ended without {name} {fields}: {self.history} {self.errors()}")
            self.history.append(said)
            if said.get("event") == name and all(said.get(field) == value for field, value in fields.items()):
                return said

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def processes(self) -> dict[str, int]:
        """The pids as other commands see them."""
        known: dict[str, int] = orjson.loads((self.home / "running.json").read_bytes())["processes"]
        return known

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self._process.wait(PATIENCE)

    def ended(self) -> int:
        """The exit status, however long it takes."""
        return self._process.wait()

    def errors(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    def close(self) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self.last = orjson.loads(line)
                self._said.put(self.last)
        except ValueError:
            pass  # closed by `close`
        self._said.put(None)


def remove(home: Path) -> None:
    """Remove a stopped lane's folders: for root's lanes in private places, Postgres has one of its own."""
    server = EmbeddedPostgres(home)
    for folder in (server.root, server.socket_dir, home):
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str, path: str = "/readyz") -> bool:
    """Whether the API says 200."""
    try:
        return httpx.get(f"{url}{path}", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False

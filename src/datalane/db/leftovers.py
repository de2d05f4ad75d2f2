"""What a killed server or a killed starter leaves on a data folder, so that two servers never meet there."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from datalane.errors import DatabaseUnavailable

_FAST_SECONDS = 10.0
"""More than a shutdown takes that does not hang. PostgreSQL 18 hangs when it is asked for one while it recovers."""
_GRACE_SECONDS = 3.0


def end_leftovers(data: Path, sockets: Path) -> None:
    """End the server that still runs on `data`, or the backends of one that was killed.

    A server is asked for a fast shutdown, then for an immediate one, then killed: what was committed comes back by
    recovery. Backends without their server end by themselves as soon as they notice it; one that does not is killed.
    The server's lock files, in `data` and in its own folder `sockets`, name a process: when that is a zombie, or its
    number belongs to somebody else by now, they would block the next start and are removed. Raises
    `DatabaseUnavailable` when something cannot be ended.
    """
    lock = data / "postmaster.pid"
    recorded = _recorded_pid(lock)
    if recorded is None:
        return
    running = _processes_on(data)
    server = next((process for process in running if process.pid == recorded), None)
    if server is not None:
        for number, patience in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _GRACE_SECONDS)):
            _signal([server], number)
            if not _wait_for_the_end([server], patience):
                break
    stuck = _wait_for_the_end(running, _GRACE_SECONDS)
    _signal(stuck, signal.SIGKILL)
    if stuck := _wait_for_the_end(stuck, _GRACE_SECONDS):
        pids = ", ".join(str(process.pid) for process in stuck)
        raise DatabaseUnavailable(
            f"a Postgres (pid {pids}) still runs on {data} and cannot be ended; end it and try again"
        )
    if _recorded_pid(lock) == recorded and psutil.pid_exists(recorded):
        for stale in (lock, *sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _recorded_pid(lock: Path) -> int | None:
    try:
        first = lock.read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return None
    return int(first) if first.isdigit() else None


def _processes_on(data: Path) -> list[psutil.Process]:
    """Servers and backends stand in their data folder all their lives."""
    return [process for process in psutil.process_iter() if _lives(process) and _stands_in(process, data)]


def _stands_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name() == "postgres" and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False


def _lives(process: psutil.Process) -> bool:
    """A zombie holds nothing any more, even if nobody ever waits for it."""
    try:
        return bool(process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False


def _wait_for_the_end(processes: list[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Those that still live after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (alive := [process for process in processes if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive

"""One child process: started, heard, asked to stop, killed. It and what it started die with the supervisor."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from datalane.errors import ConfigurationError
from datalane.supervisor.handshake import READY_FD

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. Secrets travel in `environment`, never in `argv`.

    `handles` are open files handed down; the child finds the number of each in the variable of its name.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    handles: Mapping[str, int] = field(default_factory=dict)


class Child:
    """A service that is a process of ours. Its output is appended to `log`."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_pipe: int | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def ready(self) -> bool:
        return self._ready and self._process is not None and self._process.returncode is None

    @property
    def waits_on(self) -> int | None:
        """The handle that becomes readable when the child has something to say."""
        return self._ready_pipe

    def start(self) -> None:
        self._keep_log_small()
        theirs = self._open_pipe()
        handles = {**self.spec.handles, READY_FD: theirs}
        environment = {**self.spec.environment, **{name: str(handle) for name, handle in handles.items()}}
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.spec.argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=tuple(handles.values()),
                    start_new_session=True,
                    preexec_fn=_die_with(os.getpid()),
                )
        except OSError as error:
            raise ConfigurationError(f"cannot start {self.name}: {error}") from error
        finally:
            os.close(theirs)

    def listen(self) -> None:
        """Take note of what the child said."""
        if self._ready_pipe is None or not select.select([self._ready_pipe], [], [], 0)[0]:
            return
        self._ready = os.read(self._ready_pipe, 16) == b"ready"
        self._close_pipe()

    def exit_status(self) -> int | None:
        """None while it runs; negative is the signal that ended it. What it had started is ended with it."""
        if self._process is None:
            return None
        if self._process.returncode is None and self._process.poll() is not None:
            self._close_pipe()
            self._signal_group(signal.SIGKILL)
        return self._process.returncode

    def request_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal_group(signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        """The last line of the log, for messages."""
        try:
            lines = self.log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _open_pipe(self) -> int:
        self._close_pipe()
        self._ready = False
        ours, theirs = os.pipe()
        self._ready_pipe = ours
        return theirs

    def _close_pipe(self) -> None:
        if self._ready_pipe is not None:
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def _signal_group(self, number: signal.Signals) -> None:
        """The child leads its own process group; the group's id is not given away while a member lives."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _keep_log_small(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT:
                self.log.replace(self.log.with_suffix(".log.1"))


def _die_with(supervisor: int) -> Callable[[], None] | None:
    """A function for the child: have Linux kill it when the supervisor dies, however that happens.

    The signal is tied to the thread that started the child, so only the main thread starts children.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)

    return tie

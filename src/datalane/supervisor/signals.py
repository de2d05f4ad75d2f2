"""Signals as something to wait for. The first SIGINT, SIGTERM or SIGHUP asks for a stop, the second ends it at once."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAtOnce(BaseException):
    """Somebody asked a second time."""


class Signals:
    """A context manager for the main thread; the former handlers come back at the end."""

    def __init__(self) -> None:
        self.stops = 0
        self._former: dict[int, Any] = {}

    @property
    def stop_requested(self) -> bool:
        return self.stops > 0

    def __enter__(self) -> Signals:
        self._wakes, self._woken = socket.socketpair()
        for end in (self._wakes, self._woken):
            end.setblocking(False)
        self._former_wakeup = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in _STOPS:
            self._former[number] = signal.signal(number, self._stop)
        self._former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _only_wake)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_wakeup)
        self._wakes.close()
        self._woken.close()

    def wait(self, timeout: float | None, handles: Sequence[int] = ()) -> None:
        """Sleep until a signal arrives, one of `handles` is readable, or `timeout` seconds are over."""
        readable, _, _ = select.select([self._woken.fileno(), *handles], [], [], timeout)
        if self._woken.fileno() in readable:
            self._woken.recv(4096)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1
        if self.stops == 2:
            raise StopAtOnce


def _only_wake(number: int, frame: FrameType | None) -> None:
    """A child changed its state; the wake-up itself is all that is needed."""

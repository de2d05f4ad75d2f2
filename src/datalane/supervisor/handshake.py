"""What a child and its supervisor share: a pipe to say "ready" on, a gate to wait at, and a listening socket.

The gate is a pipe that the supervisor closes once the database is prepared: children load their code meanwhile. The
supervisor opens the API's socket and hands it down, so a port is taken once, and connections wait in its queue while a
killed API is started again.
"""

from __future__ import annotations

import os
import socket

from datalane.errors import ConfigurationError

READY_FD = "DATALANE_READY_FD"
GATE_FD = "DATALANE_GATE_FD"
LISTEN_FD = "DATALANE_LISTEN_FD"
_BACKLOG = 2048


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this process does its work now."""
    handle = os.environ.pop(READY_FD, None)
    if handle is not None:
        os.write(int(handle), b"ready")
        os.close(int(handle))


def wait_at_gate() -> None:
    """Wait until the supervisor, if there is one, has prepared the database."""
    handle = os.environ.pop(GATE_FD, None)
    if handle is not None:
        os.read(int(handle), 1)
        os.close(int(handle))


class Gate:
    """The supervisor's side: `entrance` is handed to children, `open` lets them all through, also later ones."""

    def __init__(self) -> None:
        self.entrance, self._bar = os.pipe()
        self._closed = True

    def open(self) -> None:
        if self._closed:
            os.close(self._bar)
            self._closed = False


def inherited_socket() -> socket.socket | None:
    """The listening socket handed down by the supervisor, if any."""
    handle = os.environ.pop(LISTEN_FD, None)
    return None if handle is None else socket.socket(fileno=int(handle))


def listen(host: str, port: int, chosen_by: str = "--port or DATALANE_API__PORT") -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises `ConfigurationError` naming the port and what it is `chosen_by` when it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}; "
            f"choose another with {chosen_by}"
        ) from error
    return made


def address(listener: socket.socket) -> str:
    """The URL of a listening socket; a wildcard address is shown as the loopback one."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 shown only
    return f"http://{shown}:{port}"

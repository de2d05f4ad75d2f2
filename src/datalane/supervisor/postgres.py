"""The embedded Postgres as a service of the supervisor."""

from __future__ import annotations

import os
import signal
from functools import partial

from datalane.db.embedded import EmbeddedPostgres
from datalane.supervisor.database import load_ahead


class PostgresService:
    """Started synchronously: it is ready when `start` returns, on the socket it had before."""

    name = "postgres"

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._started = False

    @property
    def pid(self) -> int | None:
        return self._server.pid

    @property
    def ready(self) -> bool:
        return self._server.running()

    @property
    def waits_on(self) -> int | None:
        return None

    def start(self) -> None:
        self._started = True
        self._server.start(meanwhile=partial(load_ahead, self._server))

    def listen(self) -> None:
        """It announces nothing."""

    def exit_status(self) -> int | None:
        return 1 if self._started and not self._server.running() else None

    def request_stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, a checkpoint is written."""
        if (pid := self._server.pid) is not None:
            os.kill(pid, signal.SIGINT)

    def kill(self) -> None:
        self._server.stop(timeout=0)

    def last_words(self) -> str:
        lines = self._server.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

"""The API outlives its database: callers get 503, and the log says so in one line a request."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import psycopg
import pytest
from tests.acceptance.running_lane import answers, environment, eventually
from tests.conftest import FAST_AND_FORGETFUL

from datalane.db.access import Access
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import prepare


class Served:
    """`datalane api` as a process on a server of its own; `lines` is what it logged."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedPostgres(home, options=FAST_AND_FORGETFUL)
        self.server.start()
        urls = prepare(self.server.url(), "lane", Access.generate())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        self._log = home / "api.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "datalane.cli.main", "api", "--port", port],
                env=environment(home, DATALANE_DATABASE_URL=urls.database_url),
                stderr=log,
            )
        assert eventually(lambda: answers(self.url), 40), self._log.read_text()
        account = {"email": "a@example.com", "password": "a long pass phrase", "name": "A"}
        token = httpx.post(f"{self.url}/auth/sign-up", json=account, timeout=20).raise_for_status().json()["token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, correlation_id: str) -> int:
        headers = {**self._headers, "X-Correlation-Id": correlation_id}
        return httpx.get(f"{self.url}/workspaces/members/list", headers=headers, timeout=20).status_code

    def lines(self, correlation_id: str) -> list[dict[str, Any]]:
        """What was logged of a request; the last line is written after the answer has left."""

        def logged() -> list[dict[str, Any]]:
            whole, _, _ = self._log.read_bytes().rpartition(b"\n")
            read = [orjson.loads(line) for line in whole.splitlines()]
            return [line for line in read if line.get("correlation_id") == correlation_id]

        assert eventually(lambda: any(line["event"] == "request" for line in logged())), self._log.read_text()
        return logged()

    def written(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self.server.stop()
        for folder in (self.server.root, self.server.socket_dir):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    home = Path(tempfile.mkdtemp(prefix="dla"))
    home.chmod(0o755)
    made = Served(home)
    yield made
    made.close()
    shutil.rmtree(home, ignore_errors=True)


def test_a_database_that_is_away_is_one_warning_a_request_and_no_traceback(served: Served) -> None:
    assert served.ask("before") == 200
    served.server.stop()
    try:
        assert served.ask("away-1") == 503
        assert served.ask("away-2") == 503
        ready = httpx.get(f"{served.url}/readyz", headers={"X-Correlation-Id": "away-3"}, timeout=20)
        assert ready.status_code == 503
    finally:
        served.server.start()
    assert eventually(lambda: served.ask("after") == 200)
    for correlation_id in ("away-1", "away-2", "away-3"):
        warning, request = served.lines(correlation_id)
        assert (warning["level"], warning["event"]) == ("warning", "database_unavailable")
        assert "the database does not answer" in warning["error"]
        assert (request["event"], request["status"]) == ("request", 503)
    assert "Traceback" not in served.written()


@pytest.mark.soak
def test_a_database_killed_under_load_leaves_no_traceback(served: Served) -> None:
    assert served.server.pid is not None
    postgres = psutil.Process(served.server.pid)

    def ask(number: int) -> int:
        if number == 100:
            os.kill(postgres.pid, signal.SIGKILL)
        return served.ask(f"load-{number}")

    try:
        with ThreadPoolExecutor(8) as callers:
            statuses = list(callers.map(ask, range(200)))
        postgres.wait(10)
    finally:
        served.server.start()
    assert set(statuses) == {200, 503}
    assert eventually(lambda: served.ask("after-load") == 200)
    for number, status in enumerate(statuses):
        assert len(served.lines(f"load-{number}")) == (2 if status == 503 else 1)
    assert "Traceback" not in served.written()


def test_a_fault_of_ours_keeps_its_traceback(served: Served) -> None:
    with psycopg.connect(served.server.url("lane"), autocommit=True) as superuser:
        superuser.execute("ALTER FUNCTION datalane.list_members RENAME TO list_members_away")
        try:
            assert served.ask("bug") == 500
        finally:
            superuser.execute("ALTER FUNCTION datalane.list_members_away RENAME TO list_members")
    failure, request = served.lines("bug")
    assert (failure["level"], failure["event"], request["status"]) == ("error", "request_failed", 500)
    assert "Traceback" in failure["exception"]
    assert "list_members" in failure["exception"]

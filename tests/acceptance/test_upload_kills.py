"""kill -9 of the API between the storing of an original and its commit: nothing is seen, and nothing stays for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.acceptance.ingestion_check import door
from tests.acceptance.kept_lane import Account, free_port, sign_up
from tests.acceptance.running_lane import answers, environment, eventually

from datalane.db.access import Prepared
from datalane.kit.clock import utc_now

UPLOADS_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass
class Process:
    """`datalane api` or `datalane worker` as a process of its own; what it logs is in `log`."""

    running: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()


Start = Callable[..., Process]


@pytest.fixture
def start(urls: Prepared, home: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def run(*arguments: str) -> Process:
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "datalane.cli.main", *arguments],
                env=environment(home, **urls.as_environment()),
                stderr=stream,
            )
        started.append(Process(process, log))
        return started[-1]

    yield run
    for each in started:
        each.kill()


class Upload:
    """An upload in a thread of its own; `answer` is None when the API died before it gave one."""

    def __init__(self, url: str, account: Account, key: str | None = None) -> None:
        self.answer: httpx.Response | None = None
        self._request = (url, account, key)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        url, account, key = self._request
        headers = {"Authorization": f"Bearer {account.token}"} | ({"Idempotency-Key": key} if key else {})
        files = {"file": ("a.txt", b"Herons stand still in the reeds.", "text/plain")}
        try:
            self.answer = httpx.post(f"{url}/documents/upload", files=files, headers=headers, timeout=60)
        except httpx.TransportError:
            return

    def wait(self) -> httpx.Response | None:
        self._thread.join()
        return self.answer


def api(start: Start) -> tuple[Process, str]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = start("api", "--port", str(port))
    assert eventually(lambda: answers(url), 40), process.log.read_text()
    return process, url


def originals(home: Path) -> list[Path]:
    return [path for path in (home / "files").rglob("*") if path.is_file()]


def rows(urls: Prepared, account: Account) -> dict[str, int]:
    """What the workspace has of what an upload makes."""
    tables = ("documents", "document_versions", "jobs", "idempotency_keys")
    with door(urls.database_url, account.workspace_id) as connection:
        found = {}
        for table in tables:
            row: Any = connection.execute(f"SELECT count(*) AS n FROM datalane.{table}".encode()).fetchone()
            found[table] = row.n
        return found


def test_an_api_killed_before_the_commit_leaves_nothing_seen_and_its_file_to_the_sweep(
    start: Start, urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, url = api(start)
    account = sign_up(url)
    before = rows(urls, account)
    with psycopg.connect(urls.database_url) as holder:
        holder.execute("SET ROLE datalane_app")
        holder.execute(UPLOADS_LOCK, [account.workspace_id])
        upload = Upload(url, account, key="upload-1")
        assert eventually(lambda: stuck(holder) == 1), "the upload does not come to its transaction"
        (original,) = originals(home)
        process.kill()
        assert upload.wait() is None
    assert eventually(lambda: connections_of_the_api(urls) == 0)
    assert rows(urls, account) == before
    assert originals(home) == [original]

    for name, value in {"DATALANE_HOME": str(home), **urls.as_environment()}.items():
        monkeypatch.setenv(name, value)
    assert datalane("files", "orphans", "--json").json["orphans"] == 0
    yesterday = (utc_now() - timedelta(hours=25)).timestamp()
    os.utime(original, (yesterday, yesterday))
    assert datalane("files", "orphans", "--json").json == {
        "examined": 1,
        "orphans": 1,
        "bytes": original.stat().st_size,
        "workspaces": [{"workspace_id": account.workspace_id, "orphans": 1, "bytes": original.stat().st_size}],
    }

    # The client asks again, with the same key, and is served by the next process; a worker does the rest.
    _, url = api(start)
    again = Upload(url, account, key="upload-1").wait()
    assert again is not None
    assert (again.status_code, again.json()["created"]) == (202, True)
    worker = start("worker")
    assert eventually(lambda: not original.exists(), 40), worker.log.read_text()
    assert eventually(lambda: '"event":"originals_swept"' in worker.log.read_text())
    assert [path.name for path in originals(home)] == [again.json()["version_id"]]
    assert eventually(lambda: chunks(urls, account) == 1)


def stuck(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(WAITING).fetchone()
    assert row is not None
    return int(row[0])


def chunks(urls: Prepared, account: Account) -> int:
    with door(urls.database_url, account.workspace_id) as connection:
        row: Any = connection.execute("SELECT count(*) AS n FROM datalane.chunks").fetchone()
        return int(row.n)


def connections_of_the_api(urls: Prepared) -> int:
    """What is left of its sessions in the server, which ends each when it notices that nobody listens."""
    with psycopg.connect(urls.database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'datalane'"
        ).fetchone()
    assert row is not None
    return int(row[0])

"""The embedded server: starts, survives, refuses what would hurt."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.acceptance.running_lane import eventually

from datalane.db.embedded import EmbeddedPostgres
from datalane.errors import ConfigurationError, DatabaseUnavailable


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dle"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(home)
    yield made
    made.stop()
    shutil.rmtree(made.root, ignore_errors=True)


def remember(server: EmbeddedPostgres, value: int) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def remembered(server: EmbeddedPostgres) -> list[int]:
    with psycopg.connect(server.url()) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value").fetchall()]


def test_rows_survive_a_clean_restart(server: EmbeddedPostgres) -> None:
    server.start()
    remember(server, 1)
    server.stop()
    server.start()
    assert remembered(server) == [1]


def test_committed_rows_survive_kill_9_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    remember(server, 1)
    assert server.pid is not None
    process = psutil.Process(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    process.wait(10)
    server.start()
    assert remembered(server) == [1]


def test_a_server_left_behind_is_stopped_before_a_new_one_starts(home: Path, server: EmbeddedPostgres) -> None:
    server.start()
    remember(server, 1)
    left_behind = server.pid
    heir = EmbeddedPostgres(home)
    heir.start()
    try:
        assert remembered(heir) == [1]
        assert heir.pid != left_behind
    finally:
        heir.stop()


def test_a_killed_server_that_nobody_waited_for_is_no_obstacle(home: Path, server: EmbeddedPostgres) -> None:
    """As in a container whose first process does not reap: the server's lock file names a zombie."""
    server.start()
    remember(server, 1)
    assert server.pid is not None
    killed = psutil.Process(server.pid)
    killed.kill()
    assert eventually(lambda: killed.status() == psutil.STATUS_ZOMBIE)
    heir = EmbeddedPostgres(home)
    heir.start()
    try:
        assert remembered(heir) == [1]
    finally:
        heir.stop()


def test_a_backend_that_does_not_notice_the_death_of_its_server_is_ended(server: EmbeddedPostgres) -> None:
    server.start()
    remember(server, 1)
    assert server.pid is not None
    with psycopg.connect(server.url()) as connection:
        backend, killed = psutil.Process(connection.info.backend_pid), psutil.Process(server.pid)
        backend.suspend()
        killed.kill()
        killed.wait(10)
        server.start()
    assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
    assert remembered(server) == [1]


def test_an_interrupted_initdb_leaves_nothing_in_the_way(server: EmbeddedPostgres) -> None:
    half_made = server.root / "pgdata.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    server.start()
    remember(server, 1)
    assert remembered(server) == [1]


def test_what_is_done_meanwhile_is_done_once_and_while_a_new_folder_is_made(server: EmbeddedPostgres) -> None:
    found: list[bool] = []
    server.start(meanwhile=lambda: found.append(server.is_new))
    server.stop()
    server.start(meanwhile=lambda: found.append(server.is_new))
    assert found == [True, False]


def test_a_failure_meanwhile_leaves_nothing_in_the_way(server: EmbeddedPostgres) -> None:
    with pytest.raises(ZeroDivisionError):
        server.start(meanwhile=lambda: 1 / 0)
    assert server.is_new
    server.start()
    remember(server, 1)
    assert remembered(server) == [1]


def test_a_folder_of_another_major_version_is_refused_with_advice(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError, match="belongs to PostgreSQL 15"):
        server.start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    broken = EmbeddedPostgres(home, options={"shared_buffers": "nonsense"})
    try:
        with pytest.raises(DatabaseUnavailable, match="shared_buffers"):
            broken.start()
    finally:
        shutil.rmtree(broken.root, ignore_errors=True)


def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    server.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(password="wrong"))

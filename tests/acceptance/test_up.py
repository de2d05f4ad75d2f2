"""`datalane up`: healthy from nothing, heals itself, leaves nothing behind, and says clearly what is in its way."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import psycopg
import pytest
from tests.acceptance.running_lane import RunningLane, answers, environment, eventually, gone, remove

from datalane.cli.http_server import DRAIN_SECONDS
from datalane.db.access import Prepared
from datalane.db.migrate import downgrade
from datalane.db.revision import applied_revision, newest_revision
from datalane.settings import Settings
from datalane.supervisor.database import migrate_external


@pytest.fixture(scope="module")
def lane() -> Iterator[RunningLane]:
    """One lane on a fresh folder inside a private one, shared by the tests that leave it healthy."""
    folder = Path(tempfile.mkdtemp(prefix="dlu"))
    running = RunningLane(folder / "home")
    try:
        yield running
    finally:
        running.close()
        remove(running.home)
        folder.rmdir()


@pytest.fixture(scope="module")
def ready(lane: RunningLane) -> dict[str, Any]:
    return lane.event("ready")


@pytest.fixture
def start() -> Iterator[Callable[..., RunningLane]]:
    """Start a lane that ends with the test."""
    started: list[RunningLane] = []

    def run(folder: Path, *arguments: str, **settings: str) -> RunningLane:
        started.append(RunningLane(folder, *arguments, **settings))
        return started[-1]

    yield run
    for each in started:
        each.close()
        remove(each.home)


def run_up(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datalane.cli.main", "up", *arguments]
    return subprocess.run(
        command, env=environment(folder, **settings), capture_output=True, text=True, check=False, timeout=60
    )


def signs_in(ready: dict[str, Any]) -> bool:
    return httpx.post(f"{ready['url']}/auth/sign-in", json=ready["sign_in"], timeout=10).is_success


def test_a_fresh_folder_becomes_a_lane_that_answers(lane: RunningLane, ready: dict[str, Any]) -> None:
    assert answers(ready["url"], "/healthz")
    assert answers(ready["url"], "/readyz")
    assert set(ready["processes"]) == {"postgres", "maintenance", "worker-1", "api"}
    assert lane.processes == ready["processes"]


def test_a_home_that_others_cannot_walk_to_is_no_obstacle(lane: RunningLane, ready: dict[str, Any]) -> None:
    """Postgres runs as a system user when we are root, and that user must reach its data."""
    assert stat.S_IMODE(lane.home.parent.stat().st_mode) == 0o700
    server = psutil.Process(ready["processes"]["postgres"])
    assert server.uids().real != 0
    assert answers(ready["url"])


def test_files_with_secrets_are_the_owners_alone(lane: RunningLane, ready: dict[str, Any]) -> None:
    for name in ("credentials.json", "running.json"):
        assert stat.S_IMODE((lane.home / name).stat().st_mode) == 0o600


def test_a_lane_that_brings_its_own_postgres_keeps_secrets(lane: RunningLane, ready: dict[str, Any]) -> None:
    """Without a word about a master key: the children get the one that the home folder keeps."""
    person = {"email": "ada@example.com", "password": "a long pass phrase", "name": "Ada", "workspace_name": "Ada"}
    token = httpx.post(f"{ready['url']}/auth/sign-up", json=person, timeout=20).raise_for_status().json()["token"]
    connector = {"name": "Shop", "kind": "shop", "credentials": {"token": "a token of the shop"}}
    answer = httpx.post(
        f"{ready['url']}/integrations/connectors/register",
        json=connector,
        headers={"authorization": f"Bearer {token}"},
        timeout=20,
    )
    assert answer.status_code == 201, answer.text
    assert stat.S_IMODE((lane.home / "master_key").stat().st_mode) == 0o600


def test_no_password_shows_in_a_command_line(lane: RunningLane, ready: dict[str, Any]) -> None:
    passwords = orjson.loads((lane.home / "credentials.json").read_bytes()).values()
    shown = " ".join(part for pid in lane.processes.values() for part in psutil.Process(pid).cmdline())
    assert shown
    assert not [password for password in passwords if password in shown]


def test_a_second_up_on_the_folder_names_the_first(lane: RunningLane, ready: dict[str, Any]) -> None:
    second = run_up(lane.home, "--port", "0")
    assert second.returncode == 2
    assert f"a lane already runs on {lane.home} (pid {lane.pid} at {ready['url']})" in second.stderr
    assert answers(ready["url"])


def test_a_port_in_use_is_named_with_the_option(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run_up(home, "--port", port, "--json")
    assert refused.returncode == 2
    message = orjson.loads(refused.stdout)["error"]["message"]
    assert f"port {port}: address already in use; choose another with --port" in message
    assert not (home / "server").exists()


@pytest.mark.parametrize("service", ["api", "worker-1", "maintenance"])
def test_a_killed_child_is_started_again(lane: RunningLane, ready: dict[str, Any], service: str) -> None:
    before = lane.processes
    os.kill(before[service], signal.SIGKILL)
    assert lane.event("died", service=service)["exit_status"] == -signal.SIGKILL
    again = lane.event("recovered", service=service)
    assert again["pid"] != before[service]
    assert lane.processes == {**before, service: again["pid"]}
    assert answers(ready["url"])


def test_a_killed_postgres_comes_back_with_what_was_committed(lane: RunningLane, ready: dict[str, Any]) -> None:
    url = orjson.loads((lane.home / "running.json").read_bytes())["prepared"]["maintenance_url"]
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE datalane_owner")
        connection.execute("CREATE TABLE app.kept AS SELECT 7 AS value")
    before = lane.processes
    os.kill(before["postgres"], signal.SIGKILL)
    lane.event("died", service="postgres")
    lane.event("recovered", service="postgres")
    assert eventually(lambda: answers(ready["url"]))
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE datalane_owner")
        assert connection.execute("SELECT value FROM app.kept").fetchone() == (7,)
    assert lane.processes["api"] == before["api"], "the API reconnects by itself"


def test_nothing_outlives_a_killed_supervisor_and_the_next_up_works(
    home: Path, start: Callable[..., RunningLane]
) -> None:
    first = start(home)
    processes = first.event("ready")["processes"]
    first.signal(signal.SIGKILL)
    first.wait()
    for name, pid in processes.items():
        assert eventually(partial(gone, pid)), f"{name} ({pid}) is still there"
    second = start(home)
    assert answers(second.event("ready")["url"])


def test_ctrl_c_stops_everything_cleanly_and_the_demos_sign_in_stays(
    home: Path, start: Callable[..., RunningLane]
) -> None:
    running = start(home, "--demo")
    ready = running.event("ready")
    processes = ready["processes"]
    assert signs_in(ready)
    running.signal(signal.SIGINT)
    running.event("stopped")
    assert running.wait() == 0
    assert all(gone(pid) for pid in processes.values())
    assert not list(home.rglob("postmaster.pid"))
    assert not (home / "running.json").exists()
    again = start(home, "--demo").event("ready")
    assert again["sign_in"] == ready["sign_in"]
    assert signs_in(again)


def test_ctrl_c_ends_open_streams_at_once(home: Path, start: Callable[..., RunningLane]) -> None:
    running = start(home)
    url = running.event("ready")["url"]
    account = {"email": "a@example.com", "password": "a long pass phrase", "name": "A"}
    token = httpx.post(f"{url}/auth/sign-up", json=account, timeout=20).raise_for_status().json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{url}/timeline/live", headers=headers, timeout=20) as stream:
        said = stream.iter_lines()
        assert next(said).startswith("retry: ")
        asked = time.monotonic()
        running.signal(signal.SIGINT)
        assert [line for line in said if line][-2:] == ["event: end", 'data: {"reason": "shutdown"}']
        assert time.monotonic() - asked < DRAIN_SECONDS / 2
    running.event("stopped")
    assert running.wait() == 0


def test_ctrl_c_before_it_is_ready_is_a_clean_stop_too(home: Path, start: Callable[..., RunningLane]) -> None:
    running = start(home)
    running.event("starting")
    running.signal(signal.SIGINT)
    running.event("stopped")
    assert running.wait() == 0
    assert not list(home.rglob("postmaster.pid"))


def test_an_external_database_is_used_as_it_is_and_lacking_maintenance_is_said(
    urls: Prepared, home: Path, start: Callable[..., RunningLane]
) -> None:
    running = start(home, DATALANE_DATABASE_URL=urls.database_url)
    running.event("no_maintenance")
    ready = running.event("ready")
    assert set(ready["processes"]) == {"worker-1", "api"}
    assert answers(ready["url"])
    assert not (home / "server").exists()


def test_an_external_database_that_is_behind_is_migrated_only_with_the_maintenance_login(
    urls: Prepared, home: Path
) -> None:
    downgrade(urls.maintenance_url)
    refused = run_up(home, "--port", "0", DATALANE_DATABASE_URL=urls.database_url)
    assert refused.returncode == 2
    assert "run `datalane migrate up` with DATALANE_MAINTENANCE_URL set" in refused.stderr
    migrate_external(urls, Settings())
    assert applied_revision(urls.database_url) == newest_revision()


def test_other_commands_say_that_nothing_runs(home: Path) -> None:
    command = [sys.executable, "-m", "datalane.cli.main", "worker"]
    said = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 2
    assert said.stderr.startswith(f"error: no lane runs on {home}; start it with `datalane up`")

"""A missing or weak secret, and a variable that nothing reads, stop every process with the variable's name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running_lane import environment

from datalane.db.access import Prepared
from datalane.kit.secrets import HOW_TO_MAKE

Command = Callable[..., Any]

SERVICES = ("up", "api", "worker", "maintenance")
SECRET = "hunter2"
TYPO = "DATALANE_DATABSE_URL"


def end_of(home: Path, service: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """What a service says that does not start."""
    return subprocess.run(
        [sys.executable, "-m", "datalane.cli.main", service],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def written(home: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())


def url(password: str | None, host: str = "db.example.invalid") -> str:
    return f"postgresql://datalane{'' if password is None else f':{password}'}@{host}:5432/datalane"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("variable", "password", "reason"),
    [
        ("DATALANE_DATABASE_URL", SECRET, "is shorter than 16 characters"),
        ("DATALANE_MAINTENANCE_URL", f"{SECRET}{SECRET}{SECRET}", "says the same again and again"),
        ("DATALANE_DATABASE_URL", None, "there is no password, and the database is not on this machine"),
    ],
    ids=["weak", "weak although long", "missing"],
)
def test_a_service_does_not_start_with_a_weak_secret_or_without_one(
    home: Path, service: str, variable: str, password: str | None, reason: str
) -> None:
    good = {"DATALANE_DATABASE_URL": url("Vq8LmZ4kXw1TbR9c")}
    ended = end_of(home, service, HOME=str(home), **{**good, variable: url(password)})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{variable}: " in ended.stderr
    assert reason in ended.stderr
    assert HOW_TO_MAKE in ended.stderr
    assert "ALTER ROLE datalane PASSWORD" in ended.stderr
    assert SECRET not in ended.stderr + written(home)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_starts_with_a_weak_token_or_opens_a_port_without_one(home: Path, service: str) -> None:
    token, key = "DATALANE_TELEMETRY__METRICS_TOKEN", "DATALANE_CURSOR_KEY"
    for settings, reason in (
        ({token: SECRET}, f"{token}: the token is shorter than 16 characters"),
        ({key: SECRET}, f"{key}: the token is shorter than 16 characters"),
        ({"DATALANE_TELEMETRY__METRICS_PORT": "0"}, f"METRICS_PORT needs {token} beside it"),
    ):
        ended = end_of(home, service, **settings)
        assert ended.returncode == 2
        assert reason in ended.stderr
        assert HOW_TO_MAKE in ended.stderr
        assert SECRET not in ended.stderr + written(home)


@pytest.mark.parametrize("service", [*SERVICES, "doctor"])
def test_no_process_overlooks_a_variable_that_it_does_not_know(home: Path, service: str) -> None:
    ended = end_of(home, service, **{TYPO: url(SECRET), "DATALANE_POOL_SIZE": "many"})
    assert ended.returncode == (1 if service == "doctor" else 2)
    said = ended.stdout + ended.stderr
    assert TYPO in said
    assert "did you mean DATALANE_DATABASE_URL?" in said
    assert "DATALANE_POOL_SIZE: Input should be a valid integer" in said
    assert SECRET not in said + written(home)


def test_a_command_that_looks_stops_for_an_unknown_variable_but_not_for_a_weak_secret(
    urls: Prepared, home: Path, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_HOME", str(home))
    monkeypatch.setenv("DATALANE_DATABASE_URL", urls.database_url)
    monkeypatch.setenv("DATALANE_MAINTENANCE_URL", urls.maintenance_url)
    monkeypatch.setenv("DATALANE_OPERATOR_URL", url(SECRET))
    assert datalane("migrate", "status").status == 0
    monkeypatch.setenv("DATALANE_LIMIT__UPLOAD", "5")
    stopped = datalane("migrate", "status")
    assert stopped.status == 2
    assert "DATALANE_LIMIT__UPLOAD: is no setting of this version; did you mean DATALANE_LIMITS__UPLOAD?" in stopped.err


def test_the_doctor_says_the_same_faults_and_goes_on(
    urls: Prepared, home: Path, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_HOME", str(home))
    monkeypatch.setenv("DATALANE_DATABASE_URL", urls.database_url)
    monkeypatch.setenv("DATALANE_OPERATOR_URL", url(SECRET))
    monkeypatch.setenv("DATALANE_LIMIT__UPLOAD", "5")
    said = datalane("doctor", "--json", "--port", "0")
    checks = {check["name"]: check for check in said.json["checks"]}
    assert said.status == 1
    assert checks["settings"]["message"] == "DATALANE_LIMIT__UPLOAD: is no setting of this version"
    assert checks["settings"]["mend"] == "did you mean DATALANE_LIMITS__UPLOAD?"
    assert checks["secrets"]["message"] == "DATALANE_OPERATOR_URL: the password is shorter than 16 characters"
    assert HOW_TO_MAKE in checks["secrets"]["mend"]
    assert checks["database"]["state"] == "ok"
    assert SECRET not in said.out


def test_a_lane_of_its_own_needs_no_secret_from_anybody(
    home: Path, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_HOME", str(home))
    said = datalane("doctor", "--json", "--port", "0")
    states = {check["name"]: check["state"] for check in said.json["checks"]}
    assert (states["settings"], states["secrets"]) == ("ok", "ok")

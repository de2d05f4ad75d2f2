"""`datalane doctor`, `version` and `migrate`: what is checked, and how a fault is said."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datalane.cli.checks import check_disk
from datalane.cli.database_checks import check_database
from datalane.cli.report import State
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.revision import newest_revision
from datalane.settings import load_settings

Command = Callable[..., Any]


@pytest.fixture
def settled(urls: Prepared, home: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """The settings of a healthy lane in the environment."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)
    return urls


def state_of(said: Any, name: str) -> str:
    return next(str(check["state"]) for check in said.json["checks"] if check["name"] == name)


def test_a_healthy_lane_has_no_fault(settled: Prepared, datalane: Command) -> None:
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 0, said.out
    names = {check["name"] for check in said.json["checks"]}
    assert {"python", "settings", "home", "disk", "port", "database", "login", "server"} < names
    assert {"pgvector", "schema", "clock", "roles"} < names


def test_every_fault_comes_with_a_mend(settled: Prepared, datalane: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "DATALANE_DATABASE_URL", settled.database_url.replace("postgresql://datalane:", "postgresql://x:")
    )
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 1
    assert all(check["mend"] for check in said.json["checks"] if check["state"] != "ok")
    assert state_of(said, "database") == "fail"


def test_a_port_in_use_is_a_fault(settled: Prepared, datalane: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = datalane("doctor", "--port", str(taken.getsockname()[1]))
    assert said.status == 1
    assert "FAIL  port: cannot listen on 127.0.0.1" in said.out
    assert "mend: choose another with --port" in said.out


def test_wrong_settings_are_named(datalane: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_POOL_SIZE", "many")
    monkeypatch.setenv("DATALANE_DATABASE_URL", "mysql://somewhere")
    said = datalane("doctor", "--json")
    assert said.status == 1
    messages = {check["message"] for check in said.json["checks"] if check["name"] == "settings"}
    assert messages == {
        "DATALANE_POOL_SIZE: Input should be a valid integer, unable to parse string as an integer",
        "DATALANE_DATABASE_URL: Value error, must begin with postgresql://",
    }


def test_a_superuser_as_login_is_a_fault(
    cluster: EmbeddedPostgres, settled: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = settled.database_url.partition("@/")[2].partition("?")[0]
    monkeypatch.setenv("DATALANE_DATABASE_URL", cluster.url(database))
    login = next(check for check in check_database(load_settings()) if check.name == "login")
    assert login.state is State.FAIL
    assert "a superuser and allowed to bypass row-level security" in login.message


def test_missing_roles_are_a_fault_that_init_mends(
    settled: Prepared, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_ROLE_PREFIX", "absent")
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 1
    roles = next(check for check in said.json["checks"] if check["name"] == "roles")
    assert roles["state"] == "fail"
    assert "the role absent_signin does not exist" in roles["message"]
    assert "run `datalane init` again" in roles["mend"]


def test_roles_that_are_not_the_logins_are_a_fault(
    cluster: EmbeddedPostgres, settled: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_ROLE_PREFIX", "strange")
    with psycopg.connect(cluster.url(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE strange_signin NOLOGIN")
        try:
            roles = next(check for check in check_database(load_settings()) if check.name == "roles")
        finally:
            superuser.execute("DROP ROLE strange_signin")
    assert roles.state is State.FAIL
    assert "the role strange_signin is not granted to the login" in roles.message


def test_a_database_without_schema_is_a_fault(settled: Prepared, datalane: Command) -> None:
    down = datalane("migrate", "down", "base", "--yes", "--json")
    assert down.status == 0, down.out
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 1
    assert state_of(said, "schema") == "fail"
    up = datalane("migrate", "up", "--json")
    assert up.json == {"before": None, "after": newest_revision()}
    assert state_of(datalane("doctor", "--json", "--port", "0"), "schema") == "ok"


def test_a_file_in_the_place_of_the_home_is_a_fault(
    home: Path, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("DATALANE_HOME", str(home / "file"))
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 1
    assert state_of(said, "home") == "fail"


def test_the_embedded_server_is_checked_when_no_other_is_set(
    home: Path, datalane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATALANE_DATABASE_URL", raising=False)
    monkeypatch.setenv("DATALANE_HOME", str(home))
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 0, said.out
    assert state_of(said, "programs") == "ok"
    assert state_of(said, "sockets") == "ok"
    assert state_of(said, "database") == "warn"


def test_free_space_is_told_in_gib(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_HOME", str(home))
    assert f"GiB free at {home}" in check_disk(load_settings()).message


def test_a_migration_to_an_unknown_revision_is_refused(settled: Prepared, datalane: Command) -> None:
    said = datalane("migrate", "down", "9999", "--yes", "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "invalid_input"
    assert "there is no revision 9999; known are base, 0001" in said.json["error"]["message"]


def test_the_version_names_the_schema_it_is_written_for(datalane: Command) -> None:
    said = datalane("version", "--json")
    assert said.status == 0
    assert said.json["schema"] == newest_revision()

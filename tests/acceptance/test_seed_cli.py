"""`datalane seed work` as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.running_lane import environment, eventually

from datalane.db.access import Prepared

Seed = Callable[..., Any]


@pytest.fixture
def seed(urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Seed:
    """`seed("work", …)` on this test's lane."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: datalane("seed", *map(str, arguments))


def as_owner(urls: Prepared, sql: str) -> Any:
    with psycopg.connect(urls.maintenance_url, autocommit=True) as connection:
        connection.execute("SET ROLE datalane_owner")
        row = connection.execute(sql.encode()).fetchone()
    return row[0] if row else None


def test_it_fills_the_lane_says_where_and_vacuums(seed: Seed, urls: Prepared) -> None:
    said = seed("work", "--items", 300, "--workspaces", 2, "--json")
    assert said.status == 0, said.err
    assert (said.json["items"], said.json["workspaces"], said.json["added"]) == (300, 2, 340)
    assert said.json["email"] == "seed-1-owner@example.com"
    assert said.json["password"]
    assert said.json["vacuum_seconds"] is not None
    visible = "SELECT relallvisible FROM pg_class WHERE oid = 'datalane.items'::regclass"
    assert as_owner(urls, visible) > 0


def test_a_second_time_it_says_what_is_there(seed: Seed) -> None:
    first = seed("work", "--items", 100, "--workspaces", 0)
    assert first.status == 0, first.err
    assert "sign in as seed-1-owner@example.com" in first.out
    again = seed("work", "--items", 100, "--workspaces", 0)
    assert again.status == 2
    assert "is in this lane already" in again.err
    assert seed("work", "--items", 100, "--workspaces", 0, "--seed", 2).status == 0


def test_without_the_maintenance_login_it_says_that_it_did_not_vacuum(
    seed: Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATALANE_MAINTENANCE_URL")
    said = seed("work", "--items", 50, "--workspaces", 0)
    assert said.status == 0, said.err
    assert "DATALANE_MAINTENANCE_URL is not set" in said.out


@pytest.mark.parametrize("items", ["-1", "0", "10000001"])
def test_a_foolish_number_is_refused_before_anything_is_done(seed: Seed, urls: Prepared, items: str) -> None:
    said = seed("work", f"--items={items}", "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "invalid_input"
    assert "--items takes 1 to 10,000,000" in said.json["error"]["message"]


def test_ctrl_c_ends_it_with_a_word_and_the_same_command_goes_on(seed: Seed, urls: Prepared, home: Path) -> None:
    command = [sys.executable, "-m", "datalane.cli.main", "seed", "work", "--items", "200000", "--workspaces", "0"]
    running = subprocess.Popen(
        command, env=environment(home, **urls.as_environment()), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        writing = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%hashed AS MATERIALIZED%' AND state = 'active'"
        )
        with psycopg.connect(urls.database_url, autocommit=True) as watching:
            own = "AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"

            def is_writing() -> bool:
                row = watching.execute(f"{writing} {own}".encode()).fetchone()
                return row is not None and row[0] > 0

            assert eventually(is_writing, within=40)
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=40)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130
    assert b"Run the same command again to go on" in said
    assert b"Traceback" not in said
    other = seed("work", "--items", 100, "--workspaces", 0)
    assert other.status == 2
    assert "another seed 1 already" in other.err

"""The slice of the how-to: its files are those of the page, it runs on a real lane, and its wall is proved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.running_lane import RunningLane, environment, eventually, remove

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "examples" / "notes"
PAGE = ROOT / "docs" / "how-to" / "add-a-slice.md"


def test_the_example_is_what_the_page_says_file_by_file() -> None:
    shown = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    files = {str(path.relative_to(NOTES)): path.read_text() for path in NOTES.rglob("*.*") if _is_source(path)}
    assert shown == files


def _is_source(path: Path) -> bool:
    return path.suffix in {".py", ".sql"} and "__pycache__" not in path.parts


def run(*command: str, home: Path, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=NOTES,
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def notes_lane(home: Path) -> Iterator[tuple[str, RunningLane]]:
    lane = RunningLane(home, "--app", "app:lane", PYTHONPATH=str(NOTES))
    try:
        yield lane.event("ready")["url"], lane
    finally:
        lane.close()
        remove(home)


def sign_up(url: str) -> dict[str, Any]:
    account = {"email": "ada@example.com", "password": "long enough to be good", "name": "Ada"}
    answer = httpx.post(f"{url}/auth/sign-up", json=account)
    assert answer.status_code == 201, answer.text
    signed_in: dict[str, Any] = answer.json()
    return signed_in


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_the_slice_runs_on_a_real_lane_and_passes_its_own_tests(home: Path) -> None:
    with notes_lane(home) as (url, _):
        run("app.py", home=home)
        token = sign_up(url)["token"]
        told = run(
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_notes.py"),
            home=home,
            NOTES_URL=url,
            NOTES_TOKEN=token,
        )
        assert "3 passed" in told
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
            short = client.post("/notes/create", json={"text": "Milk"}).json()
            path = f"/notes/{short['note_id']}"
            assert eventually(lambda: client.get(path).json()["status"] == "done"), "the handler did not run"
            assert "/notes/move" in client.get("/openapi.json").json()["paths"]


@pytest.mark.soak
def test_the_wall_around_the_slice_is_proved(home: Path) -> None:
    said = run(
        *("-m", "datalane.cli.main", "isolation", "prove", "--json", "--app", "app:lane", "--with", "schema.sql"),
        *("--table", "notes.notes", "--route", "/notes"),
        home=home,
    )
    report = json.loads(said)
    assert report["ok"], report["found"]
    assert (report["tables"], report["routes"], report["survivors"]) == (1, 4, 0)
    assert report["mutants"] > 50

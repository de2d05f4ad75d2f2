"""What the lane's processes load at start: each library they never use there makes every start, and restart, longer."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

NOBODY = "postgresql://datalane:secret@127.0.0.1:1/datalane"
_IMPORTED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\w+)", re.MULTILINE)

LATER = {
    "numpy",
    "tokenizers",
    "wordllama",
    "pypdf",
    "docx",
    "trafilatura",
    "joserfc",
    "psycopg",
    "sqlalchemy",
    "alembic",
}
"""Loaded at the first document, query, ID token or migration."""
FACE = {"fastapi", "uvicorn"}


def loaded_by(*arguments: str) -> set[str]:
    """The packages that a process imports until it finds out that there is no database."""
    settings = {
        "DATALANE_DATABASE_URL": NOBODY,
        "DATALANE_MAINTENANCE_URL": NOBODY,
        "DATALANE_START_PATIENCE": "0.001",
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return set(_IMPORTED.findall(done.stderr))


@pytest.mark.parametrize(
    ("command", "unused"),
    [("worker", LATER | FACE), ("maintenance", LATER | FACE), ("api --port 0", LATER)],
)
def test_a_process_starts_without_code_that_it_may_never_need(command: str, unused: set[str]) -> None:
    loaded = loaded_by("-m", "datalane.cli.main", *command.split())
    assert "asyncpg" in loaded
    assert loaded & unused == set()


def test_the_supervisor_starts_its_children_before_it_loads_what_prepares_the_database() -> None:
    loaded = loaded_by("-c", "import datalane.cli.main, datalane.cli.up, datalane.supervisor.up")
    assert "typer" in loaded
    assert loaded & (LATER | FACE | {"asyncpg"}) == set()


def test_a_command_loads_no_other_command() -> None:
    loaded = loaded_by("-m", "datalane.cli.main", "version")
    assert loaded & (LATER | FACE | {"asyncpg", "structlog"}) == set()

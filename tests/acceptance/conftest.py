"""Real processes, driven as a user would: the command line in a terminal, and HTTP."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import structlog

from datalane.cli.main import main


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home folder of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="dlh"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Said:
    """What a command left behind: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        value: dict[str, object] = orjson.loads(self.out)
        return value


Command = Callable[..., Said]


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """A command that logs would leave this process writing to the test's own standard error, which is closed then."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**configured)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def datalane(logging_as_it_was: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in this process: `datalane("doctor", "--json").status`."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["datalane", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Said(int(ended.value.code or 0), printed.out, printed.err)

    return run

